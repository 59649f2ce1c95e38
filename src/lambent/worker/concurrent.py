"""A worker's loop for code that answers many calls at once: async code, or threads if its owner says so."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import msgspec

from lambent.core.errors import Cancelled
from lambent.core.invocation import Head, Status
from lambent.runtimes import otel
from lambent.runtimes.base import Accounting, Body, Concurrent, More, Request
from lambent.runtimes.calling import use
from lambent.runtimes.forked import leave_if_forked
from lambent.wire.frames import (
    CREDIT_BYTES,
    Answer,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Form,
    FrameReader,
    Hello,
    Input,
    Told,
    Took,
    ToServer,
    ToWorker,
    cost_of,
    encode,
)
from lambent.worker.concurrent_asking import ConcurrentCaller
from lambent.worker.loop import Meter, Verdict, failed, total_ns
from lambent.worker.printing import Printing
from lambent.worker.stream import Stream

# From a cancellation until what it left behind is swept up: many are swept up together.
SWEEP_S: Final = 0.25


class ConcurrentLine:
    """See `runtimes.base.AsyncLine`."""

    def __init__(self, call: Call, send: Callable[[ToServer, Body], None]) -> None:
        self._call_id: Final = call.call_id
        self._send: Final = send
        self._credit = CREDIT_BYTES
        self._inputs: Final[deque[tuple[Form, Body]]] = deque()
        self._more = call.more
        self._begun = False
        self._news: Final = asyncio.Event()
        self._open = True
        self.caller: Final = ConcurrentCaller(call, send)
        self.task: asyncio.Task[None] | None = None  # once its turn has come
        self.entered = False  # user code may run
        self.forsaken = False  # nobody waits for it any more

    async def begin(self, head: Head | None = None) -> None:
        self._check()
        if self._begun:
            raise RuntimeError("the answer has begun already")
        self._begun = True
        self._send(Begin(self._call_id, head), b"")

    async def write(self, form: Form, piece: Body, *, more: More = More.COMES) -> None:
        if not self._begun:
            await self.begin()
        while self._credit <= 0 and self._open:
            self._news.clear()
            await self._news.wait()
        self._check()
        self._credit -= cost_of(piece)
        self._send(Chunk(self._call_id, form, more is More.NONE), piece)

    async def read(self) -> tuple[Form, Body] | None:
        while not self._inputs and self._more and self._open:
            self._news.clear()
            await self._news.wait()
        if not self._inputs or not self._open:
            return None
        form, piece = self._inputs.popleft()
        self._send(Took(self._call_id, cost_of(piece)), b"")
        return form, piece

    def close(self) -> None:
        """The call is over: what user code left behind says nothing of it any more."""
        self._open = False
        self._news.set()
        self.caller.close()

    def cancel(self) -> None:
        """Nobody waits for it. A task that has not entered user code hears of it when it does."""
        if self.forsaken:
            return  # what cleans up may take its time
        self.forsaken = True
        if self.task is not None and self.entered:
            self.task.cancel()

    def hear(self, header: Input | Credit, body: Body) -> None:
        """The server says something about this call."""
        if isinstance(header, Credit):
            self._credit += header.size_bytes
        else:
            if body or not header.last:
                self._inputs.append((header.form, body))
            self._more = self._more and not header.last
        self._news.set()

    def _check(self) -> None:
        if not self._open:
            raise RuntimeError("the call is over")


class ConcurrentLoop(asyncio.Protocol):
    """Answers up to `concurrency` calls side by side, until the server or user code ends it."""

    def __init__(self, stream: Stream, servable: Concurrent, printing: Printing, *, concurrency: int) -> None:
        self._stream: Final = stream
        self._concurrency: Final = concurrency
        self._waiting: Final[deque[tuple[Call, bytes, ConcurrentLine]]] = deque()
        self._servable: Final = servable
        self._beside: Final = servable if isinstance(servable, Accounting) else None
        self._printing: Final = printing
        self._pid: Final = os.getpid()
        self._reader: Final[FrameReader[ToWorker]] = FrameReader(ToWorker)
        self._lines: Final[dict[int, ConcurrentLine]] = {}  # of all that were not answered
        self._running = 0
        self._sweeping: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._ending = False  # nothing more will be sent
        self._code: int | None = None  # to exit with as soon as what runs has ended
        self._over: asyncio.Event
        self._lost: asyncio.Event

    def run(self, hello: Hello, refuse: Callable[[BaseException], int]) -> int:
        """Say hello, serve, and return the status to exit with: that of `refuse`, where `start` raises."""
        with asyncio.Runner(loop_factory=self._loop_factory()) as runner:
            return runner.run(self._live(hello, refuse))

    def _loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """User code gets the loop that it expects. Where it is not on the loop, the fastest one will do."""
        if self._beside is None:
            return None
        import uvloop

        return uvloop.new_event_loop

    async def _live(self, hello: Hello, refuse: Callable[[BaseException], int]) -> int:
        try:
            await self._servable.start()
        except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
            leave_if_forked(self._pid, error)
            return refuse(error)
        leave_if_forked(self._pid)
        loop = asyncio.get_running_loop()
        self._over, self._lost = asyncio.Event(), asyncio.Event()
        await loop.create_unix_connection(lambda: self, sock=self._stream.socket)
        self._send(msgspec.structs.replace(hello, total_us=self._total_us()))
        try:
            await self._over.wait()
        finally:
            await self._servable.stop()
            self._transport.close()  # once all that was said has left
            await self._lost.wait()
        return self._code or 0

    def _total_us(self) -> int:
        beside_ns = self._beside.cpu_ns() if self._beside is not None else 0
        return (total_ns() + beside_ns) // 1000

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for header, body in self._reader.feed(data):
            if isinstance(header, Call):
                self._begin(header, body)
            elif isinstance(header, Cancel | Credit | Input | Told):
                self._tell(header, body)
            else:
                self._end()

    def eof_received(self) -> bool:
        self._end()
        return True  # answers still go out

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
        self._over.set()  # the server has gone, and nobody hears what still runs

    def _begin(self, call: Call, body: bytes) -> None:
        line = self._lines[call.call_id] = ConcurrentLine(call, self._send)
        if self._running < self._concurrency:
            self._start(call, body, line)
        else:  # it was sent ahead of its turn
            self._waiting.append((call, body, line))

    def _start(self, call: Call, body: bytes, line: ConcurrentLine) -> None:
        self._running += 1
        self._stream.busy = True
        line.task = asyncio.get_running_loop().create_task(self._answered(call, body, line))

    def _tell(self, header: Cancel | Credit | Input | Told, body: bytes) -> None:
        if (line := self._lines.get(header.call_id)) is None:
            return  # it was answered in the meantime
        if isinstance(header, Cancel):
            line.cancel()
        elif isinstance(header, Told):
            line.caller.hear(header, body)
        else:
            line.hear(header, body)

    async def _answered(self, call: Call, body: bytes, line: ConcurrentLine) -> None:
        meter = Meter(self._beside.cpu_ns) if self._beside is not None else Meter()
        use(line.caller)
        otel.enter(call)
        verdict = await self._verdict(Request(call, body), line)
        line.close()
        code = verdict.exit_code
        if self._printing.settle() and code is None:
            code = 0
        used = meter.read()
        answer = Answer(
            call_id=call.call_id,
            status=verdict.status,
            content_type=verdict.reply.content_type,
            run_us=used.run_us,
            cpu_us=used.cpu_us,
            rss_bytes=self._rss_bytes(),
            retiring=code is not None or self._ending or self._stream.ending,
            head=verdict.reply.head,
            total_us=used.total_us + (total_ns() // 1000 if self._beside is not None else 0),
        )
        self._send(answer, bytes(verdict.reply.body))
        del self._lines[call.call_id]
        self._running -= 1
        self._stream.busy = self._running > 0
        if verdict.status is Status.CANCELLED:
            self._sweep_soon()
        if code is not None:
            self._code = max(code, self._code or 0)
        elif self._waiting and self._code is None:
            self._start(*self._waiting.popleft())
        self._look_around()

    async def _verdict(self, request: Request, line: ConcurrentLine) -> Verdict:
        try:
            line.entered = True
            if line.forsaken:
                raise Cancelled
            reply = await self._servable.converse(request, line)
        except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
            leave_if_forked(self._pid, error)
            if isinstance(error, asyncio.CancelledError):
                error = Cancelled()
            return failed(error, request.call.invocation_id)
        leave_if_forked(self._pid)
        return Verdict(Status.OK, reply)

    def _rss_bytes(self) -> int:
        if self._beside is not None:
            return self._beside.rss_bytes_max()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def _end(self) -> None:
        self._ending = True
        self._look_around()

    def _sweep_soon(self) -> None:
        """Have the `finally` of what was cancelled run now.

        A framework drops an async generator that it streams from and does not close it. It is closed once it
        is collected, and the exception that ended its call holds it until then.
        """
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        gc.collect()

    def _look_around(self) -> None:
        """Whether there is nothing left to do."""
        if not self._running and (self._ending or self._stream.ending or self._code is not None):
            self._over.set()

    def _send(self, header: ToServer, body: Body = b"") -> None:
        if not self._transport.is_closing():
            self._transport.write(encode(header, bytes(body)))
