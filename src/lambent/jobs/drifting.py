"""Trains a model anew when what it answers has become something else."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from lambent.core.drift import Drift, Watch, signals
from lambent.core.errors import LambentError
from lambent.core.invocation import JSON, Invocation, Outcome, Status
from lambent.core.running import RunTerms
from lambent.jobs.runner import Runner
from lambent.pool.routes import Route, Routes
from lambent.storage.base import Run

# A longer answer is no prediction of a few numbers, and to read it would hold up others.
ANSWER_BYTES_MAX: Final = 64 * 1024

log = logging.getLogger(__name__)


class Drifting:
    """Hears how invocations end, as a `gateway.witness.Witness`."""

    def __init__(self, routes: Routes, runner: Runner, tasks: asyncio.TaskGroup) -> None:
        self._routes: Final = routes
        self._runner: Final = runner
        self._tasks: Final = tasks
        self._watches: Final[dict[tuple[str, str], tuple[str, Watch]]] = {}

    def answered(self, invocation: Invocation, outcome: Outcome) -> None:
        """It ran, and ended just now."""
        route = self._routes.get(invocation.project, invocation.deployment)
        if route is None or not (route.spec.drift_max and route.spec.train):
            return
        if outcome.revision != route.plan.revision or outcome.status is not Status.OK:
            return  # what a canary or an error says is nothing of the model that serves
        if outcome.content_type != JSON or len(outcome.body) > ANSWER_BYTES_MAX:
            return
        try:
            answer = msgspec.json.decode(outcome.body)
        except msgspec.DecodeError:
            return
        drift = self._watch(route).add(signals(answer))
        if drift is not None:
            self._tasks.create_task(self._train(route, drift), name=f"train {route.name}, which drifted")

    def refused(self, invocation: Invocation, revision: str, error: LambentError, *, since_s: float) -> None:
        """It was not run, so there is no answer."""

    def _watch(self, route: Route) -> Watch:
        """That of the revision that serves; what is known of the one before is let go."""
        key = route.project, route.name
        known = self._watches.get(key)
        if known is None or known[0] != route.plan.revision:
            known = self._watches[key] = route.plan.revision, Watch(route.spec.drift_max)
        return known[1]

    async def _train(self, route: Route, drift: Drift) -> None:
        facts = {"deployment": route.name, "signal": drift.signal, "index": round(drift.index, 3)}
        if self._runner.attend(route.project, route.name, _no_matter):
            log.info("model_drifted_while_it_is_trained", extra=facts)
            return
        try:
            terms = RunTerms(for_deployment=route.name)
            run = await self._runner.start(route.project, route.spec.train, {}, terms=terms)
        except LambentError as error:
            log.warning("model_drifted_and_cannot_be_trained", extra={**facts, "error": error.message})
        else:
            log.info("model_drifted", extra={**facts, "run": run.id})


def _no_matter(_: Run) -> None:
    """Nobody waits for its end."""
