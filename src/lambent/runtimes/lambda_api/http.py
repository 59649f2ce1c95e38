"""HTTP for programs on this machine: each request is answered in one segment, and has its limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

import httptools
import msgspec

from lambent.runtimes.lambda_api.peers import is_stranger

# awslambdaric sends up to 1 MiB of a trace in a header.
HEAD_BYTES_MAX: Final = 2 * 1024 * 1024
HEADERS_MAX: Final = 256
JOIN_BYTES_MAX: Final = 64 * 1024  # below this one copy costs less than a second write
REASONS: Final[Mapping[int, bytes]] = {
    200: b"OK", 202: b"Accepted", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 413: b"Content Too Large", 431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}  # fmt: skip
GO_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Asked(msgspec.Struct, frozen=True):
    """The head of a request. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class Sink(Protocol):
    """Takes the body of one request."""

    def feed(self, piece: bytes) -> None:
        """The next piece of the body."""

    def end(self, trailers: Mapping[str, str]) -> None:
        """The body is whole. Who asked is answered now or later."""

    def broken(self) -> None:
        """The connection has ended before the body, or before the answer."""


class Exchange(Protocol):
    """One request, as who answers it sees its connection."""

    def reply(self, status: int, body: bytes | bytearray, head: bytes) -> None:
        """Answer it, once. `head` are lines of headers, each with its end."""

    def pause(self) -> Callable[[], None]:
        """Read no more of its body until what this returns is called."""


Begin = Callable[[Asked, Exchange], Sink]
Error = Callable[[int, str], bytes]  # an error's body, by its status and what there is to say


class Connections:
    """Those that are open, at most `count_max`: one more takes the place of one that asks nothing."""

    def __init__(self, count_max: int) -> None:
        self.count_max: Final = count_max
        self._open: Final[dict[Connection, None]] = {}  # in the order in which they came
        self._none: Final = asyncio.Event()
        self._none.set()

    def add(self, connection: Connection) -> bool:
        """One more; False where that is one too many."""
        if len(self._open) >= self.count_max:
            idle = next((one for one in self._open if one.is_idle), None)
            if idle is None:
                return False
            del self._open[idle]
            idle.close()
        self._open[connection] = None
        self._none.clear()
        return True

    def discard(self, connection: Connection) -> None:
        """One less."""
        self._open.pop(connection, None)
        if not self._open:
            self._none.set()

    async def ended(self, timeout_s: float) -> None:
        """Wait until all have ended by themselves, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none.wait()

    def close(self) -> None:
        """End them, whatever they wait for."""
        for connection in tuple(self._open):
            connection.close()


class Connection(asyncio.Protocol):
    """One connection. Requests on it come one after another; one that comes too early ends it."""

    def __init__(self, begin: Begin, error: Error, connections: Connections) -> None:
        self._begin: Final = begin
        self._error: Final = error
        self._connections: Final = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._sink: Sink | None = None
        self._owed = False  # a request has begun and was not answered
        self._in_body = False
        self._head_bytes = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._keeps = True
        self._bad = ""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request."""
        return not self._owed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if is_stranger(transport.get_extra_info("sockname"), transport.get_extra_info("peername")):
            self._transport.abort()
        elif not self._connections.add(self):
            self._refuse(503, f"more than {self._connections.count_max} connections are open")

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX + len(data):
                self._refuse(431, f"the head of a request may have {HEAD_BYTES_MAX} bytes")
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An offer that need not be taken (RFC 9110 section 7.8). The parser is of no more use after it.
            if self._in_body:
                self._refuse(400, "the protocol cannot be changed here")
            else:
                self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserError as error:
            self._refuse(400, self._bad or f"this is no HTTP/1.1 request: {error}")

    def eof_received(self) -> None:
        """Who writes no more reads no more: programs close both at once, and nothing is given to them now."""
        self._break()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._break()

    # What the parser finds.

    def on_message_begin(self) -> None:
        if self._owed:
            self._bad = "a request came before the one before it was answered"
            raise ValueError(self._bad)
        self._owed, self._url, self._headers = True, b"", {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= HEADERS_MAX:
            self._bad = f"a request may have {HEADERS_MAX} headers"
            raise ValueError(self._bad)
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_body, self._head_bytes = True, 0
        self._keeps = self._parser.should_keep_alive()
        path = self._url.partition(b"?")[0].decode("latin-1")
        asked = Asked(self._parser.get_method().decode("latin-1"), path, self._headers)
        self._headers = {}  # from here on, those behind the body
        self._sink = self._begin(asked, self)
        if self._owed and "100-continue" in asked.headers.get("expect", "").lower():
            self._transport.write(GO_ON)

    def on_body(self, piece: bytes) -> None:
        if self._sink is not None:
            self._sink.feed(piece)

    def on_message_complete(self) -> None:
        self._in_body = False
        sink, self._head_bytes = self._sink, 0
        if sink is not None:
            sink.end(self._headers)

    # What is done with a request.

    def reply(self, status: int, body: bytes | bytearray = b"", head: bytes = b"") -> None:
        if self._transport.is_closing() or not self._owed:
            return
        self._owed, self._sink = False, None
        closes = b"" if self._keeps and not self._in_body else b"Connection: close\r\n"
        start = b"HTTP/1.1 %d %b\r\n%b%bContent-Length: %d\r\n\r\n" % (
            status, REASONS[status], head, closes, len(body),
        )  # fmt: skip
        if len(body) <= JOIN_BYTES_MAX:
            self._transport.write(start + body)
        else:
            self._transport.write(start)
            self._transport.write(body)
        if closes:
            self._transport.close()

    def pause(self) -> Callable[[], None]:
        self._transport.pause_reading()
        return self._go_on

    def close(self) -> None:
        """End it, whatever it waits for."""
        self._transport.abort()

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _refuse(self, status: int, why: str) -> None:
        self._break()
        self._owed, self._keeps = True, False
        self.reply(status, self._error(status, why), b"Content-Type: application/json\r\n")

    def _break(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.broken()
