"""The port for gRPC is a plain socket until somebody comes, and what cannot be had is said in one line."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

import pytest

from lambent.core.errors import PlatformFault
from lambent.gateway.protocols.open_inference.port import (
    GrpcPort,
    bind,
    is_installed,
    local_address_of,
)

HOST = "127.0.0.1"


def _saying(word: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(word)
        writer.close()

    return greet


class Greeter:
    """Stands where gRPC would: says a word to whoever connects."""

    def __init__(self) -> None:
        self.started: list[Sequence[str]] = []
        self.stopped = 0
        self._servers: list[asyncio.Server] = []

    async def start(self, addresses: Sequence[str]) -> Greeter:
        self.started.append(addresses)
        for address in addresses:
            host, _, where = address.rpartition(":")
            if host == "unix":
                self._servers.append(await asyncio.start_unix_server(_saying(b"early"), where))
            else:
                server = await asyncio.start_server(_saying(b"direct"), host, int(where), reuse_port=True)
                self._servers.append(server)
        return self

    async def stop(self, grace: float | None) -> None:
        self.stopped += 1
        for server in self._servers:
            server.close()


async def word_from(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    word = await reader.read()
    writer.close()
    return word


def test_nothing_is_started_before_somebody_comes_and_nobody_is_lost_when_it_is() -> None:
    async def play() -> None:
        listening, greeter = bind(HOST, 0), Greeter()
        address = local_address_of(listening)
        port = GrpcPort(listening, greeter.start)
        running = asyncio.create_task(port.run())
        await asyncio.sleep(0)
        assert greeter.started == []
        words = await asyncio.gather(*(word_from(address) for _ in range(20)))
        assert set(words) <= {b"early", b"direct"}
        assert b"early" in words
        assert len(greeter.started) == 1
        assert await word_from(address) == b"direct"
        await port.stop()
        await running
        assert greeter.stopped == 1

    asyncio.run(play())


def test_a_port_that_nobody_used_ends_at_once() -> None:
    async def play() -> None:
        greeter = Greeter()
        port = GrpcPort(bind(HOST, 0), greeter.start)
        running = asyncio.create_task(port.run())
        await port.stop()
        await running
        assert greeter.started == []

    asyncio.run(play())


def test_a_port_of_somebody_else_is_not_shared() -> None:
    with (
        socket.create_server((HOST, 0), reuse_port=True) as other,
        pytest.raises(PlatformFault, match="cannot listen for gRPC"),
    ):
        bind(HOST, other.getsockname()[1])


def test_that_grpc_is_installed_is_seen_without_importing_it() -> None:
    assert is_installed()
