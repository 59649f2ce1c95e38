"""One piece of a run: a worker that is called, heard, billed and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.errors import TrainingFailed
from lambent.core.invocation import Invocation, Status
from lambent.core.pricing import OWN_METER
from lambent.core.spec import Kind, Temperature
from lambent.engines.base import Engine, Exit, Worker, WorkerGone
from lambent.engines.endings import ended
from lambent.jobs.datasets import HeldDatasets
from lambent.jobs.diary import Diary
from lambent.jobs.results import result_of
from lambent.metering.journal import UsageRecord
from lambent.pool.routes import Route
from lambent.storage.base import Run
from lambent.wire.frames import Ask, Call, Drop, FromCall, Told, unheard
from lambent.wire.oneshot import JobCall, JobResult


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


class Slices:
    """Runs slices on the engine."""

    def __init__(
        self, engine: Engine, clock: Clock, meter: Callable[[UsageRecord], None], datasets: HeldDatasets
    ) -> None:
        self._engine: Final = engine
        self._datasets: Final = datasets
        self._clock: Final = clock
        self._meter: Final = meter
        self._asking: Asking | None = None

    def listen(self, asking: Asking) -> None:
        """Let runs call other deployments by this way; until then they are told that they may not."""
        self._asking = asking

    async def work(self, route: Route, diary: Diary, work_dir: Path) -> JobResult:
        """See one slice to its end. Raises `TrainingFailed`."""
        run = diary.run
        plan = msgspec.structs.replace(route.plan, work_dir=str(work_dir))
        refs = await asyncio.to_thread(self._datasets.refs, run.project, run.datasets)
        worker = await self._engine.start(plan)
        body = msgspec.json.encode(
            JobCall(
                run=run.id,
                params=run.params,
                work_dir=str(work_dir),
                datasets=refs,
                transforms_dir=str(self._datasets.transforms_dir(run.project)),
            )
        )
        call = Call(1, run.id, route.spec.timeout_s * 1e3)
        started_s, status = self._clock.now_s(), Status.EXITED
        asks = self._asks(route, run, worker)

        def hears(said: FromCall, news: bytes) -> None:
            if asks is not None and isinstance(said, Ask | Drop):
                asks.hear(said, news)
            elif isinstance(said, Ask):
                worker.tell(*unheard(said))
            else:
                diary.hear(said, news)

        try:
            async with asyncio.timeout(route.spec.timeout_s):
                answer, result = await worker.call(call, body, hears)
            status = answer.status
        except TimeoutError:
            status = Status.TIMED_OUT
            raise TrainingFailed(f"the job ran over its timeout_s={route.spec.timeout_s:g}") from None
        except WorkerGone as gone:
            raise TrainingFailed(f"the job's process {ended(gone.exit, worker.printed())}") from None
        finally:
            if asks is not None:
                asks.end()
            wall_s = self._clock.now_s() - started_s
            worker.kill()
            self._bill(route, run, status, await worker.exited(), wall_s=wall_s)
        return result_of(answer, result)

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

    def _bill(self, route: Route, run: Run, status: Status, end: Exit, *, wall_s: float) -> None:
        """However it ended: what was used is used."""
        run_us = int(wall_s * 1e6)
        self._meter(
            UsageRecord(
                invocation=run.id,
                project=run.project,
                deployment=run.job,
                revision=route.plan.revision,
                kind=Kind.JOB,
                status=status,
                started_unix_ms=run.created_unix_ms,
                run_us=run_us,
                billed_ms=OWN_METER.read(run_us=run_us),
                billed_init_ms=0,
                memory_bytes=route.spec.memory_bytes,
                memory_used_bytes=end.rss_bytes_max,
                cpu_us=end.cpu_us,
                temperature=Temperature.COLD,
                request_bytes=0,
                response_bytes=0,
            )
        )
