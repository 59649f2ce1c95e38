"""Replays a trace of invocations on virtual time and says what a keep-alive policy would have cost.

A trace counts calls in ticks (`resolution_s`); a policy is a `Foresight`. The replay walks the ticks in which
anything happens, in order, and asks the policy for nothing but its view before each call and over the idle
stretches between two calls. That view does not depend on the price of memory, so one replay (`Tape`) answers
for every price, and the price that meets a budget is found without replaying.

What counts, for every policy alike (docs/decisions/0010): a call finds a revision resident or not. All calls
of one tick are one wake, by the first of them. Memory is held in whole ticks; that of a tick with calls is in
use, all other is wasted. Run times are taken as zero, as in ATC'20. A first call is a cold start.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Final

import msgspec

from lambent.core.policies.base import Foresight

PUBLISH_S: Final = 900.0


class TraceRevision(msgspec.Struct, frozen=True, kw_only=True):
    """What can be called: its name, the app that it counts for, and the memory that it holds."""

    name: str
    app: str
    memory_bytes: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Calls by tick: three arrays of one length, ordered by tick and then by revision.

    `ticks` is how long the trace is. Raises `ValueError` where the arrays do not fit together.
    """

    name: str
    resolution_s: float
    ticks: int
    revisions: Sequence[TraceRevision]
    tick: array[int]
    revision: array[int]
    calls: array[int]

    def __post_init__(self) -> None:
        if not len(self.tick) == len(self.revision) == len(self.calls):
            raise ValueError("a call has a tick, a revision and a count")
        if self.ticks < 1 or self.resolution_s <= 0:
            raise ValueError("a trace has at least one tick, and a tick takes time")

    @property
    def invocations(self) -> int:
        """All calls."""
        return sum(self.calls)


class Tape:
    """What a policy saw from one tick to another: idle stretches and ticks with calls, each with its rate."""

    __slots__ = (
        "call_count", "call_rate", "call_revision", "from_tick", "idle_rate", "idle_revision", "idle_ticks",
        "until_tick",
    )  # fmt: skip

    def __init__(self, from_tick: int, until_tick: int) -> None:
        self.from_tick, self.until_tick = from_tick, until_tick
        self.idle_revision, self.idle_rate, self.idle_ticks = array("l"), array("d"), array("l")
        self.call_revision, self.call_rate, self.call_count = array("l"), array("d"), array("l")

    def idle(self, revision: int, from_tick: int, until_tick: int, rate: float) -> None:
        """It was idle from one tick until another; what lies outside the tape is cut off."""
        ticks = min(until_tick, self.until_tick) - max(from_tick, self.from_tick)
        if ticks > 0:
            self.idle_revision.append(revision)
            self.idle_rate.append(rate)
            self.idle_ticks.append(ticks)

    def call(self, revision: int, count: int, rate: float) -> None:
        """It was called."""
        self.call_revision.append(revision)
        self.call_rate.append(rate)
        self.call_count.append(count)


def replay(trace: Trace, foresight: Foresight, *, cuts: Sequence[int] = ()) -> Sequence[Tape]:
    """One tape for each part of the trace between the `cuts` (ticks); all are learned from in order."""
    edges = [0, *cuts, trace.ticks]
    if edges != sorted(set(edges)):
        raise ValueError(f"cuts at {list(cuts)} do not divide {trace.ticks} ticks")
    tapes = [Tape(a, b) for a, b in pairwise(edges)]
    _Replay(trace, foresight, tapes).run()
    return tapes


class _Replay:
    """The run itself: whose turn it is, and where its stretches go."""

    def __init__(self, trace: Trace, foresight: Foresight, tapes: Sequence[Tape]) -> None:
        self._trace, self._foresight = trace, foresight
        self._left = list(tapes)
        self._revision = 0
        self._since_tick = 0
        self._publish_ticks = max(1, round(PUBLISH_S / trace.resolution_s))

    def run(self) -> None:
        trace, foresight, resolution_s = self._trace, self._foresight, self._trace.resolution_s
        publish_tick = self._publish_ticks
        for tick, revision, count in zip(trace.tick, trace.revision, trace.calls, strict=True):
            while tick >= min(publish_tick, self._left[0].until_tick):
                publish_tick = self._pause(publish_tick)
            now_s = tick * resolution_s
            self._pass_time(revision, now_s)
            self._left[0].call(revision, count, foresight.rate(revision))
            foresight.arrive(revision, now_s)
        while self._left:
            publish_tick = self._pause(publish_tick)

    def _pause(self, publish_tick: int) -> int:
        """Everybody's idle time is told up to here, to the part it belongs to; the next publishing tick."""
        pause_tick = min(publish_tick, self._left[0].until_tick)
        for revision in range(len(self._trace.revisions)):
            self._pass_time(revision, pause_tick * self._trace.resolution_s)
        if pause_tick == self._left[0].until_tick:
            self._left.pop(0)
        if pause_tick < publish_tick:
            return publish_tick
        self._foresight.publish()
        return publish_tick + self._publish_ticks

    def _pass_time(self, revision: int, now_s: float) -> None:
        last_s = self._foresight.last_arrival_s(revision)
        if last_s is None:
            return
        self._revision = revision
        self._since_tick = round(last_s / self._trace.resolution_s)
        self._foresight.advance(revision, now_s, self._tell)

    def _tell(self, start_s: float, end_s: float, rate: float) -> None:
        resolution_s = self._trace.resolution_s
        # A tick belongs to the stretch in which it begins; that of the call itself is no idle one.
        first, end = max(1, ceil(start_s / resolution_s - 1e-9)), ceil(end_s / resolution_s - 1e-9)
        if end > first:
            self._left[0].idle(self._revision, self._since_tick + first, self._since_tick + end, rate)
