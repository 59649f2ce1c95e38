"""The wakes of every deployment since the server started: the last ones in full, all of them counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from lambent.core.naming import counted_as
from lambent.core.spec import Temperature
from lambent.core.waking import Durations, Part, with_rest
from lambent.pool.routes import Route, Routes
from lambent.wire.api import WakeBucket, WakeSpread, WakeStatistics, WakeView
from lambent.wire.process import RevisionPlan

WAKES_KEPT_MAX: Final = 50


class Witness(Protocol):
    """Who else counts wakes: the metrics."""

    def wake(
        self, deployment: str, temperature: str, *, total_ms: float, parts_ms: Mapping[str, float]
    ) -> None:
        """One worker was started."""

    def first_call(self, deployment: str, *, parts_ms: Mapping[str, float]) -> None:
        """A worker has run its first call."""

    def forget(self, deployment: str) -> None:
        """It is not deployed any more."""


class WakeLog:
    """The wakes of one deployment, over all its revisions. Bounded."""

    __slots__ = ("_by_temperature", "_recent")

    def __init__(self) -> None:
        self._recent: Final[deque[WakeView]] = deque(maxlen=WAKES_KEPT_MAX)
        self._by_temperature: Final[dict[Temperature, Durations]] = {}

    def add(self, wake: WakeView) -> None:
        """One more."""
        self._recent.append(wake)
        self._by_temperature.setdefault(wake.temperature, Durations()).add(wake.total_ms)

    def complete(self, wake: WakeView, parts_ms: Mapping[str, float]) -> None:
        """Its worker has run its first call. One that has left the list meanwhile is not missed."""
        for place, one in enumerate(self._recent):
            if one is wake:
                self._recent[place] = msgspec.structs.replace(one, parts_ms={**one.parts_ms, **parts_ms})
                return

    def last(self) -> WakeView | None:
        """The newest."""
        return self._recent[-1] if self._recent else None

    def recent(self) -> tuple[WakeView, ...]:
        """The last ones, oldest first."""
        return tuple(self._recent)

    def statistics(self) -> WakeStatistics:
        """All of them, added up."""
        whole = Durations.together(self._by_temperature.values())
        return WakeStatistics(
            total=_spread(whole),
            by_temperature={
                temperature.value: _spread(self._by_temperature[temperature])
                for temperature in Temperature
                if temperature in self._by_temperature
            },
            buckets=tuple(WakeBucket(one.from_ms, one.to_ms, one.count) for one in whole.buckets()),
        )


class Wakes:
    """The log of each deployment. Forgotten with its deployment."""

    def __init__(self, routes: Routes, witness: Witness | None = None) -> None:
        self._routes: Final = routes
        self._witness: Final = witness
        self._logs: Final[dict[tuple[str, str], WakeLog]] = {}
        routes.subscribe(self._rerouted)

    def of(self, project: str, name: str) -> WakeLog:
        """The log of a deployment; an empty one where it has never woken."""
        return self._logs.get((project, name)) or WakeLog()

    def woke(self, plan: RevisionPlan, wake: WakeView) -> WakeView:
        """A worker takes calls. Returns what is to be said when its first call has run."""
        kept = msgspec.structs.replace(wake, parts_ms=with_rest(wake.parts_ms, wake.total_ms))
        if self._routes.get(plan.project, plan.deployment) is None:
            return kept  # removed while it woke
        self._logs.setdefault((plan.project, plan.deployment), WakeLog()).add(kept)
        if self._witness:
            self._witness.wake(
                counted_as(plan.project, plan.deployment),
                wake.temperature.value,
                total_ms=wake.total_ms,
                parts_ms=kept.parts_ms,
            )
        return kept

    def ran(self, plan: RevisionPlan, wake: WakeView, *, queue_ms: float, first_run_ms: float) -> None:
        """The first call of the worker that this wake made has run."""
        log = self._logs.get((plan.project, plan.deployment))
        if log is None:
            return
        parts_ms = {Part.QUEUE.value: queue_ms, Part.FIRST_RUN.value: first_run_ms}
        log.complete(wake, parts_ms)
        if self._witness:
            self._witness.first_call(counted_as(plan.project, plan.deployment), parts_ms=parts_ms)

    def _rerouted(self, before: Route | None, after: Route | None) -> None:
        if before is None or before.beside or after is not None:
            return
        if self._logs.pop((before.project, before.name), None) and self._witness:
            self._witness.forget(counted_as(before.project, before.name))


def _spread(durations: Durations) -> WakeSpread:
    return WakeSpread(
        count=durations.count,
        min_ms=durations.min_ms,
        p50_ms=durations.quantile_ms(0.5),
        p99_ms=durations.quantile_ms(0.99),
        max_ms=durations.max_ms,
    )
