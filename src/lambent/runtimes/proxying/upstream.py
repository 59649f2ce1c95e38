"""Connections to a program: HTTP/1.1 from its client's side, read no faster than it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast

import httptools

from lambent.clock import Clock
from lambent.core.invocation import Head
from lambent.runtimes.outputs import say
from lambent.runtimes.proxying.heads import answer_head, trailer

HEAD_BYTES_MAX: Final = 128 * 1024
HEADERS_MAX: Final = 512
# So much of an answer waits for its reader before no more is read of the connection.
AHEAD_BYTES: Final = 128 * 1024
# Servers end a connection that is silent for some seconds, 2 at the least that is usual (gunicorn): one that
# was silent for longer than this is not written to, so that no request meets its end.
IDLE_S: Final = 1.0
# What servers say to a connection that they end because it is idle (RFC 9110 section 15.5.9): no answer.
FAREWELLS: Final = (b"HTTP/1.1 408", b"HTTP/1.0 408")
SWITCHING: Final = 101
OK: Final = 200


class Broken(Exception):
    """The program did not answer, or not to the end. `unheard`: it said nothing at all."""

    def __init__(self, why: str, *, unheard: bool) -> None:
        super().__init__(why)
        self.unheard: Final = unheard


class Incoming:
    """One answer as it comes."""

    def __init__(self, method: str) -> None:
        self.has_body: Final = method != "HEAD"
        self.head: Head | None = None
        self.trailers: Final[list[tuple[str, str]]] = []
        self.wants_trailers = False  # who asked reads them
        self.whole = False
        self._broken: Broken | None = None
        self._pieces: Final[deque[bytes]] = deque()
        self.waiting_bytes = 0
        self._news: asyncio.Future[None] | None = None

    def take(self) -> bytes:
        """All that has come of the body and was not taken."""
        taken = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.waiting_bytes = 0
        return taken

    @property
    def told_behind(self) -> Sequence[tuple[str, str]]:
        """What stands behind the body, for who reads it."""
        return self.trailers if self.wants_trailers else ()

    async def begun(self) -> Head:
        """The head, once it is there. Raises `Broken`."""
        while self.head is None:
            await self.news()
        return self.head

    async def news(self) -> None:
        """Wait until more has come. Raises `Broken` where no more will and something is missing."""
        if self._broken is not None:
            raise self._broken
        self._news = asyncio.get_running_loop().create_future()
        await self._news
        if self._broken is not None and not self._pieces:
            raise self._broken

    # For the connection.

    def add(self, piece: bytes) -> None:
        """More of the body."""
        self._pieces.append(piece)
        self.waiting_bytes += len(piece)

    def fail(self, why: str) -> None:
        """No more comes."""
        if not self.whole and self._broken is None:
            self._broken = Broken(why, unheard=self.head is None)
            self.stir()

    def stir(self) -> None:
        """Who waits looks again."""
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)


class Connection(asyncio.Protocol):
    """One connection to the program. Requests on it come one after another.

    `on_unasked` hears of bytes that stand where no request asked for any.
    """

    def __init__(self, on_unasked: Callable[[], None]) -> None:
        self._on_unasked: Final = on_unasked
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiting: Final = select.poll()
        self._fd = -1
        self._incoming: Incoming | None = None
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._head_bytes = 0
        self._is_body = False
        self._ends_with_connection = False
        self._reading = True
        self._room: asyncio.Event | None = None  # while the kernel takes no more
        self.keeps = True  # another request may follow on it
        self.idle_since_s = 0.0
        self.is_used = False  # it has answered before

    @property
    def is_open(self) -> bool:
        """Whether it can be written to, as far as is known."""
        return not self._transport.is_closing()

    def is_silent(self) -> bool:
        """Whether nothing waits to be read: neither an answer that nobody asked for, nor its end."""
        if not self._waiting.poll(0):
            return True
        with contextlib.suppress(OSError):  # it has broken
            self._judge(os.read(self._fd, len(FAREWELLS[0])))
        return False

    def ask(self, method: str, sent: bytes) -> Incoming:
        """Send the beginning of a request."""
        self._incoming = incoming = Incoming(method)
        self._transport.write(sent)
        return incoming

    async def send(self, piece: bytes) -> None:
        """Send more of the request, when there is room for it. Raises `Broken`."""
        if not self.is_open:
            raise Broken("the program closed the connection", unheard=False)
        self._transport.write(piece)
        if self._room is not None:
            await self._room.wait()

    def took(self) -> None:
        """What waited was taken: go on reading."""
        if not self._reading and self.is_open:
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        """End it, whatever it does."""
        self._incoming = None
        self._transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._fd = transport.get_extra_info("socket").fileno()
        self._waiting.register(self._fd, select.POLLIN)

    def pause_writing(self) -> None:
        self._room = asyncio.Event()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.set()

    def data_received(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming is None:  # an answer to nothing
            self._judge(data)
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not incoming.whole:
                self.break_off(f"the program's answer is no HTTP/1.1: {error.__context__ or error}")
                return
            self._on_unasked()
            self.close()  # what stands behind its answer is no answer
        if incoming.waiting_bytes > AHEAD_BYTES and self._reading and not incoming.whole:
            self._reading = False
            self._transport.pause_reading()
        incoming.stir()

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        self._ended()

    # What the parser finds.

    def on_message_begin(self) -> None:
        if self._incoming is None:  # an answer too many: whose the next one is cannot be known
            self._refuse()
        self._status, self._headers, self._head_bytes, self._is_body = 0, [], 0, False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > HEAD_BYTES_MAX or len(self._headers) >= HEADERS_MAX:
            raise ValueError(f"a head may have {HEADERS_MAX} headers and {HEAD_BYTES_MAX} bytes")
        pair = (name.decode("latin-1").lower(), value.decode("latin-1"))
        if not self._is_body:
            self._headers.append(pair)
        elif self._incoming is not None and len(self._incoming.trailers) < HEADERS_MAX:
            self._incoming.trailers.extend(trailer(*pair))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status == SWITCHING:
            raise ValueError("it changes the protocol, which was not asked for")
        incoming = self._incoming
        if self._status < OK or incoming is None:
            return  # what a client of this connection alone is told while it waits
        self._is_body = True
        self.keeps = self._parser.should_keep_alive()
        self._ends_with_connection = not any(
            name == "content-length" or (name == "transfer-encoding" and "chunked" in value.lower())
            for name, value in self._headers
        )
        incoming.head = answer_head(self._status, self._headers)
        if not incoming.has_body:
            # The parser waits for a body that does not come.
            self._parser = httptools.HttpResponseParser(self)
            self._finish(incoming)

    def on_body(self, body: bytes) -> None:
        if self._incoming is not None:
            self._incoming.add(body)
        else:  # of an answer that has none, or of one too many
            self._refuse()

    def on_message_complete(self) -> None:
        if self._status >= OK and self._incoming is not None:
            self._finish(self._incoming)

    def _judge(self, said: bytes) -> None:
        if said and not said.startswith(FAREWELLS):
            self._on_unasked()

    def _refuse(self) -> None:
        self.keeps = False
        self._on_unasked()

    def _finish(self, incoming: Incoming) -> None:
        incoming.whole = True
        self.is_used = True
        self._incoming = None

    def _ended(self) -> None:
        self.keeps = False
        incoming = self._incoming
        if incoming is None:
            return
        if incoming.head is not None and self._ends_with_connection:
            self._finish(incoming)
            incoming.stir()
        else:
            self.break_off("the program closed the connection before its answer was whole")

    def break_off(self, why: str) -> None:
        """End it; who waits for an answer hears why there is none."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.fail(why)
        self._transport.abort()


class Upstream:
    """The connections to one program: those that are idle wait for the next request.

    None is used again once the program has said more than it was asked for: what it says late, behind the
    next request, cannot be told from the answer to that, and would go to another caller.
    """

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._host: Final = host
        self._port: Final = port
        self._clock: Final = clock
        self._idle: Final[list[Connection]] = []
        self._busy: Final[set[Connection]] = set()
        self._trusts = True

    @property
    def host(self) -> str:
        """Where the program listens."""
        return self._host

    async def take(self) -> Connection:
        """A connection for one request: one that was used a moment ago, or a new one. Raises as `open`."""
        now_s = self._clock.now_s()
        while self._idle:
            connection = self._idle.pop()
            is_fresh = connection.is_open and now_s - connection.idle_since_s < IDLE_S
            if is_fresh and connection.is_silent():
                self._busy.add(connection)
                return connection
            connection.close()
        return await self.open()

    async def open(self) -> Connection:
        """A new connection for one request. Raises OSError where the program does not listen any more."""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: Connection(self._distrust), self._host, self._port)
        self._busy.add(made)
        return made

    def give_back(self, connection: Connection) -> None:
        """Its request is answered: keep it for the next, if it can be kept."""
        self._busy.discard(connection)
        if self._trusts and connection.keeps and connection.is_open:
            connection.idle_since_s = self._clock.now_s()
            self._idle.append(connection)
        else:
            connection.close()

    def drop(self, connection: Connection) -> None:
        """Its request was not answered, or not to the end: the program sees that nobody waits."""
        self._busy.discard(connection)
        connection.close()

    def break_off(self, why: str) -> None:
        """The program has ended: nobody gets an answer any more."""
        for connection in tuple(self._busy):
            connection.break_off(why)

    def close(self) -> None:
        """End those that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _distrust(self) -> None:
        """It said what nobody asked for: from now on each request has a connection of its own."""
        if self._trusts:
            self._trusts = False
            self.close()
            say(
                "[WARNING] Lambent.UnaskedResponse: the program sent more than the answers to its requests; "
                "none of its connections is used for a second request any more\n"
            )
