"""HTTP/1.1 by hand: a client that sees each byte, also those that nobody asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

HEAD_BYTES_MAX: Final = 64 * 1024


class Broken(Exception):
    """The connection ended before the answer did. `begun`: a part of the answer had come."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("the connection closed in the middle" if begun else "the connection closed")
        self.begun = begun


class Nonsense(Exception):
    """What came is no answer, or more than one."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One connection. Not to be used for two requests at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader: Final = reader
        self.writer: Final = writer
        self._rest = b""

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Connection:
        """Raises `OSError`."""
        return cls(*await asyncio.open_connection(*address, limit=1 << 22))

    async def send(self, head: str, body: bytes = b"") -> None:
        """Put bytes on the wire. Raises `Broken`."""
        try:
            self.writer.write(head.encode("latin-1") + body)
            await self.writer.drain()
        except OSError as error:
            raise Broken(begun=False) from error

    async def answer(self) -> Answer:
        """The next answer. Raises `Broken`, `Nonsense`."""
        head = await self._until(b"\r\n\r\n", begun=False)
        first, *lines = head.decode("latin-1").split("\r\n")
        if not first.startswith("HTTP/1.1 ") or not first[9:12].isdigit():
            raise Nonsense(f"an answer begins with {first[:80]!r}")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join([piece async for piece in self._chunks()])
        else:
            body = await self._exactly(int(headers.get("content-length", "0")))
        return Answer(status=int(first[9:12]), headers=headers, body=body)

    def check_silent(self) -> None:
        """Raises `Nonsense` where something came that nobody asked for."""
        if self._rest:
            raise Nonsense(f"{len(self._rest)} bytes came after the end of an answer: {self._rest[:80]!r}")

    async def rest(self) -> bytes:
        """All that comes until the connection ends."""
        pieces = [self._rest]
        with contextlib.suppress(OSError):
            while piece := await self.reader.read(1 << 16):
                pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """In good order."""
        self.writer.close()

    def reset(self) -> None:
        """As a process that was killed may do it: what is on the way is thrown away."""
        found = self.writer.get_extra_info("socket")
        if found is not None and found.fileno() >= 0:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self._until(b"\r\n", begun=True)).partition(b";")[0], 16):
            yield await self._exactly(size)
            await self._exactly(2)
        await self._exactly(2)

    async def _until(self, mark: bytes, *, begun: bool) -> bytes:
        while (at := self._rest.find(mark)) < 0:
            if len(self._rest) > HEAD_BYTES_MAX:
                raise Nonsense("a head without an end")
            await self._more(begun=begun or bool(self._rest))
        found, self._rest = self._rest[:at], self._rest[at + len(mark) :]
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            await self._more(begun=True)
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    async def _more(self, *, begun: bool) -> None:
        try:
            piece = await self.reader.read(1 << 16)
        except OSError as error:
            raise Broken(begun=begun) from error
        if not piece:
            raise Broken(begun=begun)
        self._rest += piece


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Connection]:
    """A connection that is closed at the end of the block. Raises `OSError`."""
    connection = await Connection.open(address)
    try:
        yield connection
    finally:
        connection.close()


def head_of(method: str, path: str, key: str, **headers: str) -> str:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: chaos", f"Authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines) + "\r\n\r\n"
