"""The queue of one deployment: who waits for a slot, in the order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from lambent.gateway.batching import Batching
from lambent.gateway.turn import Turn
from lambent.pool.routes import Route
from lambent.pool.traffic import Traffic


class Lane:
    """The queue of one deployment. `batching` is there where its calls may run together."""

    __slots__ = ("_timer", "batching", "route", "traffic", "waiters")

    def __init__(self, route: Route, traffic: Traffic) -> None:
        self.traffic = traffic
        self.waiters: Final[deque[Turn]] = deque()
        self.batching: Batching | None = None
        self._timer: asyncio.TimerHandle | None = None  # of the next look at who comes too late
        self.reroute(route)

    def reroute(self, route: Route) -> None:
        """Another revision answers, and another specification holds."""
        self.route = route  # who answers now
        if route.spec.max_batch == 1:
            self.batching = None
        elif self.batching is None or not self.batching.fits(route.spec):
            self.batching = Batching(route.spec)

    def enqueue(self, turn: Turn) -> None:
        """Behind those who arrived before it. Nearly always that is the end."""
        place = len(self.waiters)
        while place and self.waiters[place - 1].number > turn.number:
            place -= 1
        self.waiters.insert(place, turn)

    def keep(self, turns: Sequence[Turn]) -> None:
        """These wait on, and nobody else."""
        self.waiters.clear()
        self.waiters.extend(turns)

    def look_in(self, seconds: float, look: Callable[[Lane], None]) -> None:
        """Have somebody look after so long, and no sooner for what was asked before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, look, self)
