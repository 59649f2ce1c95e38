"""One client's connection: uvicorn's, with bounds on what a client may send and on how long it may be silent.

uvicorn reads a head of any size, and waits for ever for the rest of a request, and for who reads no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from lambent.gateway.presence import Presence
from lambent.gateway.progress import cut_off, taken_bytes
from lambent.gateway.requests import PRESENCE, TRAILERS, WHOLE
from lambent.gateway.turnstile import Turnstile
from lambent.wire import problem
from lambent.wire.api import Problem

# Of what is no body: the request's line and headers, the extensions of chunks, the trailers. The parser keeps
# it in memory, and what one read brings on top, 256 KiB at the most.
HEAD_BYTES_MAX: Final = 128 * 1024
# A client that owes bytes and sends none that matter is cut off after this time, at the latest after twice.
# So is one that takes nothing of its answer.
SILENCE_S_MAX: Final = 30.0
JOINED_BYTES_MAX: Final = 64 * 1024  # an answer's body up to this size is sent in one piece with its head
FORBIDDEN: Final = bytes((*range(9), 11, 12, *range(14, 32), 127))  # all but text, tabs and line ends

BUSY: Final = Problem("Too many connections", 503, "too_many_connections", "try again in a moment")
HEAD_TOO_LARGE: Final = Problem(
    "Request head too large", 431, "head_too_large", f"a request's head has at most {HEAD_BYTES_MAX} bytes"
)


class HeadTooLarge(Exception):
    """Ends the parser, which then has nothing more to say of this connection."""


class Connection(HttpToolsProtocol):
    """Refuses what is over its bounds and closes itself. Its requests begin at the `turnstile`."""

    def __init__(self, *args: Any, turnstile: Turnstile, connections_max: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turnstile: Final = turnstile
        self._connections_max: Final = connections_max
        self._head_bytes = 0  # since the parser last came to the end of something
        self._is_head_too_large = False
        self._progressed = False
        self._look_again: asyncio.TimerHandle | None = None
        self._presence: Final = Presence(self._drop)
        self._extensions: Final = {WHOLE: self, TRAILERS: self, PRESENCE: self._presence}
        self._answering: RequestResponseCycle | None = None  # that of its requests whose turn it is
        self._awaited: asyncio.Future[RequestResponseCycle | None] | None = None  # its next request
        self._taken_bytes: int | None = None  # while there is more for it than the kernel takes
        self._idle_s = 0.0  # for how long it has asked for nothing, as far as was looked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > self._connections_max:
            self._refuse(BUSY)
        else:
            self._look_again = self.loop.call_later(SILENCE_S_MAX, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
        super().connection_lost(exc)
        self._presence.leave()
        self._let_go()
        for itself in (WHOLE, TRAILERS):  # only the collector would let go of it
            self._extensions.pop(itself)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(HEAD_TOO_LARGE)

    def handle_websocket_upgrade(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()  # one that is open may be silent for as long as its deployment says
        self._let_go()
        super().handle_websocket_upgrade()
        self._check_handshake()

    def _check_handshake(self) -> None:
        """What cannot be read as a handshake uvicorn leaves without an answer, and open for ever."""
        opened = self.transport.get_protocol()
        if isinstance(opened, WebSocketsSansIOProtocol) and not opened.handshake_initiated:
            error = opened.conn.handshake_exc
            why = "it cannot be read" if error is None else str(error.__cause__ or error)
            self._refuse(Problem("Bad WebSocket handshake", 400, "bad_handshake", why))

    def on_headers_complete(self) -> None:
        # The bytes since the last end may be those of a body, too, that came with its head in one read.
        if self._head_bytes > HEAD_BYTES_MAX and self._parsed_bytes() > HEAD_BYTES_MAX:
            self._is_head_too_large = True
            raise HeadTooLarge
        self._head_bytes, self._progressed = 0, True
        if self.parser.should_upgrade() and self._should_upgrade():
            super().on_headers_complete()
            return
        self._complete_scope()
        before: RequestResponseCycle | None = self.cycle
        self.cycle = cycle = self._cycle()
        if before is None or before.response_complete:
            self._enter(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _complete_scope(self) -> None:
        """What the parser knows of the head, into the scope that `on_message_begin` made."""
        scope = cast(dict[str, Any], self.scope)
        if (version := self.parser.get_http_version()) != "1.1":
            scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        scope["extensions"] = self._extensions
        self.headers = []  # the parser adds trailers, and these are no headers (RFC 9110 section 6.5.1)

    def _cycle(self) -> RequestResponseCycle:
        keep_alive = self.scope["http_version"] != "1.0" and self.parser.should_keep_alive()
        return RequestResponseCycle(
            self.scope, self.transport, self.flow, self.logger, self.access_logger, self.access_log,
            self.server_state.default_headers, asyncio.Event(), self.expect_100_continue,
            keep_alive, self.on_response_complete,
        )  # fmt: skip

    def _enter(self, cycle: RequestResponseCycle) -> None:
        self._answering = cycle
        self._turnstile.enter(self._begin)

    def _begin(self) -> None:
        """The application takes the request, unless nobody waits for its answer any more."""
        cycle = self._answering
        if cycle is None or cycle.disconnected:
            return
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.set_result(cycle)
            return
        task = self.loop.create_task(self._serve(cycle))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _serve(self, first: RequestResponseCycle) -> None:
        """Have this request answered, and the next ones: a task for each costs more than to wait for one."""
        cycle: RequestResponseCycle | None = first
        while cycle is not None:
            await cycle.run_asgi(self.app)
            if self._awaited is not None or self.transport.is_closing():
                return
            self._awaited = self.loop.create_future()
            cycle = await self._awaited

    def _let_go(self) -> None:
        """No more requests come: who waits for one ends."""
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.set_result(None)

    def write(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Answer as a whole, or say that it must go the ordinary way: a part is out, or nobody reads.

        It is checked and written once, in one piece: uvicorn checks each header by itself, and writes the
        head and the body each for itself. `headers` have names in lower case and say all there is to say
        about the body. Raises `ValueError` for one that would end its line.
        """
        cycle = self._answering
        if cycle is None or cycle.response_started or cycle.flow.write_paused:
            return False
        if cycle.disconnected:
            return True
        if cycle.waiting_for_100_continue:
            cycle.keep_alive = False  # whether the body that it announced still comes is not known
        head = written((*cycle.default_headers, *headers))
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        cycle.response_started = cycle.response_complete = True
        if len(body) <= JOINED_BYTES_MAX:
            cycle.transport.write(b"".join((STATUS_LINE[status], head, end, body)))
        else:  # to copy it would cost more than a second buffer in the system call
            cycle.transport.writelines((b"".join((STATUS_LINE[status], head, end)), body))
        _over(cycle)
        return True

    def end(self, trailers: Sequence[tuple[bytes, bytes]]) -> bool:
        """End an answer whose length was not known with these, or say that it must end the ordinary way.

        Raises `ValueError` for one that would end its line.
        """
        cycle = self._answering
        is_open = cycle is not None and cycle.response_started and not cycle.response_complete
        if cycle is None or not is_open or not cycle.chunked_encoding or cycle.disconnected:
            return False
        if cycle.scope["method"] == "HEAD" or cycle.scope["http_version"] != "1.1":
            return False
        lines = written(trailers)
        cycle.response_complete = True
        cycle.transport.write(b"0\r\n%b\r\n" % lines)
        _over(cycle)
        return True

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._idle_s = 0.0  # uvicorn would set a timer, and take it back at the next request
        if self.pipeline:
            self._enter(self.pipeline.pop()[0])

    def on_body(self, body: bytes) -> None:
        self._head_bytes, self._progressed = 0, True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def _parsed_bytes(self) -> int:
        """The size of the head that the parser has read, without what stands between names and values."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def send_400_response(self, msg: str) -> None:
        if self._is_head_too_large:
            self._refuse(HEAD_TOO_LARGE)
        elif self._answers_another():
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _answers_another(self) -> bool:
        """Whether words about what came last would stand in, or for, the answer to what came before."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return bool(self.pipeline) or cycle.response_started or not cycle.more_body

    def _drop(self) -> None:
        self.transport.close()

    def _look(self) -> None:
        """Whether the client has been silent for too long while it was its turn."""
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        unfinished = self._head_bytes or cycle is None or cycle.more_body
        if unfinished and not self._progressed and not self.flow.read_paused:
            self.transport.close()
            return
        if self._takes_nothing():
            cut_off(self.transport)
            return
        asks = unfinished or self._progressed or not self.cycle.response_complete
        self._idle_s = 0.0 if asks else self._idle_s + SILENCE_S_MAX
        if self._idle_s >= self.timeout_keep_alive:
            self.transport.close()
            return
        self._progressed = False
        self._look_again = self.loop.call_later(SILENCE_S_MAX, self._look)

    def _takes_nothing(self) -> bool:
        """Whether it has taken nothing since the last look of what has waited for it since then."""
        before = self._taken_bytes
        self._taken_bytes = taken_bytes(self.transport) if self.transport.get_write_buffer_size() else None
        return before is not None and before == self._taken_bytes

    def _refuse(self, why: Problem) -> None:
        if self._answers_another():
            self.transport.close()
            return
        body = problem.encode(why)
        later = "retry-after: 1\r\n" if why is BUSY else ""  # the others would be refused again
        head = (
            f"HTTP/1.1 {why.status} {why.title}\r\ncontent-type: {problem.CONTENT_TYPE}\r\n"
            f"content-length: {len(body)}\r\n{later}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def written(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """As lines. Raises `ValueError` for one that would end its line."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    text = b"".join(lines)
    if text.count(b"\r") + text.count(b"\n") != 2 * len(lines) or len(text.translate(None, FORBIDDEN)) != len(
        text
    ):
        raise ValueError("a header holds a character that no header may hold")
    return text


def _over(cycle: RequestResponseCycle) -> None:
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
