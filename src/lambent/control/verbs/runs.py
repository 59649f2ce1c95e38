"""Jobs and what they make: runs and models."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from lambent.control.operations import Asked, Operation, Parameter
from lambent.control.registry import Registry
from lambent.control.views import run_view
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.core.spec import Setting
from lambent.storage.base import Run, Runs, RunsWanted
from lambent.wire.api import ModelView
from lambent.wire.runs import RunRequest, RunView


class Runner(Protocol):
    """Who starts jobs."""

    async def start(self, project: str, job: str, params: Mapping[str, Setting]) -> Run:
        """Start a run and return it. Raises `NotFound`, `CallerFault` for what is no job."""


class RunVerbs:
    """Everything under /runs and /models."""

    def __init__(self, runner: Runner, runs: Runs, registry: Registry) -> None:
        self._runner: Final = runner
        self._runs: Final = runs
        self._registry: Final = registry

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="listModels",
                method="GET",
                path="/models",
                role=Role.READ,
                summary="Registered models",
                run=self._models,
                query=(Parameter("name", "only those of this deployment"),),
                reply=tuple[ModelView, ...],
            ),
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
                ),
                reply=tuple[RunView, ...],
            ),
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
                name="showRun",
                method="GET",
                path="/runs/{run}",
                role=Role.READ,
                summary="One run as it stands now",
                run=self._show,
                reply=RunView,
            ),
        )

    async def _models(self, asked: Asked) -> tuple[ModelView, ...]:
        return tuple(await self._registry.all(asked.project, asked.text("name")))

    async def _list(self, asked: Asked) -> tuple[RunView, ...]:
        wanted = RunsWanted(job=asked.text("job"), for_deployment=asked.text("deployment"))
        runs = await asyncio.to_thread(self._runs.all, asked.project, wanted)
        return tuple(run_view(run) for run in runs)

    async def _start(self, asked: Asked) -> RunView:
        return run_view(await self._runner.start(asked.project, asked.body.job, asked.body.params))

    async def _show(self, asked: Asked) -> RunView:
        run = await asyncio.to_thread(self._runs.find, asked.path["run"])
        if run is None or run.project != asked.project:
            raise NotFound(f"there is no run {asked.path['run']!r}; `lambent runs` lists what there is")
        return run_view(run)
