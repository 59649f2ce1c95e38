"""Policies that decide at each arrival when to let go, and when to come back: no price, no budget.

`FixedKeepAlive` is what most systems do. `HybridHistogram` is the policy of *Serverless in the Wild* (Shahrad
et al., ATC'20, section 4.2) with the paper's constants: a histogram of idle times in 240 bins of a minute;
from its 5th percentile, rounded down and 10 % earlier, until its 99th, rounded up and 10 % later, the app is
kept. Where the histogram does not stand for the app (the coefficient of variation of its bins is below 2,
nothing is in it, or most idle times are longer than four hours), it is kept for four hours. The paper's
ARIMA forecast for apps of the last kind is left out: it concerns 0.64 % of the invocations there.
"""

from __future__ import annotations

from math import ceil, floor, inf, sqrt
from typing import Final

from lambent.core.memories import WindowMemory
from lambent.core.policies.base import Tell

FIXED_S: Final = 600.0
MINUTE_S: Final = 60.0
RANGE_MINUTES: Final = 240
HEAD, TAIL = 0.05, 0.99
MARGIN: Final = 0.10
VARIATION_MIN: Final = 2.0
OUT_OF_RANGE_MAX: Final = 0.5


class _Windows:
    """Each revision is kept from one idle time until another."""

    def __init__(self, revisions: int) -> None:
        self.last_s: list[float | None] = [None] * revisions
        self.idle_s = [0.0] * revisions
        self.from_s = [0.0] * revisions
        self.until_s = [0.0] * revisions

    def fall_idle(self, revision: int, now_s: float, from_s: float, until_s: float) -> None:
        self.last_s[revision], self.idle_s[revision] = now_s, 0.0
        self.from_s[revision], self.until_s[revision] = from_s, until_s

    def advance(self, revision: int, now_s: float, tell: Tell | None) -> None:
        last_s = self.last_s[revision]
        if last_s is None:
            return
        start_s, end_s = self.idle_s[revision], now_s - last_s
        if tell is not None:
            for edge_s, rate in self._edges(revision):
                if start_s < min(edge_s, end_s):
                    tell(start_s, min(edge_s, end_s), rate)
                    start_s = edge_s
        self.idle_s[revision] = max(self.idle_s[revision], end_s)

    def rate(self, revision: int) -> float:
        if self.last_s[revision] is None:
            return 0.0
        idle_s = self.idle_s[revision]
        return next(rate for edge_s, rate in self._edges(revision) if idle_s < edge_s)

    def busy(self, revision: int, now_s: float) -> None:
        """It still runs: its idle time begins later."""
        if self.last_s[revision] is not None:
            self.fall_idle(revision, now_s, self.from_s[revision], self.until_s[revision])

    def kept_s(self, revision: int) -> tuple[float, float] | None:
        """From when until when it is kept; `None` before the first arrival."""
        last_s = self.last_s[revision]
        return None if last_s is None else (last_s + self.from_s[revision], last_s + self.until_s[revision])

    def _edges(self, revision: int) -> tuple[tuple[float, float], ...]:
        # A window includes the tick in which it ends.
        after_s = self.until_s[revision] + 1e-6
        return (self.from_s[revision], 0.0), (after_s, inf), (inf, 0.0)


class FixedKeepAlive:
    """Keep each revision for so many seconds after its last call. A `Foresight`."""

    def __init__(self, revisions: int, keep_s: float = FIXED_S) -> None:
        self._windows = _Windows(revisions)
        self._keep_s = keep_s
        self.busy, self.kept_s = self._windows.busy, self._windows.kept_s

    def arrive(self, revision: int, now_s: float) -> None:
        """The revision is called now."""
        self._windows.fall_idle(revision, now_s, 0.0, self._keep_s)

    def advance(self, revision: int, now_s: float, tell: Tell | None = None) -> None:
        """It was not called until now."""
        self._windows.advance(revision, now_s, tell)

    def rate(self, revision: int) -> float:
        """Infinity while it is kept, then 0."""
        return self._windows.rate(revision)

    def last_arrival_s(self, revision: int) -> float | None:
        """When it was called last."""
        return self._windows.last_s[revision]

    def publish(self) -> None:
        """Nothing is learned."""

    def memory(self, revision: int, idle_s: float) -> WindowMemory:
        """What is known of one that has been idle for so long."""
        return WindowMemory(idle_s=idle_s)

    def recall(self, revision: int, _: WindowMemory, *, last_s: float) -> None:
        """Know of one what was known; it was called last at `last_s`."""
        self._windows.fall_idle(revision, last_s, 0.0, self._keep_s)


class HybridHistogram:
    """The published policy. A `Foresight`."""

    def __init__(self, revisions: int) -> None:
        self._windows = _Windows(revisions)
        self._minutes = [_Minutes() for _ in range(revisions)]
        self.busy, self.kept_s = self._windows.busy, self._windows.kept_s

    def arrive(self, revision: int, now_s: float) -> None:
        """The revision is called now."""
        last_s = self._windows.last_s[revision]
        minutes = self._minutes[revision]
        if last_s is not None:
            minutes.add(now_s - last_s)
        from_s, until_s = minutes.window_s()
        self._windows.fall_idle(revision, now_s, from_s, until_s)

    def advance(self, revision: int, now_s: float, tell: Tell | None = None) -> None:
        """It was not called until now."""
        self._windows.advance(revision, now_s, tell)

    def rate(self, revision: int) -> float:
        """Infinity while it is kept, else 0."""
        return self._windows.rate(revision)

    def last_arrival_s(self, revision: int) -> float | None:
        """When it was called last."""
        return self._windows.last_s[revision]

    def publish(self) -> None:
        """Nothing is shared between revisions."""

    def memory(self, revision: int, idle_s: float) -> WindowMemory:
        """What is known of one that has been idle for so long."""
        minutes = self._minutes[revision]
        return WindowMemory(idle_s=idle_s, minutes=dict(minutes.bins), outside=minutes.outside)

    def recall(self, revision: int, memory: WindowMemory, *, last_s: float) -> None:
        """Know of one what was known; it was called last at `last_s`."""
        minutes = self._minutes[revision] = _Minutes()
        minutes.bins = {minute: count for minute, count in memory.minutes.items() if minute < RANGE_MINUTES}
        minutes.outside = memory.outside
        minutes.inside = sum(minutes.bins.values())
        minutes.squares = sum(count * count for count in minutes.bins.values())
        self._windows.fall_idle(revision, last_s, *minutes.window_s())


class _Minutes:
    """Idle times of one app by the minute."""

    __slots__ = ("bins", "inside", "outside", "squares")

    def __init__(self) -> None:
        self.bins: dict[int, int] = {}
        self.inside = self.outside = self.squares = 0

    def add(self, gap_s: float) -> None:
        minute = int(gap_s / MINUTE_S + 1e-9)
        if minute >= RANGE_MINUTES:
            self.outside += 1
            return
        count = self.bins.get(minute, 0)
        self.bins[minute] = count + 1
        self.inside += 1
        self.squares += 2 * count + 1

    def window_s(self) -> tuple[float, float]:
        """From when until when after a call it is kept, in seconds of idle time."""
        if not self._stands_for_the_app():
            return 0.0, RANGE_MINUTES * MINUTE_S
        # A percentile is known to its bin: the head is the bin's beginning, the tail its end.
        head, tail = self._percentile(HEAD), self._percentile(TAIL) + 1
        return floor(head * (1 - MARGIN)) * MINUTE_S, ceil(tail * (1 + MARGIN) - 1e-9) * MINUTE_S

    def _stands_for_the_app(self) -> bool:
        if not self.inside or self.outside > OUT_OF_RANGE_MAX * (self.inside + self.outside):
            return False
        mean = self.inside / RANGE_MINUTES
        return sqrt(max(0.0, self.squares / RANGE_MINUTES - mean * mean)) / mean >= VARIATION_MIN

    def _percentile(self, share: float) -> int:
        needed = share * self.inside - 1e-9
        below = 0
        for minute in sorted(self.bins):
            below += self.bins[minute]
            if below >= needed:
                return minute
        return RANGE_MINUTES
