"""Runs of jobs: one worker each, its news stored, its model registered."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.errors import CallerFault, LambentError, NotFound, TrainingFailed, UserFault
from lambent.core.invocation import Invocation, Status, new_id
from lambent.core.pricing import OWN_METER
from lambent.core.spec import Kind, Setting, Temperature
from lambent.engines.base import Engine, Exit, Worker, WorkerGone
from lambent.engines.endings import ended
from lambent.jobs.storing import stored
from lambent.metering.journal import UsageRecord
from lambent.pool.routes import Route, Routes
from lambent.storage.base import Artifacts, Model, Models, Run, Runs, RunState
from lambent.wire.frames import Answer, Ask, Call, Drop, FromCall, Told, read_error, unheard
from lambent.wire.oneshot import MODEL_DIR, JobCall, JobResult, News
from lambent.wire.typed import from_json

NEWS_EVERY_S: Final = 0.5
# What is kept of what a job says: its worker is the untrusted side, and each run is stored and listed whole.
MESSAGE_CHARS_MAX: Final = 1000
METRICS_MAX: Final = 1000
METRIC_NAME_CHARS_MAX: Final = 100
STOPPED: Final = "the server stopped while it ran"

log = logging.getLogger(__name__)


class Promote(Protocol):
    """Who makes a registered model the one that serves."""

    def __call__(self, project: str, name: str, model: Model) -> Awaitable[object]: ...


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


class Runner:
    """Starts runs and sees each to its end."""

    def __init__(
        self,
        engine: Engine,
        routes: Routes,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        runs: Runs,
        models: Models,
        artifacts: Artifacts,
        runs_dir: Path,
        promote: Promote,
        meter: Callable[[UsageRecord], None],
    ) -> None:
        self._engine = engine
        self._routes = routes
        self._clock = clock
        self._tasks = tasks
        self._runs = runs
        self._models = models
        self._artifacts = artifacts
        self._runs_dir = runs_dir
        self._promote = promote
        self._meter = meter
        self._asking: Asking | None = None

    def listen(self, asking: Asking) -> None:
        """Let runs call other deployments by this way; until then they are told that they may not."""
        self._asking = asking

    async def start(
        self,
        project: str,
        job: str,
        params: Mapping[str, Setting],
        *,
        for_deployment: str = "",
        on_end: Callable[[Run], None] | None = None,
    ) -> Run:
        """Start a run and return it; it goes on by itself.

        Its model goes to `for_deployment`, or to the deployment that trains with this job.
        Raises `NotFound` where there is no such job, `CallerFault` where it is not a job.
        """
        route = self._routes.get(project, job)
        if route is None:
            raise NotFound(f"there is no job {job!r}; `lambent ls` lists what there is")
        if route.spec.kind is not Kind.JOB:
            raise CallerFault(
                f"{job!r} is a {route.spec.kind.value}, not a job: call it with `lambent invoke {job}`"
            )
        run = Run(
            id=new_id(),
            project=project,
            job=job,
            for_deployment=for_deployment or self._trained_by(project, job),
            state=RunState.RUNNING,
            params=dict(params),
            created_unix_ms=self._clock.unix_ms(),
        )
        await asyncio.to_thread(self._runs.put, run)
        self._tasks.create_task(self._see_through(route, run, on_end), name=f"run {job}")
        return run

    def _trained_by(self, project: str, job: str) -> str:
        users = [r.name for r in self._routes.all() if r.project == project and r.spec.train == job]
        return users[0] if len(users) == 1 else ""

    async def _see_through(self, route: Route, run: Run, on_end: Callable[[Run], None] | None) -> None:
        """Where the server stops in the middle, the next one marks the run as interrupted."""
        diary = _Diary(self._runs, self._clock, self._tasks, run)
        work_dir = self._runs_dir / run.id
        try:
            await asyncio.to_thread(work_dir.mkdir, parents=True, exist_ok=True)
            result = await self._work(route, diary, work_dir)
            model = await self._register(run, result, work_dir / MODEL_DIR)
            diary.end(RunState.SUCCEEDED, metrics=result.metrics, model=model)
        except LambentError as error:
            diary.end(RunState.FAILED, reason=error.message)
        except Exception as error:
            log.exception("run_crashed", extra={"run": run.id})
            diary.end(RunState.FAILED, reason=f"the platform failed: {error}")
        finally:
            await asyncio.to_thread(shutil.rmtree, work_dir, ignore_errors=True)
        end = diary.run
        log.info(
            "run_ended", extra={"run": run.id, "job": run.job, "state": end.state.value, "reason": end.reason}
        )
        is_stored = await diary.store()
        if on_end:
            on_end(end)
        while not is_stored:
            is_stored = await diary.store()

    async def _work(self, route: Route, diary: _Diary, work_dir: Path) -> JobResult:
        run = diary.run
        plan = msgspec.structs.replace(route.plan, work_dir=str(work_dir))
        worker = await self._engine.start(plan)
        body = msgspec.json.encode(JobCall(run=run.id, params=run.params, work_dir=str(work_dir)))
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
        return _result(answer, result)

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

    async def _register(self, run: Run, result: JobResult, folder: Path) -> Model | None:
        if not run.for_deployment:
            return None
        if not result.files:
            raise UserFault(f"the job {run.job!r} ended well but left no file in run.model_dir")
        facts = await asyncio.to_thread(self._artifacts.ingest_tree, folder)
        model = await asyncio.to_thread(
            lambda: self._models.register(
                project=run.project,
                name=run.for_deployment,
                digest=facts.digest,
                size_bytes=facts.size_bytes,
                metrics=result.metrics,
                run=run.id,
            )
        )
        await self._promote(run.project, run.for_deployment, model)
        return model

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


class _Diary:
    """A run as it changes; stored at most every `NEWS_EVERY_S`, by one writer at a time."""

    def __init__(self, runs: Runs, clock: Clock, tasks: asyncio.TaskGroup, run: Run) -> None:
        self._runs = runs
        self._clock = clock
        self._tasks = tasks
        self._stored_s = clock.now_s()
        self._writing: asyncio.Task[bool] | None = None
        self.run = run

    def hear(self, said: FromCall, news_json: bytes) -> None:
        """The worker said something."""
        try:
            news = from_json(news_json, News)
        except msgspec.DecodeError:
            return  # the worker is the untrusted side: what is not news is not kept
        progress = self.run.progress if news.progress is None else min(1.0, max(0.0, news.progress))
        self.run = msgspec.structs.replace(
            self.run,
            progress=progress,
            message=news.message[:MESSAGE_CHARS_MAX] or self.run.message,
            metrics=_bounded({**self.run.metrics, **news.metrics}),
        )
        now_s = self._clock.now_s()
        if now_s - self._stored_s >= NEWS_EVERY_S and (self._writing is None or self._writing.done()):
            self._stored_s = now_s
            self._writing = self._tasks.create_task(self._put(self.run), name=f"news of {self.run.job}")

    def end(
        self,
        state: RunState,
        *,
        reason: str = "",
        metrics: Mapping[str, float] | None = None,
        model: Model | None = None,
    ) -> None:
        """The run's last state."""
        final = metrics or {}
        self.run = msgspec.structs.replace(
            self.run,
            state=state,
            reason=reason,
            progress=1.0 if state is RunState.SUCCEEDED else self.run.progress,
            metrics=_bounded({**final, **self.run.metrics, **final}),  # room for the final ones first
            model_number=model.number if model else None,
            ended_unix_ms=self._clock.unix_ms(),
        )

    async def store(self) -> bool:
        """Store it as it is, after whatever is being stored. Says whether there was room."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        return await self._put(self.run)

    async def _put(self, run: Run) -> bool:
        return await stored(lambda: asyncio.to_thread(self._runs.put, run), record=f"run {run.id}")


def _result(answer: Answer, result: bytes) -> JobResult:
    if answer.status is not Status.OK:
        error = read_error(result)
        raise TrainingFailed(f"the job failed: {error.error_type}: {error.error_message}")
    try:
        said = from_json(result, JobResult)
    except msgspec.DecodeError as error:
        raise TrainingFailed(f"what the job's worker answered cannot be read: {error}") from error
    return msgspec.structs.replace(said, metrics=_bounded(said.metrics))


def _bounded(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name[:METRIC_NAME_CHARS_MAX]: value for name, value in islice(metrics.items(), METRICS_MAX)}
