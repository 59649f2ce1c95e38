"""Runs of jobs: one worker each, its news stored, its model registered."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lambent.clock import Clock
from lambent.core.errors import CallerFault, LambentError, NotFound
from lambent.core.invocation import new_id
from lambent.core.spec import Kind, Setting
from lambent.engines.base import Engine
from lambent.jobs.datasets import HeldDatasets
from lambent.jobs.diary import Diary
from lambent.jobs.results import Promote, Results
from lambent.jobs.slices import Asking, Slices
from lambent.metering.journal import UsageRecord
from lambent.pool.routes import Route, Routes
from lambent.storage.base import Artifacts, Models, Run, Runs, RunState
from lambent.wire.oneshot import MODEL_DIR

STOPPED: Final = "the server stopped while it ran"

log = logging.getLogger(__name__)


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
        datasets: HeldDatasets,
    ) -> None:
        self._routes = routes
        self._clock = clock
        self._tasks = tasks
        self._runs = runs
        self._runs_dir = runs_dir
        self._datasets = datasets
        self._slices = Slices(engine, clock, meter, datasets)
        self._results = Results(models, artifacts, promote)

    def listen(self, asking: Asking) -> None:
        """Let runs call other deployments by this way; until then they are told that they may not."""
        self._slices.listen(asking)

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
            datasets=await asyncio.to_thread(self._datasets.newest, project),
        )
        await asyncio.to_thread(self._runs.put, run)
        self._tasks.create_task(self._see_through(route, run, on_end), name=f"run {job}")
        return run

    def _trained_by(self, project: str, job: str) -> str:
        users = [r.name for r in self._routes.all() if r.project == project and r.spec.train == job]
        return users[0] if len(users) == 1 else ""

    async def _see_through(self, route: Route, run: Run, on_end: Callable[[Run], None] | None) -> None:
        """Where the server stops in the middle, the next one marks the run as interrupted."""
        diary = Diary(self._runs, self._clock, self._tasks, run)
        work_dir = self._runs_dir / run.id
        try:
            await asyncio.to_thread(work_dir.mkdir, parents=True, exist_ok=True)
            result = await self._slices.work(route, diary, work_dir)
            model = await self._results.register(run, result, work_dir / MODEL_DIR)
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
