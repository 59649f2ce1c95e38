"""The average of a level over the last seconds, as an exact integral in constant memory.

A level, such as the number of invocations in flight, holds until it changes. Sampling it on a tick would miss
whatever came and went between two ticks, which at millisecond run times is nearly everything; so every change
is integrated, and a window's average is the difference of two integrals.
"""

from __future__ import annotations

from array import array
from typing import Final

WINDOW_S_MAX: Final = 30.0
BUCKETS_MAX: Final = 300

# Whole microseconds: sums of integers are exact however long the server runs, so that a constant level of 1
# averages to 1.0 and not to a hair more, which `ceil` would turn into a second worker. 64 bits last for 290
# years at level 1000.
US_PER_S: Final = 1_000_000
BUCKET_US: Final = int(WINDOW_S_MAX * US_PER_S) // BUCKETS_MAX

# The window may start inside a bucket, whose two edges are needed, and the present bucket has only begun.
MARKS: Final = BUCKETS_MAX + 2


class Level:
    """A whole number that holds until it is set again; `WINDOW_S_MAX` seconds are remembered. 0 at first.

    `set` and `average` take monotonic seconds, which may stand still and never go back (`ValueError`). `set`
    costs O(1) amortised over time: at most one step for each bucket that has passed, at most `MARKS` in all.
    """

    __slots__ = ("_bucket_end_us", "_integral", "_marks", "_since_us", "_value")

    def __init__(self, now_s: float) -> None:
        self._value = 0
        self._since_us = _us(now_s)
        self._bucket_end_us = _bucket_end_us(self._since_us)
        self._integral = 0  # of the value over all time until `_since_us`, in units × microseconds
        self._marks = array(
            "q", bytes(8 * MARKS)
        )  # the integral at each bucket's start; bucket k is at k % MARKS

    @property
    def value(self) -> int:
        """What it is now."""
        return self._value

    def set(self, value: int, now_s: float) -> None:
        """It is `value` from `now_s` on."""
        now_us = round(now_s * US_PER_S)  # `_us`, without a frame: twice a call
        if now_us < self._since_us:
            raise ValueError(f"time went back from {self._since_us} to {now_us} µs")
        if now_us >= self._bucket_end_us:
            self._mark(now_us)
        self._integral += self._value * (now_us - self._since_us)
        self._since_us = now_us
        self._value = value

    def average(self, now_s: float, window_s: float) -> float:
        """Its mean over the `window_s` seconds before `now_s`.

        Exact where the window starts on a bucket's edge or in a bucket without a change; else the level
        inside that first bucket counts as constant. Raises `ValueError` for a window that is not in (0,
        `WINDOW_S_MAX`].
        """
        if not 0 < window_s <= WINDOW_S_MAX:
            raise ValueError(f"a window of {window_s} s is not in (0, {WINDOW_S_MAX}]")
        now_us, window_us = _us(now_s), max(1, _us(window_s))
        if now_us < self._since_us:
            raise ValueError(f"time went back from {self._since_us} to {now_us} µs")
        return (self._until(now_us) - self._at(now_us - window_us)) / window_us

    def _mark(self, now_us: int) -> None:
        """Note the integral at the edge of each bucket that has passed since the last change."""
        bucket, last = now_us // BUCKET_US, self._since_us // BUCKET_US
        for passed in range(max(last, bucket - MARKS) + 1, bucket + 1):
            self._marks[passed % MARKS] = self._until(passed * BUCKET_US)
        self._bucket_end_us = _bucket_end_us(now_us)

    def _until(self, then_us: int) -> int:
        """The integral until a moment at or after the last change."""
        return self._integral + self._value * (then_us - self._since_us)

    def _at(self, then_us: int) -> int:
        """The integral until a moment in the last `WINDOW_S_MAX` seconds."""
        if then_us >= self._since_us:
            return self._until(then_us)
        bucket = then_us // BUCKET_US
        start_us, start = bucket * BUCKET_US, self._marks[bucket % MARKS]
        if bucket == self._since_us // BUCKET_US:
            end_us, end = self._since_us, self._integral
        else:
            end_us, end = start_us + BUCKET_US, self._marks[(bucket + 1) % MARKS]
        return start + (end - start) * (then_us - start_us) // (end_us - start_us)


def _bucket_end_us(then_us: int) -> int:
    return (then_us // BUCKET_US + 1) * BUCKET_US


def _us(seconds: float) -> int:
    return round(seconds * US_PER_S)
