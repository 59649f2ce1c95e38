"""No model yet? Make one: a single training run for however many invocations wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from lambent.core.errors import LambentError, TrainingFailed
from lambent.core.running import RunTerms
from lambent.jobs.runner import Runner
from lambent.pool.routes import Route
from lambent.storage.base import Run, RunState


class Waiting(Protocol):
    """Who holds the invocations meanwhile: the dispatcher."""

    def model_failed(self, project: str, name: str, error: LambentError) -> None:
        """No model will come."""


class Training:
    """Starts the training job of a deployment that has no model, once at a time."""

    def __init__(self, runner: Runner, tasks: asyncio.TaskGroup) -> None:
        self._runner = runner
        self._tasks = tasks
        self._under_way: Final[set[tuple[str, str]]] = set()
        self._waiting: Waiting | None = None

    def listen(self, waiting: Waiting) -> None:
        """Tell `waiting` of failures. A success is heard of as a new route."""
        self._waiting = waiting

    def ensure(self, route: Route) -> None:
        """Start the run unless it is under way."""
        key = (route.project, route.name)
        if key not in self._under_way:
            self._under_way.add(key)
            self._tasks.create_task(self._start(route), name=f"train {route.name}")

    async def _start(self, route: Route) -> None:
        if not route.spec.train:
            self._end(
                route,
                TrainingFailed(
                    f"{route.name!r} has no model and no training job; deploy one with a model file"
                ),
            )
            return
        on_end = self._ended(route)
        if self._runner.attend(route.project, route.name, on_end):  # started by an earlier server, or by hand
            return
        try:
            terms = RunTerms(for_deployment=route.name)
            await self._runner.start(route.project, route.spec.train, {}, terms=terms, on_end=on_end)
        except LambentError as error:
            self._end(route, error)

    def _ended(self, route: Route) -> Callable[[Run], None]:
        def on_end(run: Run) -> None:
            ended_well = run.state is RunState.SUCCEEDED
            why = _refused(run) if ended_well else run.reason or run.state.value
            self._end(route, TrainingFailed(f"run {run.id}: {why}") if why else None)

        return on_end

    def _end(self, route: Route, error: LambentError | None) -> None:
        self._under_way.discard((route.project, route.name))
        if error is not None and self._waiting is not None:
            self._waiting.model_failed(route.project, route.name, error)


def _refused(run: Run) -> str:
    return f"its model was refused: {run.model_refused}" if run.model_refused else ""
