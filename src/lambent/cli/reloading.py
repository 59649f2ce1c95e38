"""Deploys targets, again whenever one of their files is saved, and prints what their code prints."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from lambent.cli.complaint import complain, said
from lambent.cli.output import when
from lambent.clock import SystemClock
from lambent.core.errors import LambentError
from lambent.core.spec import Setting

if TYPE_CHECKING:
    from lambent.client.client import Client
    from lambent.wire.api import DeployReply

AGAIN_S: Final = 1.0  # until a log is followed again that has broken off


class Reloader:
    """One server, some targets. Errors are told, and what was deployed before goes on."""

    def __init__(
        self, client: Client, targets: Sequence[str], *, name: str = "", settings: Mapping[str, Setting]
    ) -> None:
        from lambent.client.watching import Watch

        self._client: Final = client
        self._name: Final = name
        self._settings: Final = settings
        self._clock: Final = SystemClock()
        self._watches: Final = {target: Watch(target, now_s=self._clock.now_s()) for target in targets}
        self._followed: Final[set[str]] = set()
        self._over: Final = threading.Event()

    def run(self) -> None:
        """Until `stop`, or until the server has gone: then raises `NoServer`."""
        for target in self._watches:
            self._deploy(target)
        while not self._over.wait(max(watch.look_s for watch in self._watches.values())):
            for target, watch in self._watches.items():
                if watch.look(self._clock.now_s()):
                    self._deploy(target)

    def stop(self) -> None:
        """Come to an end."""
        self._over.set()

    def _deploy(self, target: str) -> None:
        from lambent.client.errors import NoServer

        began_s = self._clock.now_s()
        try:
            reply = self._client.deploy(target, name=self._name, settings=self._settings)
        except NoServer:
            raise
        except LambentError as error:
            complain(said(error))
            return
        took_ms = (self._clock.now_s() - began_s) * 1e3
        self._tell(reply, took_ms)

    def _tell(self, reply: DeployReply, took_ms: float) -> None:
        for one in reply.deployments:
            new = one.name not in self._followed
            if new or one.name in reply.changed:
                where = f"  {one.url}" if new and one.url else ""
                what = f"{one.name}  revision {one.number}, in {took_ms:.0f} ms"
                click.echo(f"{when(self._clock.unix_ms())}  {what}{where}")
            if new:
                self._followed.add(one.name)
                threading.Thread(target=self._follow, args=(one.name,), daemon=True).start()

    def _follow(self, name: str) -> None:
        """Print its log until the end. A daemon: a line may never come."""
        while not self._over.is_set():
            try:
                for line in self._client.follow_logs(name, tail=0):
                    if self._over.is_set():
                        return
                    click.echo(f"{name} | {line}")
            except LambentError:
                self._over.wait(AGAIN_S)
