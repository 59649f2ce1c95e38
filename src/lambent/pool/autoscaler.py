"""Sample, decide, apply: every tick, for every revision that could change."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from lambent.clock import Clock
from lambent.core.autoscaling import Load, decide
from lambent.pool.crew import Crew
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes

log = logging.getLogger(__name__)


class Room(Protocol):
    """Who knows how much memory there is: the thermostat."""

    def grant(self, revision: str, workers: int) -> int:
        """How many of so many more workers there is room for. What is granted counts as taken."""


class Autoscaler:
    """Keeps each crew at the size that its traffic asks for. 0 → 1 is the pool's, on demand.

    More workers come only as far as there is room for them.
    """

    def __init__(self, pool: Pool, routes: Routes, clock: Clock, *, room: Room, tick_s: float) -> None:
        self._pool = pool
        self._routes = routes
        self._clock = clock
        self._room = room
        self._tick_s = tick_s

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            self.tick()

    def tick(self) -> None:
        """One look at every route."""
        now_s = self._clock.now_s()
        for route in self._routes.all():
            crew = self._pool.crew(route.plan.revision)
            if crew is not None and not crew.retired:
                self._scale(route, crew, now_s)

    def _scale(self, route: Route, crew: Crew, now_s: float) -> None:
        traffic = self._pool.traffic(route.project, route.name)
        policy = crew.policy
        if not (crew.members or traffic.present or policy.workers_min):
            return
        load = Load(
            concurrency_stable=traffic.level.average(now_s, policy.stable_window_s),
            concurrency_burst=traffic.level.average(now_s, policy.burst_window_s),
            concurrency_now=traffic.present,
            workers_ready=len(crew.members),
            workers_starting=crew.starting,
            idle_for_s=0.0 if traffic.present else now_s - traffic.quiet_since_s,
        )
        decision = decide(policy, load, crew.panic, now_s=now_s)
        crew.panic = decision.panic
        workers = self._affordable(crew, decision.workers, waiting=bool(traffic.present))
        if workers != len(crew.members) + crew.starting:
            log.info(
                "resize",
                extra={"deployment": route.name, "workers": workers, "reason": decision.reason.value},
            )
            self._pool.resize(crew, workers)

    def _affordable(self, crew: Crew, wanted: int, *, waiting: bool) -> int:
        """As many of the wanted workers as there is room for, but what is promised or waited for."""
        have = len(crew.members) + crew.starting
        least = min(wanted, max(have, crew.policy.workers_min, int(waiting)))
        grant = self._room.grant(crew.plan.revision, wanted - least) if wanted > least else 0
        workers = least + grant if wanted > least else wanted
        if workers < wanted and not crew.cut:
            log.warning(
                "no_room", extra={"deployment": crew.plan.deployment, "wanted": wanted, "workers": workers}
            )
        crew.cut = workers < wanted
        return workers
