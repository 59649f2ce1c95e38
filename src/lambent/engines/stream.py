"""The server's end of a worker's stream: calls out, answers in. This is the hot path."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import chain
from typing import Final, cast

import msgspec

from lambent.engines.base import Exit, Hears, WorkerGone
from lambent.engines.endings import load_failed
from lambent.wire.frames import (
    CREDIT_BYTES,
    Answer,
    Ask,
    Batch,
    Begin,
    Call,
    Chunk,
    Credit,
    Drop,
    FrameError,
    FrameReader,
    Hello,
    LoadError,
    Progress,
    Stop,
    ToCall,
    Took,
    ToServer,
    Wake,
    cost_of,
    encode,
    parts,
    read_error,
    unheard,
)

Answered = tuple[Answer, bytes]


class WorkerStream(asyncio.Protocol):
    """One connection to one worker.

    When the worker's end is closed, or it breaks the protocol, what waits for an answer goes on waiting until
    `fail` says how the process ended.
    """

    def __init__(self, *, body_bytes_max: int) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._reader: Final[FrameReader[ToServer]] = FrameReader(ToServer, body_bytes_max=body_bytes_max)
        self._on_end: Callable[[], None] | None = None
        self._on_abuse: Callable[[], None] | None = None
        self._calls: Final[dict[int, asyncio.Future[Answered]]] = {}
        self._hears: Final[dict[int, Hears]] = {}
        self._credit: Final[dict[int, int]] = {}  # of those that stream
        self._outgoing: Final[dict[int, tuple[bytes, ...]]] = {}
        self._sent_last: int | None = None  # the call, if nothing was sent after it
        self._unread: Final[set[int]] = set()
        self._exit: Exit | None = None
        self._total_us = 0  # the CPU time that it had used when it last told
        self._transport: asyncio.WriteTransport
        self.hello: Final[asyncio.Future[Hello]] = self._loop.create_future()
        # Nobody waits for it where a parked worker ends unused: that it failed is then no news to anybody.
        self.hello.add_done_callback(lambda hello: hello.cancelled() or hello.exception())
        self.ended = False

    def watch(self, *, on_end: Callable[[], None], on_abuse: Callable[[], None]) -> None:
        """Call `on_end` once when nothing more can come; before it, `on_abuse` if the worker broke a rule."""
        self._on_end, self._on_abuse = on_end, on_abuse
        if self.ended:
            on_end()

    def ask(self, call: Call | Batch, body: bytes, hears: Hears | None = None) -> asyncio.Future[Answered]:
        """Send a call; the future has its answer or `WorkerGone`. Raises `WorkerGone` when that is known.

        The calls of one turn of the loop go out together: waking the worker costs more than what it is sent.
        Raises `ValueError` where a call of the same id has not been answered yet.
        """
        if self._exit is not None:
            raise WorkerGone(self._exit, unread=True)
        if call.call_id in self._calls:
            raise ValueError(f"call {call.call_id} has not been answered yet")
        answer = self._calls[call.call_id] = self._loop.create_future()
        if hears is not None:
            self._hears[call.call_id] = hears
        if not self._outgoing:
            self._loop.call_soon(self._send_out)
        self._outgoing[call.call_id] = parts(call, body)
        return answer

    def tell(self, header: ToCall | Stop | Wake, body: bytes = b"") -> None:
        """Send this behind all calls. What concerns a call that has been answered is not sent."""
        self._send_out()
        self._sent_last = None
        if isinstance(header, ToCall):  # what it was told may be lost with the worker
            self._unread.discard(header.call_id)
        if isinstance(header, Credit) and header.call_id in self._credit:
            self._credit[header.call_id] += header.size_bytes
        if not (self.ended or (isinstance(header, ToCall) and header.call_id not in self._calls)):
            self._transport.write(encode(header, body))

    def answered(self, call_id: int) -> bool:
        """Whether nothing more is to be heard of a call."""
        return call_id not in self._calls

    def fail(self, how: Exit) -> None:
        """The process has ended: nothing more will come."""
        # What it had used before is told by the answers to other calls.
        how = msgspec.structs.replace(how, cpu_us=max(0, how.cpu_us - self._total_us))
        self._exit = how
        self._end()
        self._send_out()
        if not self.hello.done():
            self.hello.set_exception(WorkerGone(how))
        for call_id, answer in self._calls.items():
            if not answer.done():
                answer.set_exception(WorkerGone(how, unread=call_id in self._unread))
        self._calls.clear()
        self._hears.clear()

    @classmethod
    async def over(cls, sock: socket.socket, *, body_bytes_max: int) -> WorkerStream:
        """A stream over a connected socket, which is the stream's to close from here on."""
        try:
            _, stream = await asyncio.get_running_loop().create_unix_connection(
                lambda: cls(body_bytes_max=body_bytes_max), sock=sock
            )
        except BaseException:
            sock.close()
            raise
        return stream

    def close(self) -> None:
        """Close this end of the connection, without a word to anybody."""
        self.ended = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for header, body in self._reader.feed(data):
                # Nearly all frames are answers; one whose caller has left is dropped here.
                if type(header) is Answer:
                    answer = self._calls.pop(header.call_id, None)
                    if answer is None:
                        raise FrameError(f"an answer to call {header.call_id}, which waits for none")
                    if self._hears:
                        self._hears.pop(header.call_id, None)
                    if self._credit:
                        self._credit.pop(header.call_id, None)
                    if header.total_us > 0:
                        self._total_us = max(0, header.total_us)
                    if not answer.done():
                        answer.set_result((header, body))
                else:
                    self._hear(header, body)
        except FrameError:
            if self._on_abuse is not None:
                self._on_abuse()
            self._end()

    def eof_received(self) -> None:
        self._end()  # what is sent from now on reaches nobody

    def connection_lost(self, exc: Exception | None) -> None:
        # The kernel tells an end with something unread from one without. What was sent last is not whole at
        # the worker then; how much it had of what was sent before is not known.
        if isinstance(exc, ConnectionResetError | BrokenPipeError) and self._sent_last is not None:
            self._unread.add(self._sent_last)
        self._end()

    def _send_out(self) -> None:
        if not self._outgoing:
            return
        if self.ended:
            self._unread.update(self._outgoing)
        else:
            self._transport.writelines(chain.from_iterable(self._outgoing.values()))
            self._sent_last = next(reversed(self._outgoing))
        self._outgoing.clear()

    def _hear(self, header: ToServer, body: bytes) -> None:
        match header:
            case Ask() | Begin() | Chunk() | Drop() | Took() | Progress() if header.call_id in self._calls:
                if isinstance(header, Chunk):
                    self._spend(header.call_id, cost_of(body))
                if (hears := self._hears.get(header.call_id)) is not None:
                    hears(header, body)
                elif isinstance(header, Chunk):
                    self.tell(
                        Credit(header.call_id, cost_of(body))
                    )  # nobody hears it, and it ends all the same
                elif isinstance(header, Ask):
                    self.tell(*unheard(header))
            case Hello() if not self.hello.done():
                self._total_us = header.total_us
                self.hello.set_result(header)
            case LoadError() if not self.hello.done():
                self.hello.set_exception(load_failed(read_error(body)))
            case _ if not self.hello.cancelled():
                raise FrameError(f"{type(header).__name__} out of turn")

    def _spend(self, call_id: int, cost: int) -> None:
        """Hold a stream to its credit, which its last piece may exceed: a piece is not cut."""
        credit = self._credit.get(call_id, CREDIT_BYTES)
        if credit <= 0:
            raise FrameError(f"call {call_id} sent more than it was given credit for")
        self._credit[call_id] = credit - cost

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._transport.abort()
            if self._on_end is not None:
                self._on_end()
