"""One invocation's stay in a lane, whose traffic it is part of from its arrival to its end."""

from __future__ import annotations

from lambent.gateway.lane import Lane


class Moved(Exception):
    """Its turn will not come where it waits: another revision answers it now."""


class Stay:
    """Counted where it is. `number` is its place in the order of arrival there."""

    __slots__ = ("lane", "number")

    def __init__(self, lane: Lane, now_s: float) -> None:
        self._enter(lane, now_s)

    def move(self, lane: Lane, now_s: float) -> None:
        """It is in another lane now, behind all who are there. Harmless where that is its own."""
        if lane is not self.lane:
            self.end(now_s)
            self._enter(lane, now_s)

    def end(self, now_s: float) -> None:
        """It is over."""
        self.lane.traffic.leave(now_s)

    def _enter(self, lane: Lane, now_s: float) -> None:
        lane.traffic.arrive(now_s)
        self.lane, self.number = lane, lane.traffic.arrivals
