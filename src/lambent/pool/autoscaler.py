"""Sample, decide, apply: every tick for every revision that could change, and soon where somebody waits."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import Final

from lambent.clock import Clock
from lambent.core.autoscaling import Load, Reason, decide
from lambent.core.schedule import Schedule, read_schedule, scheduled_workers
from lambent.core.spec import Temperature
from lambent.pool.crew import Crew
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes
from lambent.pool.sharing import Room, share_out
from lambent.pool.traffic import Traffic

# Between somebody's waiting and the look at it. Long enough for a burst to have arrived and for a worker of a
# primed revision to have come, so that a look sees what the one before it has done.
REACTION_S: Final = 0.01
MINUTE_MS: Final = 60_000
TELL_S: Final = 60.0

log = logging.getLogger(__name__)


class Timetable:
    """The scheduled minimum of one text, looked up once a minute."""

    __slots__ = ("_minute", "_schedule", "_workers", "text")

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self._schedule: Final[Schedule] = read_schedule(text)
        self._minute = -1
        self._workers = 0

    def workers(self, unix_ms: int) -> int:
        """The minimum that holds now."""
        if (minute := unix_ms // MINUTE_MS) != self._minute:
            self._minute, self._workers = minute, scheduled_workers(self._schedule, unix_ms)
        return self._workers


class Autoscaler:
    """Keeps each crew at the size that its traffic asks for. 0 → 1 is the pool's, on demand.

    More workers come only as far as there is room for them. `cores` are what the workers of CPU-bound code
    share.
    """

    def __init__(
        self, pool: Pool, routes: Routes, clock: Clock, *, room: Room, tick_s: float, cores: float = inf
    ) -> None:
        self._pool = pool
        self._routes = routes
        self._clock = clock
        self._room = room
        self._tick_s = tick_s
        self._cores = cores
        self._timetables: Final[dict[tuple[str, str], Timetable]] = {}
        self._told_s: Final[
            dict[str, float]
        ] = {}  # when it was last said that there is no room, by deployment
        pool.on_pressure(self._pressed)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            self.tick()

    def tick(self) -> None:
        """One look at every route."""
        now_s = self._clock.now_s()
        crews = [(route, crew) for route in self._routes.live() if (crew := self._crew(route))]
        for route, crew in crews:
            self._scale(route, crew, now_s)
        share_out(crews, self._room)

    def _crew(self, route: Route) -> Crew | None:
        crew = self._pool.crew(route.plan.revision)
        return None if crew is None or crew.retired else crew

    def _pressed(self, crew: Crew) -> None:
        asyncio.get_running_loop().call_later(REACTION_S, self._relieve, crew)

    def _relieve(self, crew: Crew) -> None:
        """Look at one crew out of turn. A new route or a removed one may have come between."""
        crew.pressed = False
        route = self._routes.of_revision(crew.plan.revision)
        if route is not None and not crew.retired:
            self._scale(route, crew, self._clock.now_s())

    def _scale(self, route: Route, crew: Crew, now_s: float) -> None:
        traffic = self._pool.traffic(*route.lane)
        scheduled = self._scheduled(route)
        if not (crew.members or crew.starting or traffic.present or crew.policy.workers_min or scheduled):
            crew.wanted, crew.cut = 0, False
            return
        load = self._load(crew, traffic, scheduled, now_s)
        traffic.looked(now_s, serving=bool(crew.members))
        decision = decide(crew.policy, load, crew.scaling, now_s=now_s)
        crew.scaling = decision.memory
        least = max(crew.policy.workers_min, min(scheduled, decision.workers), int(bool(traffic.present)))
        crew.wanted, crew.least = decision.workers, least
        workers = self._affordable(crew, decision.workers, least=least)
        bounded = crew.cut or decision.reason is Reason.CORES
        crew.workers_may = max(workers, load.workers_present) if bounded else crew.policy.workers_max
        if workers != load.workers_present:
            log.info(
                "resize",
                extra={"deployment": route.name, "workers": workers, "reason": decision.reason.value},
            )
            self._pool.resize(crew, workers)
        if crew.share is not None:
            self._pool.give_back(crew, max(crew.share, least))

    def _load(self, crew: Crew, traffic: Traffic, scheduled: int, now_s: float) -> Load:
        policy = crew.policy
        return Load(
            concurrency_stable=traffic.level.average(now_s, policy.stable_window_s),
            concurrency_burst=traffic.level.average(now_s, policy.burst_window_s),
            concurrency_now=traffic.present,
            concurrency_peak=traffic.most,
            workers_ready=len(crew.members),
            workers_starting=crew.starting,
            idle_for_s=0.0 if traffic.present else now_s - traffic.quiet_since_s,
            run_s=traffic.expected_run_s(now_s),
            work=traffic.work,
            wake_s=self._wake_s(crew),
            cpu_share=traffic.cpu_share,
            cores=self._cores,
            workers_scheduled=scheduled,
        )

    def _wake_s(self, crew: Crew) -> float:
        """What a further worker takes to come: as long as the last one, unless that one had to load first."""
        last = crew.wakes[-1] if crew.wakes else None
        if last is None or (
            last.temperature is not Temperature.PRIMED
            and self._pool.engine.temperature(crew.plan.revision) is Temperature.PRIMED
        ):
            return 0.0
        return last.total_ms / 1e3

    def _scheduled(self, route: Route) -> int:
        key, text = route.lane, route.spec.workers_min_schedule
        if not text:
            self._timetables.pop(key, None)
            return 0
        timetable = self._timetables.get(key)
        if timetable is None or timetable.text != text:
            timetable = self._timetables[key] = Timetable(text)
        return timetable.workers(self._clock.unix_ms())

    def _affordable(self, crew: Crew, wanted: int, *, least: int) -> int:
        """As many of the wanted workers as there is room for, but what is promised or waited for."""
        have = len(crew.members) + crew.starting
        least = min(wanted, max(have, least))
        may = wanted if crew.share is None else min(wanted, max(least, crew.share))
        grant = self._room.grant(crew.plan.revision, may - least) if may > least else 0
        workers = least + grant if wanted > least else wanted
        if workers < wanted:
            self._tell_cut(crew, wanted, workers)
        crew.cut = workers < wanted
        return workers

    def _tell_cut(self, crew: Crew, wanted: int, workers: int) -> None:
        name, now_s = crew.plan.deployment, self._clock.now_s()
        if now_s - self._told_s.get(name, -inf) >= TELL_S:
            self._told_s[name] = now_s
            log.warning("no_room", extra={"deployment": name, "wanted": wanted, "workers": workers})
