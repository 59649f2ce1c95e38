"""The memory engine's worker: a task that takes calls from a queue and runs a Python callable for each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import JSON, FunctionError, Status
from lambent.engines.base import TAIL_BYTES, Exit, LogSink, WorkerGone
from lambent.wire.frames import Answer, Call
from lambent.wire.process import RevisionPlan

T = TypeVar("T")

SIGNAL_KILL: Final = -9


class Dies(Exception):
    """Raised by a program: its process ends here with `code`, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the program dies with {code}")
        self.code = code


class Scene(msgspec.Struct, frozen=True):
    """What a program may see and do during a call."""

    call: Call
    print: Callable[[bytes], None]
    progress: Callable[[bytes], None]


def echo(body: bytes, _: Scene) -> bytes:
    """The program that gives back what it got."""
    return body


def nothing() -> None:
    """The load of a program that has nothing to load."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """User code of a revision, sync or async.

    What `run` or `load` raises is the user's error; `Dies` ends the process; an await without end is a hang.
    `unsafe` are the reasons why its template must not be forked; it retires after `calls_max` answers.
    """

    run: Callable[[bytes, Scene], bytes | Awaitable[bytes]] = echo
    load: Callable[[], Awaitable[None] | None] = nothing
    unsafe: tuple[str, ...] = ()
    calls_max: int | None = None
    rss_bytes: int = 30 * 1024 * 1024


class _Job(msgspec.Struct, frozen=True):
    call: Call
    body: bytes
    answered: asyncio.Future[tuple[Answer, bytes]]


class MemoryWorker:
    """Runs calls one after another, in the order in which they came, as a process with one thread does.

    A caller that is cancelled leaves the call running: its answer is thrown away, then the next call begins.
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
        on_progress: Callable[[bytes], None],
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
        self._on_progress: Final = on_progress
        self._log_sink: Final = log_sink
        self._on_exit: Final = on_exit
        self._tail = b""
        self._jobs: Final[asyncio.Queue[_Job | None]] = asyncio.Queue()
        self._waiting: Final[dict[int, asyncio.Future[tuple[Answer, bytes]]]] = {}  # in the order of calls
        self._exit: Final[asyncio.Future[Exit]] = asyncio.get_running_loop().create_future()
        self._life: Final = asyncio.create_task(self._live())
        # Not in a `finally` of the task: one that is killed before its first step never enters its body.
        self._life.add_done_callback(self._end)

    async def call(self, call: Call, body: bytes) -> tuple[Answer, bytes]:
        if self._exit.done():
            raise WorkerGone(self._exit.result())
        answered: asyncio.Future[tuple[Answer, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[call.call_id] = answered
        self._jobs.put_nowait(_Job(call, body, answered))
        try:
            return await answered
        finally:
            self._waiting.pop(call.call_id, None)

    def printed(self) -> bytes:
        return self._tail

    def stop(self) -> None:
        self._jobs.put_nowait(None)

    def kill(self) -> None:
        self._life.cancel()

    async def exited(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def _live(self) -> int:
        try:
            await self._serve()
        except Dies as death:
            return death.code
        await asyncio.sleep(self._exit_s)
        return 0

    async def _serve(self) -> None:
        while self._calls_left != 0 and (job := await self._jobs.get()) is not None:
            if self._calls_left is not None:
                self._calls_left -= 1
            self._tail = b""
            answer = await self._answer(job)
            if not job.answered.done():
                job.answered.set_result(answer)

    async def _answer(self, job: _Job) -> tuple[Answer, bytes]:
        started_s = self._clock.now_s()
        status, content_type = Status.OK, job.call.content_type
        scene = Scene(job.call, self._print, self._on_progress)
        try:
            body = await outcome_of(lambda: self._program.run(job.body, scene))
        except Dies:
            raise
        except Exception as error:  # noqa: BLE001 - around user code
            status, content_type = Status.FAILED, JSON
            fault = FunctionError(str(error), type(error).__name__, request_id=job.call.invocation_id)
            body = msgspec.json.encode(fault)
        answer = Answer(
            call_id=job.call.call_id,
            status=status,
            content_type=content_type,
            run_us=round((self._clock.now_s() - started_s) * 1e6),
            cpu_us=0,
            rss_bytes=self._program.rss_bytes,
            retiring=self._calls_left == 0,
        )
        return answer, body

    def _print(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self._log_sink is not None:
            self._log_sink.write(self.plan, self.worker_id, chunk)

    def _end(self, life: asyncio.Task[int]) -> None:
        code = SIGNAL_KILL if life.cancelled() else life.result()
        gone = Exit(code=code, cpu_us=0, rss_bytes_max=self._program.rss_bytes)
        self._exit.set_result(gone)
        self._on_exit(self.pid)
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(WorkerGone(gone))


async def outcome_of(code: Callable[[], T | Awaitable[T]]) -> T:
    """What sync or async `code` returns."""
    result = code()
    return await result if inspect.isawaitable(result) else result
