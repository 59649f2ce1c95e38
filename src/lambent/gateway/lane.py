"""The queue of one deployment: who waits for a slot, in the order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from lambent.clock import Clock
from lambent.gateway.batching import Batching
from lambent.gateway.turn import Turn
from lambent.pool.routes import Route
from lambent.pool.traffic import Traffic

EARLY_S_MAX: Final = 0.001  # event loops round: a timer may ring so much before its time


class Lane:
    """The queue of one deployment. `batching` is there where its calls may run together.

    `expired` hears of each whose time is up while it waits.
    """

    __slots__ = (
        "_clock", "_expired", "_rings", "_rings_s", "_timer", "batching", "route", "traffic", "waiters",
    )  # fmt: skip

    def __init__(
        self, route: Route, traffic: Traffic, clock: Clock, *, expired: Callable[[Lane, Turn], None]
    ) -> None:
        self.traffic = traffic
        self._clock: Final = clock
        self._expired: Final = expired
        # One timer for all who wait: making one for each and taking it back costs more than a short call.
        self._rings: asyncio.TimerHandle | None = None
        self._rings_s = inf
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
        if turn.until_s < self._rings_s:
            self._ring_at(turn.until_s)

    def _ring_at(self, until_s: float) -> None:
        if self._rings is not None:
            self._rings.cancel()
        self._rings_s = until_s
        rest_s = max(0.0, until_s - self._clock.now_s())
        self._rings = asyncio.get_running_loop().call_later(rest_s, self._ring)

    def _ring(self) -> None:
        """The time of one who waits, or waited, is up."""
        self._rings, self._rings_s = None, inf
        late_s, next_s = self._clock.now_s() + EARLY_S_MAX, inf
        for turn in tuple(self.waiters):
            if turn.until_s <= late_s:
                self._expired(self, turn)
            elif turn.until_s < next_s:
                next_s = turn.until_s
        if next_s < inf:
            self._ring_at(next_s)

    def keep(self, turns: Sequence[Turn]) -> None:
        """These wait on, and nobody else."""
        self.waiters.clear()
        self.waiters.extend(turns)

    def look_in(self, seconds: float, look: Callable[[Lane], None]) -> None:
        """Have somebody look after so long, and no sooner for what was asked before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, look, self)
