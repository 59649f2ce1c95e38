"""One piece of a run: a worker that is called, heard, asked to leave, billed and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.checkpointing import between_failures_s
from lambent.core.costing import Rate
from lambent.core.errors import Draining, LambentError, PlatformFault, TrainingFailed
from lambent.core.invocation import Invocation, Status
from lambent.core.pricing import OWN_METER
from lambent.core.slicing import Asked, ExitWord, How, Limits, SliceEnd, SliceTerms, grace_s, limits
from lambent.core.spec import DeploymentSpec, Kind, Temperature
from lambent.engines.base import Engine, Exit, Hears, Worker, WorkerGone
from lambent.engines.endings import KilledLoading, ended
from lambent.jobs.arenas import Flushed
from lambent.jobs.datasets import HeldDatasets
from lambent.jobs.diary import Diary
from lambent.jobs.flushing import flush_along
from lambent.jobs.judging import Judging
from lambent.jobs.leaving import Arena, Arenas, Leave, Watch
from lambent.jobs.recorder import Recorder
from lambent.jobs.results import result_of
from lambent.metering.journal import UsageRecord
from lambent.pool.routes import Route
from lambent.storage.base import Run
from lambent.wire.arena import Commit
from lambent.wire.frames import Answer, Ask, Call, Drop, FromCall, Told, read_error, unheard
from lambent.wire.oneshot import JobCall, JobResult

UNFLUSHED: Final = "its last checkpoint is not on disk: "
NO_MEMORY: Final = frozenset({"MemoryError", "Runtime.OutOfMemory"})


class Asks(Protocol):
    """What one run asks of other deployments."""

    def hear(self, said: FromCall, body: bytes, /) -> None:
        """It asks for one more, or does not want one any more."""

    def end(self) -> None:
        """It is over: nobody waits for the rest."""


class Asking(Protocol):
    """Who runs what is asked for."""

    def by(self, callers: Sequence[Invocation], tell: Callable[[Told, bytes], None], /) -> Asks:
        """What one call asks for, within its project, its time and its trace."""


class Starting(Protocol):
    """Who starts the runs that a run asks for."""

    def __call__(
        self, run: Run, leave: Leave, others: Asks | None, tell: Callable[[Told, bytes], None], /
    ) -> Asks:
        """What one slice asks for; what is about no run is left to `others`."""


class Over(msgspec.Struct, frozen=True):
    """A slice that is over. `result` is what the job said where its work is done; `used` what it took."""

    end: SliceEnd
    result: JobResult | None = None
    used: Exit | None = None


class Slices:
    """Runs slices on the engine."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        meter: Callable[[UsageRecord], None],
        datasets: HeldDatasets,
        arenas: Arenas,
        judging: Judging,
        recorder: Recorder,
    ) -> None:
        self._engine: Final = engine
        self._datasets: Final = datasets
        self._clock: Final = clock
        self._meter: Final = meter
        self._arenas: Final = arenas
        self._judging: Final = judging
        self._recorder: Final = recorder
        self._asking: Asking | None = None
        self._starting: Starting | None = None

    def listen(self, asking: Asking) -> None:
        """Let runs call other deployments by this way; until then they are told that they may not."""
        self._asking = asking

    def let_start(self, starting: Starting) -> None:
        """Let runs start others by this way."""
        self._starting = starting

    async def work(self, route: Route, diary: Diary, work_dir: Path, leave: Leave) -> Over:
        """See one slice to its end, however that comes."""
        run = diary.run
        saved_dir = await self._recorder.begin(run)
        try:
            return await self._worked(route, diary, work_dir, leave, saved_dir)
        finally:
            if warning := await self._recorder.rest(run):
                diary.change(warning=warning)

    async def _worked(self, route: Route, diary: Diary, work_dir: Path, leave: Leave, saved_dir: str) -> Over:
        run = diary.run
        plan = msgspec.structs.replace(route.plan, work_dir=str(work_dir), run=run.id)
        try:
            call, arena = await asyncio.to_thread(self._prepared, route, run, work_dir, saved_dir)
            worker = await self._engine.start(plan)
        except LambentError as error:
            return Over(_not_begun(error))
        one = _Slice(route, diary, worker, arena, leave, self._clock, flush=self._flush)
        asks = self._asks(route, run, worker)
        if self._starting is not None:
            asks = self._starting(run, leave, asks, worker.tell)
        over = await one.run(call, asks, self._meter)
        if over.end.how is not How.FINISHED and arena.committed() is not None:
            try:
                await self._flush(run.id)
            except PlatformFault as error:  # it goes on from memory
                diary.change(warning=UNFLUSHED + error.message)
        return over

    async def _flush(self, run: str) -> Flushed | None:
        return await asyncio.to_thread(self._arenas.flush, run)

    def _prepared(self, route: Route, run: Run, work_dir: Path, saved_dir: str) -> tuple[JobCall, Arena]:
        """What the worker is told. Blocks."""
        work_dir.mkdir(parents=True, exist_ok=True)
        arena = self._arenas.restore(run.id)
        call = JobCall(
            run=run.id,
            params=run.params,
            work_dir=str(work_dir),
            arena=str(arena.folder),
            slice=run.slices - 1,
            datasets=self._datasets.refs(run.project, run.datasets),
            transforms_dir=str(self._datasets.transforms_dir(run.project)),
            gate=self._judging.gate_of(run, route),
            artifacts_dir=saved_dir,
        )
        return call, arena

    def _asks(self, route: Route, run: Run, worker: Worker) -> Asks | None:
        """What the run asks for is asked for by an invocation of its job, which has as much time."""
        if self._asking is None:
            return None
        caller = Invocation(
            id=run.id,
            project=run.project,
            deployment=run.job,
            body=b"",
            deadline_s=self._clock.now_s() + route.spec.timeout_s,
        )
        return self._asking.by((caller,), worker.tell)


class _Slice:
    """A slice that has a worker."""

    def __init__(
        self,
        route: Route,
        diary: Diary,
        worker: Worker,
        arena: Arena,
        leave: Leave,
        clock: Clock,
        *,
        flush: Callable[[str], Awaitable[Flushed | None]],
    ) -> None:
        self._route: Final = route
        self._diary: Final = diary
        self._worker: Final = worker
        self._leave: Final = leave
        self._terms: Final = terms_of(route.spec)
        self._rate: Final = Rate(memory_bytes=route.spec.memory_bytes)
        self._before_ms: Final = diary.run.running_ms
        self._before_usd: Final = diary.run.cost_usd
        self._killed = False
        self._flush: Final = flush
        self._committed: Final = asyncio.Event()
        self._watch: Final = Watch(
            arena, leave, clock, limits=self._limits, grace_s=self._grace_s, look=self._look
        )

    async def run(self, job: JobCall, asks: Asks | None, meter: Callable[[UsageRecord], None]) -> Over:
        """Call the worker and wait for its end."""
        run, worker = self._diary.run, self._worker

        def hears(said: FromCall, news: bytes) -> None:
            if asks is not None and isinstance(said, Ask | Drop):
                asks.hear(said, news)
            elif isinstance(said, Ask):
                worker.tell(*unheard(said))
            else:
                self._diary.hear(said, news)

        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(self._watch.run(self._kill)), tasks.create_task(self._flush_along())]
            try:
                over, status = await self._called(job, hears)
            finally:
                for task in beside:
                    task.cancel()
                if asks is not None:
                    asks.end()
                lasted_s = self._watch.lasted_s
                worker.kill()
                used = await worker.exited()
                self._watch.look()
        meter(self._bill(run, status, used, wall_s=lasted_s))
        return msgspec.structs.replace(over, used=used)

    async def _called(self, job: JobCall, hears: Hears) -> tuple[Over, Status]:
        left_ms = max(0.0, self._terms.timeout_s * 1e3 - self._before_ms)
        try:
            answer, result = await self._worker.call(
                Call(1, job.run, left_ms), msgspec.json.encode(job), hears
            )
        except WorkerGone as gone:
            is_late = self._killed and self._leave.why is Asked.TIME
            end = self._gone(f"the job's process {ended(gone.exit, self._worker.printed())}")
            return Over(end), Status.TIMED_OUT if is_late else Status.EXITED
        return _answered(answer, result, self._leave.why), answer.status

    async def _flush_along(self) -> None:
        """From its first commit on."""
        await self._committed.wait()
        run = self._diary.run.id
        await flush_along(
            lambda: self._flush(run),
            between_failures_s=lambda: between_failures_s(
                self._diary.run.running_ms / 1e3, self._diary.run.attempts
            ),
            trouble=lambda said: self._diary.change(warning=UNFLUSHED + said if said else ""),
        )

    def _kill(self) -> None:
        self._killed = True
        self._worker.kill()

    def _limits(self) -> Limits:
        return limits(self._terms, run_s=self._before_ms / 1e3, step=self._diary.run.step)

    def _grace_s(self, why: Asked) -> float:
        return grace_s(self._terms, why, step=self._diary.run.step)

    def _look(self, commit: Commit | None, lasted_s: float) -> None:
        """Keep what it has come to, and end it where it has cost what it may."""
        running_ms = self._before_ms + int(lasted_s * 1e3)
        run = self._diary.run
        cost_usd = self._before_usd + self._rate.cost_usd(running_ms=int(lasted_s * 1e3), slices=1)
        self._diary.tick(running_ms=running_ms, cost_usd=cost_usd)
        if commit is not None and commit.unix_ms != run.checkpoint_unix_ms:
            self._diary.change(step=commit.step, checkpoint_unix_ms=commit.unix_ms)
            self._committed.set()
        if 0 < run.max_cost_usd <= cost_usd and not run.end_asked:
            self._diary.change(end_asked=ExitWord.OVER_BUDGET.value)
            self._leave.ask(Asked.BUDGET)

    def _gone(self, said: str) -> SliceEnd:
        """It is gone without an answer."""
        if not self._killed:
            return SliceEnd(How.GONE, self._leave.why, said)
        kept_s = f"{self._terms.grace_s:g} s after it was asked to checkpoint and leave"
        return SliceEnd(How.OVERRAN, self._leave.why, f"the job's process was killed: it was there {kept_s}")

    def _bill(self, run: Run, status: Status, end: Exit, *, wall_s: float) -> UsageRecord:
        """However it ended: what was used is used."""
        run_us = int(wall_s * 1e6)
        return UsageRecord(
            invocation=run.id,
            project=run.project,
            deployment=run.job,
            revision=self._route.plan.revision,
            kind=Kind.JOB,
            status=status,
            started_unix_ms=run.started_unix_ms or run.created_unix_ms,
            run_us=run_us,
            billed_ms=OWN_METER.read(run_us=run_us),
            billed_init_ms=0,
            memory_bytes=self._route.spec.memory_bytes,
            memory_used_bytes=end.rss_bytes_max,
            cpu_us=end.cpu_us,
            temperature=Temperature.COLD,
            request_bytes=0,
            response_bytes=0,
        )


def terms_of(spec: DeploymentSpec) -> SliceTerms:
    """What the owner of a job says of its runs."""
    return SliceTerms(
        slice_s=spec.slice_s,
        grace_s=spec.grace_s,
        timeout_s=spec.timeout_s,
        retries=spec.retries,
        retry_first_s=spec.retry_first_s,
    )


def _not_begun(error: LambentError) -> SliceEnd:
    """There is no worker."""
    if isinstance(error, Draining):
        return SliceEnd(How.YIELDED, Asked.STOP)
    how = How.GONE if isinstance(error, KilledLoading | PlatformFault) else How.REFUSED
    return SliceEnd(how, error=error.message)


def _answered(answer: Answer, result: bytes, why: Asked) -> Over:
    if answer.status is not Status.OK:
        error = read_error(result)
        how = How.NO_MEMORY if error.error_type in NO_MEMORY else How.RAISED
        return Over(SliceEnd(how, why, f"the job failed: {error.error_type}: {error.error_message}"))
    try:
        said = result_of(result)
    except TrainingFailed as error:
        return Over(SliceEnd(How.REFUSED, why, error.message))
    return Over(SliceEnd(How.YIELDED if said.yielded else How.FINISHED, why), said)
