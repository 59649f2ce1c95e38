"""`dev`: deploy a target, and again on each save."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from lambent.cli.options import connect, pairs

if TYPE_CHECKING:
    from lambent.client.client import Client


@click.command()
@click.argument("target")
@click.option("--name", default="", help="Its name, where the target declares one thing only.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", callback=pairs, help="A setting.")
def dev(target: str, name: str, settings: dict[str, str]) -> None:
    """Deploy TARGET, redeploy it whenever one of its files is saved, and print what it prints.

    Uses the server that runs, or starts one for as long as this takes. What cannot be deployed, such as a
    syntax error, is told, and the revision before it goes on. Ctrl-C ends it.
    """
    from lambent.cli.reloading import Reloader
    from lambent.client.errors import BundleError

    file, _, _ = target.rpartition(":")
    if not (Path(target).exists() or (file and Path(file).exists())):
        raise BundleError(f"{target} is not there")  # a slip: nobody should wait for it to appear
    with interrupted_by_sigterm(), _server() as client:
        reloader = Reloader(client, [target], name=name, settings=settings)
        try:
            reloader.run()
        except KeyboardInterrupt:
            reloader.stop()


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM is like Ctrl-C while the block runs."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _server() -> Iterator[Client]:
    """The server that the environment names, where it answers; else one of our own."""
    if (client := _running()) is not None:
        with client:
            yield client
        return
    from lambent.cli.attached import ephemeral
    from lambent.client.client import Client

    with ephemeral() as about, Client(about.url, about.api_key) as client:
        click.echo(f"a server of its own listens on {about.url}")
        click.echo(f"others reach it with LAMBENT_URL={about.url} LAMBENT_API_KEY={about.api_key}")
        yield client


def _running() -> Client | None:
    """Raises `NoServer` where somebody named one that does not answer."""
    from lambent.client.errors import NoServer

    try:
        client = connect()
        client.list()
    except NoServer:
        if os.environ.get("LAMBENT_URL"):
            raise
        return None
    return client
