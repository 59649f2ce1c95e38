"""Two tenants of one real server: one that floods it, and one that asks now and then."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lambent.client.client import Client
from lambent.clock import SystemClock
from lambent.core.invocation import Role
from lambent.gateway.auth import Keys
from lambent.storage.sql import SqlStore
from tests.support.server import RunningServer


def key_of(state_dir: Path, project: str) -> str:
    """A key of another project, put into the state of a server that does not run yet."""
    state_dir.mkdir(parents=True, exist_ok=True)
    store = SqlStore.open(state_dir / "lambent.db", SystemClock())
    try:
        keys = Keys(store.keys, b"", SystemClock())
        return asyncio.run(keys.create(project, "a test's", Role.ADMIN)).api_key
    finally:
        store.close()


def deploy_as(server: RunningServer, key: str, target: str, **settings: str) -> None:
    """Deploy with a key of any project."""
    with Client(server.url, key) as client:
        client.deploy(target, settings=settings)


@dataclass
class Flood:
    """Connections that ask again as soon as they are answered, until they are told to stop."""

    server: RunningServer
    key: str
    path: str
    body: bytes
    statuses: Counter[int] = field(default_factory=Counter)
    retry_after_s: list[int] = field(default_factory=list)
    on: bool = True

    async def connection(self) -> None:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
        ).encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            while self.on:
                writer.write(head + self.body)
                said = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                fields = dict(line.split(": ", 1) for line in said.split("\r\n")[1:] if line)
                await reader.readexactly(int(fields["content-length"]))
                self.statuses[int(said.split(" ", 2)[1])] += 1
                if "retry-after" in fields:
                    self.retry_after_s.append(int(fields["retry-after"]))
        finally:
            writer.close()


async def ask(server: RunningServer, key: str, path: str, count: int) -> tuple[list[int], list[float]]:
    """So many calls, one after another: their statuses, and what each took in seconds."""
    statuses, took_s = [], []
    for _ in range(count):
        began_s = time.perf_counter()
        said = await asyncio.to_thread(server.request, "POST", path, b"{}", key=key)
        took_s.append(time.perf_counter() - began_s)
        statuses.append(said.status)
    return statuses, took_s
