"""One application on the listener itself, and clients that send it bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lambent.gateway.listener import Listener, bind
from lambent.gateway.requests import Receive, Scope, Send
from tests.support.patience import PATIENT_S

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = GET[:-2] + b"Connection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"a" * 65_536

Address = tuple[str, int]


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body."""
    size_bytes, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size_bytes, more = size_bytes + len(message["body"]), message["more_body"]
    body = b"%d" % size_bytes
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def listening(app: Any = echo, **settings: Any) -> AsyncIterator[Address]:
    ours = bind("127.0.0.1", 0)
    server = Listener(app, ours, **settings)
    serving = asyncio.create_task(server.run())
    try:
        yield ours.getsockname()
    finally:
        server.stop()
        await serving


async def answer(address: Address, *pieces: bytes, repeat: int = 1) -> bytes:
    """All that comes back until the server closes, or says that it is done with a request."""
    reader, writer = await asyncio.open_connection(*address)
    said = b""
    try:
        async with asyncio.timeout(PATIENT_S):
            try:
                for piece in pieces:
                    for _ in range(repeat if piece is PIECE else 1):
                        writer.write(piece)
                        await writer.drain()
                said = await reader.readuntil(b"\r\n\r\n")
            except (ConnectionError, asyncio.IncompleteReadError):
                return said
    finally:
        writer.close()
    return said
