"""What is true of each revision now, as `keepalive.plan` wants it told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.core.keepalive import ORDER, Facts
from lambent.core.policies.prospects import Wake
from lambent.core.spec import Keep, Temperature
from lambent.pool.arrivals import Arrivals
from lambent.pool.costs import Costs
from lambent.pool.crew import Crew
from lambent.pool.former import KEPT_S
from lambent.pool.pool import Pool
from lambent.pool.routes import Route
from lambent.pool.sizes import Sizes

T = Temperature
PINS: Final = {Keep.AUTO: T.COLD, Keep.PRIMED: T.PRIMED, Keep.HOT: T.HOT}
# A plan is made once a second or so: a wake that is begun a moment late must still be done in time.
LEAD_S: Final = 2.0


class Kept(msgspec.Struct, frozen=True):
    """A revision that is planned: its route, its workers, and what was found."""

    route: Route
    crew: Crew
    facts: Facts
    expired: bool


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment.

    `held_bytes` is what pins and running work take, `largest_bytes` what the largest revision needs alone.
    """

    kept: Sequence[Kept]
    environments: dict[str, int]
    held_bytes: int
    largest_bytes: int
    starting: int


class Survey:
    """Reads the pool, the memory and the forecasts."""

    def __init__(self, pool: Pool, sizes: Sizes, costs: Costs, arrivals: Arrivals) -> None:
        self._pool: Final = pool
        self._sizes: Final = sizes
        self._costs: Final = costs
        self._arrivals: Final = arrivals
        self._unsafe: set[str] = set()

    def look(self, routes: Sequence[Route], now_s: float, *, priming: str) -> Sight:
        """The facts of every revision that can be kept. `priming` is the one that is being loaded now."""
        kept: list[Kept] = []
        environments: dict[str, int] = {}
        held: dict[str, int] = {}
        held_bytes = largest_bytes = starting = 0
        for route in routes:
            crew = self._pool.crew(route.plan.revision)
            if crew is None:
                continue
            starting += crew.starting
            name = crew.environment
            if name not in environments:
                environments[name] = self._sizes.environment_bytes(name)
            one = self._kept(route, crew, now_s, priming=priming)
            kept.append(one)
            largest_bytes = max(largest_bytes, environments[name] + one.facts.primed_bytes)
            if held_now := _held_bytes(one.facts):
                held_bytes += held_now
                held[name] = environments[name]
        self._unsafe &= {one.facts.revision for one in kept}
        return Sight(
            kept=kept,
            environments=environments,
            held_bytes=held_bytes + sum(held.values()),
            largest_bytes=largest_bytes,
            starting=starting,
        )

    def _kept(self, route: Route, crew: Crew, now_s: float, *, priming: str) -> Kept:
        revision = route.plan.revision
        temperature = self._pool.temperature(revision)
        if self._pool.engine.safety(revision).unsafe:
            self._unsafe.add(revision)
        pin = T.COLD if crew.retired else T.HOT if crew.policy.workers_min else PINS[route.spec.keep]
        in_use = T.HOT if self._busy(route, crew) else T.PRIMED if revision == priming else T.COLD
        keep_s = route.spec.template_keep_s
        ends_s = crew.empty_since_s + (min(keep_s, KEPT_S) if crew.retired else keep_s)
        wakes = self._costs.wakes(revision, crew.environment)
        primed_bytes = self._sizes.primed_bytes(route.plan)
        wake = Wake(wakes.cold_ms / 1e3 + LEAD_S, wakes.warm_ms, primed_bytes)
        outlook = self._arrivals.outlook(*route.lane, now_s, wake)
        expired = crew.empty and pin is T.COLD and in_use is T.COLD and now_s >= ends_s
        if expired and temperature is T.PRIMED:
            temperature = T.WARM
        workers = len(crew.members) + len(crew.leaving) + crew.starting
        hot = workers or T.HOT in (pin, in_use)
        facts = Facts(
            revision=revision,
            environment=crew.environment,
            temperature=temperature,
            rate=0.0 if expired or crew.rests else outlook.rate,
            rank=0.0 if outlook.rank is not None and (expired or crew.rests) else outlook.rank,
            wakes=wakes,
            primed_bytes=primed_bytes,
            # From primed to hot is the autoscaler's step: no room is kept for workers that are not there.
            hot_bytes=self._hot_bytes(revision, max(1, workers)) if hot else 1,
            changes_s=min(outlook.changes_s, ends_s) if crew.empty and not expired else outlook.changes_s,
            pin=pin,
            in_use=in_use,
            primeable=revision not in self._unsafe,
        )
        return Kept(route, crew, facts, expired)

    def _hot_bytes(self, revision: str, workers: int) -> int:
        """What so many workers take more than one that is parked in place of the first.

        It is not worth the change where that is less than another parked one.
        """
        workers_bytes = self._sizes.workers_bytes(revision, workers)
        if revision in self._unsafe:
            return workers_bytes
        parked_bytes = self._sizes.parked_bytes(revision)
        return workers_bytes - parked_bytes if workers_bytes >= 2 * parked_bytes else 1

    def _busy(self, route: Route, crew: Crew) -> bool:
        """Workers that wait for work are not in use, nor are those that were stopped for their memory."""
        leaves = crew.leaving and not crew.let_go
        waited_for = self._pool.traffic(*route.lane).present
        return bool(crew.starting or leaves or len(crew.idle) < len(crew.members) or waited_for)


def _held_bytes(facts: Facts) -> int:
    least = max(ORDER[facts.pin], ORDER[facts.in_use])
    if least < ORDER[T.PRIMED]:
        return 0
    workers_bytes = facts.hot_bytes if least == ORDER[T.HOT] else 0
    return workers_bytes + (facts.primed_bytes if facts.primeable else 0)
