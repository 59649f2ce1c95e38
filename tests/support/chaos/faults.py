"""Does what the plan says: kills, stops, fills and deploys, each at its tick."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from lambent.client.client import Client
from lambent.client.errors import ApiError
from lambent.core.errors import LambentError
from lambent.wire.api import ProcessView
from tests.support.chaos.load import Stage
from tests.support.chaos.plan import LASTS, TICK_S, Fault, Kind
from tests.support.chaos.program import write
from tests.support.chaos.seen import Done
from tests.support.full_disk import fill, is_mounted
from tests.support.server import RunningServer

ROLES: Final[Mapping[Kind, str]] = {
    Kind.KILL_WORKER: "worker",
    Kind.KILL_PARKED: "parked",
    Kind.KILL_TEMPLATE: "template",
    Kind.KILL_ENVIRONMENT: "environment",
    Kind.STOP_WORKER: "worker",
    Kind.STOP_FOR_GOOD: "worker",
    Kind.STOP_TEMPLATE: "template",
}
SIGNALS: Final[Mapping[Kind, signal.Signals]] = {
    Kind.STOP_WORKER: signal.SIGSTOP,
    Kind.STOP_FOR_GOOD: signal.SIGSTOP,
    Kind.STOP_TEMPLATE: signal.SIGSTOP,
}
START_TRIES: Final = 200  # a full disk may keep the server from starting until it has room again


class Struck(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a fault struck, when, where it had to wait for others first, and what was said of it."""

    at_s: float = 0.0
    deployment: str = ""
    failed: str = ""


class Faults:
    """What is done to one server. `say` hears of each fault as it comes."""

    def __init__(self, stage: Stage, folder: Path, notes: Path, say: Callable[[str], None]) -> None:
        self._stage: Final = stage
        self._folder: Final = folder
        self._notes: Final = notes
        self._say: Final = say
        self._disk: Final = stage.server.state_dir.parent
        self._revisions: Final = itertools.count(1)
        self._began_s = 0.0
        self._starting: Final = asyncio.Lock()
        self._deploys: Final[Mapping[Kind, Callable[[str], None]]] = {
            Kind.DEPLOY: self.deploy,
            Kind.ROLL_BACK: self._roll_back,
            Kind.REPLACE: self._replace,
        }

    async def run(self, plan: Sequence[Fault]) -> None:
        """All of them, each at its time; those that last go on beside the next."""
        self._began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for fault in plan:
                await asyncio.sleep(max(0.0, self._began_s + fault.tick * TICK_S - time.monotonic()))
                tasks.create_task(self._do(fault))

    def deploy(self, name: str) -> None:
        """One more revision. Raises `LambentError`."""
        code = write(self._folder, name, revision=next(self._revisions), notes=self._notes)
        with self._client() as client:
            client.deploy(code)

    def _client(self) -> Client:
        return Client(self._stage.server.url, self._stage.key)

    async def _do(self, fault: Fault) -> None:
        from_s = time.monotonic()
        struck = await self._strike(fault)
        if struck is None:
            return
        until_s, from_s = time.monotonic(), struck.at_s or from_s
        self._stage.seen.done.append(
            Done(
                kind=fault.kind, from_s=from_s, until_s=until_s,
                deployment=struck.deployment, failed=struck.failed,
            )
        )  # fmt: skip
        told = " ".join(filter(None, (struck.deployment, struck.failed)))
        self._say(f"{from_s - self._began_s:8.2f} s {fault.kind.value}: {told} ({until_s - from_s:.2f} s)")

    async def _strike(self, fault: Fault) -> Struck | None:
        """Whom it struck; None where there was nobody."""
        if fault.deployment:
            return await self._change(fault)
        if fault.kind is Kind.KILL_SERVER:
            return await self._kill_server()
        if fault.kind is Kind.FILL_DISK:
            return await self._fill_disk(fault)
        return await self._signal(fault)

    async def _change(self, fault: Fault) -> Struck:
        try:
            await asyncio.to_thread(self._deploys[fault.kind], fault.deployment)
        except LambentError as error:
            return Struck(deployment=fault.deployment, failed=error.message)
        return Struck(deployment=fault.deployment)

    def _roll_back(self, name: str) -> None:
        with self._client() as client:
            client.rollback(name)

    def _replace(self, name: str) -> None:
        try:
            with self._client() as client:
                client.remove(name)
        except ApiError as error:
            if error.status != 404:  # its last deploy may have failed
                raise
        self.deploy(name)

    async def _signal(self, fault: Fault) -> Struck | None:
        async with self._starting:
            found = await asyncio.to_thread(self._victim, fault)
            if found is None:
                return None
            (victim, deployment), at_s = found, time.monotonic()
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(SIGNALS.get(fault.kind, signal.SIGKILL))
        if fault.kind in LASTS:
            await asyncio.sleep(fault.ticks * TICK_S)
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGCONT)
        return Struck(deployment=deployment, at_s=at_s)

    def _victim(self, fault: Fault) -> tuple[psutil.Process, str] | None:
        """One of those that there are now, and whose it is."""
        try:
            with self._client() as client:
                listed = client.processes()
            below = {one.pid: one for one in self._stage.server.processes()[1:]}
        except (LambentError, psutil.Error):
            return None
        role = ROLES[fault.kind]
        fitting = sorted(
            (one for one in listed if one.role == role and one.pid in below), key=lambda one: one.pid
        )
        if not fitting:
            return None
        chosen: ProcessView = fitting[int(fault.pick * len(fitting))]
        return below[chosen.pid], chosen.deployment

    async def _kill_server(self) -> Struck:
        async with self._starting:
            at_s = time.monotonic()
            await asyncio.to_thread(self._stage.server.kill)
            tries = await asyncio.to_thread(started, self._stage.server)
        return Struck(at_s=at_s, failed=f"started at try {tries}" if tries > 1 else "")

    async def _fill_disk(self, fault: Fault) -> Struck | None:
        if not is_mounted(self._disk):
            return None
        await asyncio.to_thread(fill, self._disk)
        await asyncio.sleep(fault.ticks * TICK_S)
        (self._disk / "ballast").unlink()
        return Struck()


def started(server: RunningServer) -> int:
    """Start it; where the disk has no room for that, again once it has. Returns how often it was tried."""
    ballast, tries = server.state_dir.parent / "ballast", 0
    while True:
        tries += 1
        was_full = ballast.exists()
        try:
            server.start()
        except AssertionError:
            if not (was_full or ballast.exists()) or tries == START_TRIES:
                raise
            time.sleep(TICK_S)
            continue
        return tries


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [found] = (line.split() for line in lines if line.startswith("VmHWM:"))
    return int(found[1]) * 1024


def descriptors(pid: int) -> dict[str, int]:
    """The open descriptors of a process, counted by what they are."""
    counts: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)  # noqa: PTH115  (what it says is no path: `socket:[1]`)
        except FileNotFoundError:
            continue
        kind = target.partition("[")[0] if ":" in target else "file"
        counts[kind] = counts.get(kind, 0) + 1
    return counts
