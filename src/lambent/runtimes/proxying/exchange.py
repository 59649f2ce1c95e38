"""One HTTP request on its way to the program, and its answer on its way back, neither held in memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec

from lambent.core.invocation import Asked, Head
from lambent.runtimes.base import STREAMED, AsyncLine, More, Reply, Request
from lambent.runtimes.faults import Fault
from lambent.runtimes.proxying.heads import request_head, takes_trailers
from lambent.runtimes.proxying.upstream import Broken, Connection, Incoming, Upstream
from lambent.wire.frames import Form

# RFC 9110 section 9.2.2: may be sent again where nobody knows whether they were heard.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
# An answer that says that it is no longer than this is waited for as a whole, though not for long.
SMALL_BYTES: Final = 64 * 1024
LINGER_S: Final = 0.005


class CutOff(Fault):
    """A part of an answer was passed on, and the rest of it does not come."""


async def pass_through(asked: Asked, request: Request, line: AsyncLine, upstream: Upstream) -> Reply:
    """Ask the program and answer what it answers. Raises `Broken` where it does not, `Fault`, OSError."""
    head = request_head(asked, request.call, length=_length(asked, request))
    if request.call.more:
        return await _ask(await upstream.take(), head, asked, request, line, upstream)
    connection = await upstream.take()
    again = connection.is_used and asked.method in IDEMPOTENT
    try:
        return await _ask(connection, head, asked, request, line, upstream)
    except Broken as error:
        if not (again and error.unheard):
            raise
    # The program has ended an idle connection just as it was written to.
    return await _ask(await upstream.open(), head, asked, request, line, upstream)


async def _ask(
    connection: Connection, head: bytes, asked: Asked, request: Request, line: AsyncLine, upstream: Upstream
) -> Reply:
    more = request.call.more
    is_chunked = more and _length(asked, request) is None
    first = bytes(request.body)
    incoming = connection.ask(asked.method, head + (_chunk(first) if is_chunked and first else first))
    feeding = asyncio.ensure_future(_feed(connection, line, is_chunked=is_chunked)) if more else None
    is_done = False
    try:
        incoming.wants_trailers = takes_trailers(asked)
        reply = await _answered(connection, incoming, line)
        is_done = feeding is None or feeding.done()
        return reply
    finally:
        if feeding is not None:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError, Broken):
                await feeding
        if is_done:
            upstream.give_back(connection)
        else:  # what it was not sent of the request would stand before the next
            upstream.drop(connection)


async def _feed(connection: Connection, line: AsyncLine, *, is_chunked: bool) -> None:
    """Send the rest of the request as it comes."""
    while (piece := await line.read()) is not None:
        if piece[1]:
            await connection.send(_chunk(bytes(piece[1])) if is_chunked else bytes(piece[1]))
    if is_chunked:
        await connection.send(b"0\r\n\r\n")


async def _answered(connection: Connection, incoming: Incoming, line: AsyncLine) -> Reply:
    head = await incoming.begun()
    if not incoming.whole and _is_small(head):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not incoming.whole:
                    await incoming.news()
    if incoming.whole and not incoming.told_behind:
        return Reply(incoming.take(), "", head)
    await line.begin(head)
    try:
        await _stream(connection, incoming, line)
    except Broken as error:
        raise CutOff("Lambent.ResponseCutOff", str(error), status=502) from error
    return STREAMED


async def _stream(connection: Connection, incoming: Incoming, line: AsyncLine) -> None:
    while True:
        # Looked at before it is taken: what comes while it is written is not part of it.
        is_last, piece = incoming.whole, incoming.take()
        connection.took()
        behind = incoming.told_behind if is_last else None
        if piece or is_last:
            await line.write(Form.BYTES, piece, more=More.NONE if is_last and not behind else More.COMES)
        if behind:
            await line.write(Form.TRAILERS, msgspec.json.encode(behind), more=More.NONE)
        if is_last:
            return
        if not incoming.waiting_bytes and not incoming.whole:
            await incoming.news()


def _is_small(head: Head) -> bool:
    said = next((value for name, value in head.headers if name == "content-length"), "")
    return said.isdecimal() and len(said) < 9 and int(said) <= SMALL_BYTES


def _length(asked: Asked, request: Request) -> int | None:
    """How long the request's body is, where that is known."""
    if not request.call.more:
        return len(request.body)
    said = next((value for name, value in asked.headers if name == "content-length"), "")
    return int(said) if said.isdecimal() else None


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
