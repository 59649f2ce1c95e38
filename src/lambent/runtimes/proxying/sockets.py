"""One WebSocket between its client and the program: messages, subprotocol and how it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from lambent.core.invocation import Asked, Head
from lambent.runtimes.base import AsyncLine, More, Reply, Request
from lambent.runtimes.proxying.heads import HANDSHAKE, HOP_BY_HOP, answer_head, target_of, told_headers
from lambent.runtimes.proxying.upstream import Broken
from lambent.wire.frames import Closing, Form

ACCEPTED: Final = 101
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
OPEN_S: Final = 30.0
CLOSE_S: Final = 5.0
NORMAL: Final = 1000
AWAY: Final = 1001
UNSAID: Final = frozenset({1005, 1006, 1015})  # codes that never stand in a closing frame
# What a URI takes for its host and its port, and for nothing else: clients may send anything as `Host`.
NAMED: Final = re.compile(r"(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.IGNORECASE)
PORT_MAX: Final = 65_535
# The library says these itself.
OWN: Final = HANDSHAKE | {"host", "user-agent", "origin"}


async def pass_through(asked: Asked, request: Request, line: AsyncLine, address: tuple[str, int]) -> Reply:
    """Open it with the program, and pass messages both ways until one side closes.

    Raises `Broken` where the program answers no handshake, OSError where it does not listen.
    """
    try:
        socket = await connect(
            uri_of(asked),
            host=address[0],
            port=address[1],
            additional_headers=[
                (name, value) for name, value in told_headers(asked, request.call) if name not in OWN
            ],
            origin=_of(asked, "origin"),  # type: ignore[arg-type]  # its own type of text
            user_agent_header=_of(asked, "user-agent"),
            subprotocols=list(asked.subprotocols) or None,  # type: ignore[arg-type]  # the same
            compression=None,  # the client's connection has its own
            ping_interval=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            max_size=MESSAGE_BYTES_MAX,
            proxy=None,
        )
    except InvalidStatus as error:
        said = error.response
        headers = [(name.lower(), value) for name, value in said.headers.raw_items()]
        return Reply(bytes(said.body), "", answer_head(said.status_code, headers))
    except (InvalidHandshake, TimeoutError, EOFError) as error:
        raise Broken(f"the program answered no WebSocket handshake: {error}", unheard=True) from error
    try:
        await line.begin(_accepted(socket))
        await _converse(socket, line)
    finally:
        with contextlib.suppress(Exception):
            await socket.close()
    return Reply(b"", "", Head(ACCEPTED))


async def _converse(socket: ClientConnection, line: AsyncLine) -> None:
    hearing = asyncio.ensure_future(_hear(socket, line))
    try:
        await _say(socket, line)
    finally:
        hearing.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await hearing


async def _hear(socket: ClientConnection, line: AsyncLine) -> None:
    """What the client says, until it closes."""
    while True:
        form, piece = await line.read() or (Form.CLOSE, b"")
        if form is Form.CLOSE:
            how = Closing.of(piece)
            code = AWAY if how.code == 1006 else NORMAL if how.code in UNSAID else how.code
            await socket.close(code, how.reason)
            return
        await socket.send(bytes(piece).decode() if form is Form.TEXT else bytes(piece))


async def _say(socket: ClientConnection, line: AsyncLine) -> None:
    """What the program says, and how it closes."""
    try:
        while True:
            said = await socket.recv()
            if isinstance(said, str):
                await line.write(Form.TEXT, said.encode())
            else:
                await line.write(Form.BYTES, said)
    except ConnectionClosed as closed:
        heard = closed.rcvd
        how = Closing(heard.code, heard.reason) if heard is not None else Closing(1006)
        await line.write(Form.CLOSE, how.piece(), more=More.NONE)


def _accepted(socket: ClientConnection) -> Head:
    response: Any = socket.response
    headers = [(name.lower(), value) for name, value in response.headers.raw_items()] if response else []
    dropped = HOP_BY_HOP | HANDSHAKE | {"date", "server"}
    kept = [pair for pair in headers if pair[0] not in dropped]
    protocol = [("sec-websocket-protocol", str(socket.subprotocol))] if socket.subprotocol else []
    return Head(ACCEPTED, (*protocol, *kept))


def uri_of(asked: Asked) -> str:
    """What the program is asked for, by the name that the client knows it by, where that is one."""
    said = _of(asked, "host") or ""
    named = NAMED.fullmatch(said)
    host = said if named and int(named[1] or 0) <= PORT_MAX else "localhost"
    return f"ws://{host}{target_of(asked).partition('#')[0]}"


def _of(asked: Asked, wanted: str) -> str | None:
    return next((value for name, value in asked.headers if name == wanted), None)
