"""What projects share beside their queues: memory for workers, and the time of the cores.

Where a crew gets fewer workers than it asks for, those that have more than their part give some back, each
when it has finished what it runs. And workers are the nicer to others the more of them their project has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.core.sharing import Claim, Need, Owner, allot, niceness
from lambent.pool.crew import Crew
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes

WEIGH_S: Final = 0.5  # between two looks at who is busy
BUSY_WINDOW_S: Final = 2.0  # over which that is averaged


class Room(Protocol):
    """Who knows how much memory there is: the thermostat."""

    def grant(self, revision: str, workers: int) -> int:
        """How many of so many more workers there is room for. What is granted counts as taken."""

    def worker_bytes(self, revision: str) -> int:
        """What one more of its workers takes."""

    def room_bytes(self) -> int:
        """What is free for more workers now."""


def share_out(crews: Iterable[tuple[Route, Crew]], room: Room) -> None:
    """Say how many workers each crew may have while one is short of them: `Crew.share`."""
    seen = {route.lane: (crew, _need(route, crew, room)) for route, crew in crews}
    short = any(crew.cut for crew, _ in seen.values())
    needs = [need for _, need in seen.values() if need.have or need.wanted]
    allotted = allot(needs, free_bytes=room.room_bytes()) if short else {}
    for owner, (crew, _) in seen.items():
        crew.share = allotted.get(owner)


def _need(route: Route, crew: Crew, room: Room) -> Need:
    project, lane = route.lane
    return Need(
        project=project,
        deployment=lane,
        have=len(crew.members) + crew.starting,
        wanted=crew.wanted,
        least=crew.least,
        worker_bytes=max(1, room.worker_bytes(crew.plan.revision)),
    )


class Weigher:
    """Keeps the weights of workers before the kernel's scheduler such that projects have equal parts."""

    def __init__(
        self, pool: Pool, routes: Routes, clock: Clock, *, weigh: Callable[[str, int], bool]
    ) -> None:
        """`weigh` makes a worker, by its id, so nice; it says whether that could be done now."""
        self._pool: Final = pool
        self._routes: Final = routes
        self._clock: Final = clock
        self._weigh: Final = weigh
        self._set: dict[str, int] = {}  # by worker; one that is not here is not nice

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(WEIGH_S)
            self.tick()

    def tick(self) -> None:
        """One look at every crew that has workers."""
        crews = {route.lane: crew for route in self._routes.live() if (crew := self._crew(route))}
        levels = niceness(self._busy(owner, crew) for owner, crew in crews.items())
        wanted = {
            member.worker.worker_id: levels.get(owner, 0)
            for owner, crew in crews.items()
            for member in crew.members
        }
        self._set = {worker: nice for worker, nice in self._set.items() if worker in wanted}
        for worker, nice in wanted.items():
            if self._set.get(worker, 0) != nice and self._weigh(worker, nice):
                self._set[worker] = nice

    def _crew(self, route: Route) -> Crew | None:
        crew = self._pool.crew(route.plan.revision)
        return crew if crew is not None and crew.members else None

    def _busy(self, owner: Owner, crew: Crew) -> Claim:
        level = self._pool.traffic(*owner).level
        busy = level.average(self._clock.now_s(), BUSY_WINDOW_S) / crew.plan.concurrency
        return Claim(project=owner[0], deployment=owner[1], wanted=min(float(len(crew.members)), busy))
