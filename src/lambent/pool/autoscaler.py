"""Sample, decide, apply: every tick, for every revision that could change."""

from __future__ import annotations

import asyncio
import logging

from lambent.clock import Clock
from lambent.core.autoscaling import Load, decide
from lambent.core.spec import Temperature
from lambent.pool.crew import Crew
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes

log = logging.getLogger(__name__)


class Autoscaler:
    """Keeps each crew at the size that its traffic asks for. 0 → 1 is the pool's, on demand."""

    def __init__(self, pool: Pool, routes: Routes, clock: Clock, *, tick_s: float) -> None:
        self._pool = pool
        self._routes = routes
        self._clock = clock
        self._tick_s = tick_s

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            await self.tick()

    async def tick(self) -> None:
        """One look at every route."""
        now_s = self._clock.now_s()
        for route in self._routes.all():
            crew = self._pool.crew(route.plan.revision)
            if crew is not None and not crew.retired:
                self._scale(route, crew, now_s)
                await self._cool(route, crew, now_s)

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
        if decision.workers != len(crew.members) + crew.starting:
            log.info(
                "resize",
                extra={
                    "deployment": route.name,
                    "workers": decision.workers,
                    "reason": decision.reason.value,
                },
            )
            self._pool.resize(crew, decision.workers)

    async def _cool(self, route: Route, crew: Crew, now_s: float) -> None:
        """Templates outlive the last worker by `template_keep_s`."""
        if (
            crew.empty
            and now_s - crew.empty_since_s >= route.spec.template_keep_s
            and self._pool.engine.temperature(route.plan.revision) is Temperature.PRIMED
        ):
            await self._pool.chill(route.plan.revision, Temperature.WARM)
