"""The memory engine's worker: a task that takes calls from a queue and runs a Python callable for each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Final, TypeVar

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import JSON, FunctionError, Status, cancelled_error
from lambent.engines.base import TAIL_BYTES, Exit, Hears, LogSink, WorkerGone
from lambent.wire.frames import (
    CREDIT_BYTES,
    Answer,
    Ask,
    Batch,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Each,
    Form,
    FromCall,
    Stop,
    ToCall,
    cost_of,
    unheard,
)
from lambent.wire.process import RevisionPlan

T = TypeVar("T")
Answered = tuple[Answer, bytes]

SIGNAL_KILL: Final = -9


class Dies(Exception):
    """Raised by a program: its process ends here with `code`, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the program dies with {code}")
        self.code = code


class Scene:
    """What a program may see and do during a call: print, say things before its answer, hear what is told."""

    def __init__(self, call: Call, *, hears: Hears | None, write: Callable[[bytes], None]) -> None:
        self.call: Final = call
        self.print: Final = write
        self.told: Final[asyncio.Queue[tuple[ToCall, bytes]]] = asyncio.Queue()
        self._hears: Final = hears
        self._begun = False
        self._credit = CREDIT_BYTES
        self._granted: Final = asyncio.Event()

    def say(self, said: FromCall, body: bytes = b"") -> None:
        """Say this before the answer."""
        if self._hears is not None:
            self._hears(said, body)
        elif isinstance(said, Ask):
            self.tell(*unheard(said))

    async def write(self, form: Form, piece: bytes) -> None:
        """The next piece of a streaming answer, as soon as there is credit for it."""
        if not self._begun:
            self._begun = True
            self.say(Begin(self.call.call_id))
        while self._credit <= 0 and self._hears is not None:
            self._granted.clear()
            await self._granted.wait()
        self._credit -= cost_of(piece)
        self.say(Chunk(self.call.call_id, form), piece)

    def tell(self, header: ToCall, body: bytes) -> None:
        """The server says something to the call."""
        if isinstance(header, Credit):
            self._credit += header.size_bytes
            self._granted.set()
        else:
            self.told.put_nowait((header, body))


def echo(body: bytes, _: Scene) -> bytes:
    """The program that gives back what it got."""
    return body


def nothing() -> None:
    """The load of a program that has nothing to load."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """User code of a revision, sync or async.

    What `run` or `load` raises is the user's error; `Dies` ends the process; an await without end is a hang.
    `unsafe` are the reasons why its template must not be forked; it retires after `calls_max` answers. An
    answer is on its way for `way_s`, and the next call runs meanwhile.
    """

    run: Callable[[bytes, Scene], bytes | Awaitable[bytes]] = echo
    load: Callable[[], Awaitable[None] | None] = nothing
    unsafe: tuple[str, ...] = ()
    calls_max: int | None = None
    cpu_share: float = 0.0  # of a core, while it runs
    rss_bytes: int = 30 * 1024 * 1024
    way_s: float = 0.0


class _Job:
    """One call on its way to an answer."""

    def __init__(self, call: Call | Batch, body: bytes, hears: Hears | None) -> None:
        self.call: Final = call
        self.body: Final = body
        self.hears: Final = hears
        self.answered: Final[asyncio.Future[Answered]] = asyncio.get_running_loop().create_future()
        self.running: asyncio.Task[tuple[Status, bytes]] | None = None
        self.scene: Scene | None = None
        self.cancelled = False

    @property
    def parts(self) -> Sequence[tuple[Call, bytes]]:
        """Each call with its body: one, or those of a batch."""
        if isinstance(self.call, Call):
            return [(self.call, self.body)]
        ends = list(accumulate(self.call.sizes))
        return [
            (call, self.body[end - size : end])
            for call, size, end in zip(self.call.calls, self.call.sizes, ends, strict=True)
        ]


class MemoryWorker:
    """Runs up to the plan's `concurrency` of calls at once, begun in the order in which they came.

    A caller that is cancelled leaves the call running: its answer is thrown away. A call that is told so
    ends, where its program lets it, and is answered as cancelled.
    """

    def __init__(
        self,
        plan: RevisionPlan,
        program: Program,
        *,
        pid: int,
        parts_ms: dict[str, float],
        clock: Clock,
        exit_s: float,
        calls_max: int | None,
        log_sink: LogSink | None,
        on_exit: Callable[[int], object],
    ) -> None:
        self.plan: Final = plan
        self.worker_id = f"w{pid}"
        self.pid = pid
        self.parts_ms = parts_ms
        self._program: Final = program
        self._clock: Final = clock
        self._exit_s: Final = exit_s
        self._calls_left = calls_max if calls_max is not None else program.calls_max
        self._log_sink: Final = log_sink
        self._on_exit: Final = on_exit
        self._tail = b""
        self._killed = False
        self._jobs: Final[asyncio.Queue[_Job | None]] = asyncio.Queue()
        self._open: Final[dict[int, _Job]] = {}  # not answered yet, in the order of calls
        self._exit: Final[asyncio.Future[Exit]] = asyncio.get_running_loop().create_future()
        self._life: Final = asyncio.create_task(self._live())
        # Not in a `finally` of the task: one that is killed before its first step never enters its body.
        self._life.add_done_callback(self._end)

    def call(self, call: Call | Batch, body: bytes, hears: Hears | None = None) -> asyncio.Future[Answered]:
        if self._exit.done():
            raise WorkerGone(self._exit.result(), unread=True)
        job = self._open[call.call_id] = _Job(call, body, hears)
        self._jobs.put_nowait(job)
        return job.answered

    def tell(self, header: ToCall | Stop, body: bytes = b"") -> None:
        if isinstance(header, Stop):
            self._jobs.put_nowait(None)
        elif (job := self._open.get(header.call_id)) is not None:
            if isinstance(header, Cancel):
                job.cancelled = True
                if job.running is not None:
                    job.running.cancel()
            elif job.scene is not None:
                job.scene.tell(header, body)

    def printed(self) -> bytes:
        return self._tail

    def kill(self) -> None:
        self._killed = True
        self._life.cancel()

    async def exited(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def _live(self) -> int:
        codes: list[int] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self.plan.concurrency):
                    tasks.create_task(self._serve())
        except* Dies as deaths:
            codes = [death.code for death in deaths.exceptions if isinstance(death, Dies)]
        if codes:
            return codes[0]
        await asyncio.sleep(self._exit_s)
        return 0

    async def _serve(self) -> None:
        while self._calls_left != 0:
            if (job := await self._jobs.get()) is None:
                self._jobs.put_nowait(None)  # for the others
                return
            if self._calls_left is not None:
                self._calls_left -= 1
            self._tail = b""
            answer = await self._answer(job)
            if self._program.way_s:
                asyncio.get_running_loop().call_later(self._program.way_s, self._arrive, job, answer)
            else:
                self._arrive(job, answer)

    def _arrive(self, job: _Job, answer: Answered) -> None:
        self._open.pop(job.call.call_id, None)
        if not job.answered.done():
            job.answered.set_result(answer)

    async def _answer(self, job: _Job) -> Answered:
        started_s = self._clock.now_s()
        ended = [await self._run(job, call, body) for call, body in job.parts]
        content_type = job.call.content_type if isinstance(job.call, Call) else JSON
        status, result = ended[0]
        each: tuple[Each, ...] = ()
        if isinstance(job.call, Batch):
            each = tuple(
                Each(status, call.content_type if status is Status.OK else JSON, len(result))
                for call, (status, result) in zip(job.call.calls, ended, strict=True)
            )
            status, result = Status.OK, b"".join(result for _, result in ended)
        run_us = round((self._clock.now_s() - started_s) * 1e6)
        answer = Answer(
            call_id=job.call.call_id,
            status=status,
            content_type=content_type if status is Status.OK else JSON,
            run_us=run_us,
            cpu_us=round(run_us * self._program.cpu_share),
            rss_bytes=self._program.rss_bytes,
            retiring=self._calls_left == 0,
            each=each,
        )
        return answer, result

    async def _run(self, job: _Job, call: Call, body: bytes) -> tuple[Status, bytes]:
        job.scene = Scene(call, hears=job.hears, write=self._print)
        if job.cancelled:
            return _cancelled(call)
        job.running = asyncio.ensure_future(self._program_run(body, job.scene))
        try:
            return await job.running
        except asyncio.CancelledError:
            job.running.cancel()
            if self._killed or not job.cancelled:
                raise  # the process is no more
            return _cancelled(call)
        finally:
            job.running = None

    async def _program_run(self, body: bytes, scene: Scene) -> tuple[Status, bytes]:
        try:
            return Status.OK, await outcome_of(lambda: self._program.run(body, scene))
        except Dies:
            raise
        except Exception as error:  # noqa: BLE001 - around user code
            fault = FunctionError(str(error), type(error).__name__, request_id=scene.call.invocation_id)
            return Status.FAILED, msgspec.json.encode(fault)

    def _print(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self._log_sink is not None:
            self._log_sink.write(self.plan, self.worker_id, chunk)

    def _end(self, life: asyncio.Task[int]) -> None:
        code = SIGNAL_KILL if life.cancelled() else life.result()
        gone = Exit(code=code, cpu_us=0, rss_bytes_max=self._program.rss_bytes)
        self._exit.set_result(gone)
        self._on_exit(self.pid)
        for job in self._open.values():
            if not job.answered.done():
                job.answered.set_exception(WorkerGone(gone, unread=job.scene is None))


def _cancelled(call: Call) -> tuple[Status, bytes]:
    return Status.CANCELLED, msgspec.json.encode(cancelled_error(call.invocation_id))


async def outcome_of(code: Callable[[], T | Awaitable[T]]) -> T:
    """What sync or async `code` returns."""
    result = code()
    return await result if inspect.isawaitable(result) else result
