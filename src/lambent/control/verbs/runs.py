"""Runs of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from lambent.control.operations import Asked, Operation, Parameter
from lambent.control.views import run_view
from lambent.core.errors import CallerFault, NotFound
from lambent.core.invocation import Role
from lambent.core.running import PLAIN, RunTerms
from lambent.core.slicing import RunState
from lambent.core.spec import Param
from lambent.core.worded import shown
from lambent.storage.base import Run, Runs, RunsWanted
from lambent.wire.fanning import EndsRequest, EndsView, MapRequest, MapView, RunEnd
from lambent.wire.runs import RetryRequest, RunRequest, RunView

RUNS_MAX: Final = 1000  # that one answer lists


class Runner(Protocol):
    """Who starts jobs."""

    async def start(
        self, project: str, job: str, params: Mapping[str, Param], *, terms: RunTerms = PLAIN
    ) -> Run:
        """Start a run and return it. Raises `NotFound`, `CallerFault` for what is no job, `QueueFull`."""

    async def cancel(self, project: str, run: str) -> Run:
        """Let it end now. Raises `NotFound`, `Conflict`."""

    async def retry(self, project: str, run: str, *, max_cost_usd: float | None = None) -> Run:
        """Let one that has failed go on. Raises `NotFound`, `Conflict`."""

    async def start_all(
        self, project: str, job: str, items: Sequence[Mapping[str, Param]], *, terms: RunTerms = PLAIN
    ) -> Sequence[str]:
        """Start a run for each item, all or none. Raises as `start` does."""

    async def ends(self, project: str, runs: Sequence[str], *, wait_s: float) -> Sequence[RunEnd]:
        """How the first of these ended. Raises `NotFound`."""

    def now(self, run: Run) -> Run:
        """A stored run as it stands at this moment."""


class RunVerbs:
    """Everything under /runs, but for what runs leave behind."""

    def __init__(self, runner: Runner, runs: Runs) -> None:
        self._runner: Final = runner
        self._runs: Final = runs

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (*self._shown(), *self._changed())

    def _shown(self) -> Sequence[Operation]:
        return (
            Operation(
                name="listRuns",
                method="GET",
                path="/runs",
                role=Role.READ,
                summary="Runs of jobs, newest first",
                run=self._list,
                query=(
                    Parameter("job", "only those of this job"),
                    Parameter("deployment", "only those that train this deployment"),
                    Parameter("state", "only those in this state"),
                    Parameter("parent", "only those that this run started"),
                    Parameter("before", "only those that are older than this run: the next page"),
                    Parameter("limit", f"how many, up to {RUNS_MAX}; 100 unless said"),
                ),
                reply=tuple[RunView, ...],
            ),
            Operation(
                name="showRun",
                method="GET",
                path="/runs/{run}",
                role=Role.READ,
                summary="One run as it stands now",
                run=self._show,
                reply=RunView,
            ),
        )

    def _changed(self) -> Sequence[Operation]:
        return (
            Operation(
                name="startRun",
                method="POST",
                path="/runs",
                role=Role.DEPLOY,
                summary="Start a job",
                run=self._start,
                body=RunRequest,
                reply=RunView,
                status=201,
            ),
            Operation(
                name="mapRuns",
                method="POST",
                path="/runs/map",
                role=Role.DEPLOY,
                summary="Start a run of a job for each of many items",
                run=self._map,
                body=MapRequest,
                reply=MapView,
                status=201,
            ),
            Operation(
                name="awaitRuns",
                method="POST",
                path="/runs/ends",
                role=Role.DEPLOY,
                summary="How the first of some runs ended, up to one that is not over; waits for one",
                run=self._ends,
                body=EndsRequest,
                reply=EndsView,
            ),
            Operation(
                name="cancelRun",
                method="POST",
                path="/runs/{run}/cancel",
                role=Role.DEPLOY,
                summary="End a run: it is asked to leave, and killed where it does not",
                run=self._cancel,
                reply=RunView,
            ),
            Operation(
                name="retryRun",
                method="POST",
                path="/runs/{run}/retry",
                role=Role.DEPLOY,
                summary="Let a failed run go on from its last checkpoint, and with it what waited for it",
                run=self._retry,
                body=RetryRequest,
                reply=RunView,
            ),
        )

    async def _list(self, asked: Asked) -> tuple[RunView, ...]:
        state = asked.text("state")
        if state and state not in tuple(RunState):
            raise CallerFault(f"state={shown(state)} is none of {', '.join(RunState)}")
        wanted = RunsWanted(
            job=asked.text("job"),
            for_deployment=asked.text("deployment"),
            state=state,
            parent=asked.text("parent"),
            before=asked.text("before"),
            limit=asked.number("limit", 100, low=1, high=RUNS_MAX),
        )
        runs = await asyncio.to_thread(self._runs.all, asked.project, wanted)
        return tuple(run_view(self._runner.now(run)) for run in runs)

    async def _start(self, asked: Asked) -> RunView:
        body: RunRequest = asked.body
        terms = RunTerms(
            after=body.after,
            priority=body.priority,
            max_cost_usd=body.max_cost_usd,
            datasets=body.datasets,
            key=body.key,
        )
        run = await self._runner.start(asked.project, body.job, body.params, terms=terms)
        return run_view(self._runner.now(run))

    async def _map(self, asked: Asked) -> MapView:
        body: MapRequest = asked.body
        terms = RunTerms(
            priority=body.priority,
            max_cost_usd=body.max_cost_usd,
            datasets=body.datasets,
            key=body.key,
            index=body.first,
        )
        return MapView(tuple(await self._runner.start_all(asked.project, body.job, body.items, terms=terms)))

    async def _ends(self, asked: Asked) -> EndsView:
        body: EndsRequest = asked.body
        ends = self._runner.ends(asked.project, body.runs, wait_s=body.wait_s)
        return EndsView(tuple(await asked.while_present(ends)))

    async def _cancel(self, asked: Asked) -> RunView:
        return run_view(await self._runner.cancel(asked.project, asked.path["run"]))

    async def _retry(self, asked: Asked) -> RunView:
        run = await self._runner.retry(asked.project, asked.path["run"], max_cost_usd=asked.body.max_cost_usd)
        return run_view(self._runner.now(run))

    async def _show(self, asked: Asked) -> RunView:
        run = await asyncio.to_thread(self._runs.find, asked.path["run"])
        if run is None or run.project != asked.project:
            raise NotFound(f"there is no run {asked.path['run']!r}; `lambent runs` lists what there is")
        return run_view(self._runner.now(run))
