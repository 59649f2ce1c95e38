"""One deployment's queue and its workers in virtual time, under any rule that says what is sent when."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import inf
from random import Random
from typing import Final, Protocol

import msgspec

from benchmarks.batching.models import Curve
from lambent.core.batching import BatchPolicy, Decision, Item, Reason, due
from lambent.core.latency import LatencyTables

WARM_UP: Final = 0.05  # the share of arrivals, the first ones, that is not counted: of no rule


class Rule(Protocol):
    """Decides what is sent, and may learn."""

    def decide(
        self, waiting: Sequence[Item], *, idle_workers: int, busy_until_s: Sequence[float], now_s: float
    ) -> Decision:
        """What to do now."""

    def expected_s(self, rows: int) -> float:
        """How long a batch is expected to run."""

    def observe(self, rows: int, run_s: float) -> None:
        """A batch has ended."""


class Adaptive:
    """Ours, knowing nothing but the target."""

    def __init__(self, max_batch: int, target_s: float | None) -> None:
        self.tables = LatencyTables()
        self._policy = BatchPolicy(max_batch=max_batch, latency_target_s=target_s)

    def decide(
        self, waiting: Sequence[Item], *, idle_workers: int, busy_until_s: Sequence[float], now_s: float
    ) -> Decision:
        """What `due` says."""
        return due(
            waiting, self.tables, self._policy,
            idle_workers=idle_workers, busy_until_s=busy_until_s, now_s=now_s,
        )  # fmt: skip

    def expected_s(self, rows: int) -> float:
        """The median."""
        return self.tables.of("").mid_s(rows)

    def observe(self, rows: int, run_s: float) -> None:
        """Learn."""
        self.tables.of("").observe(rows, run_s)


class Fixed:
    """Send when `size` wait, or when the oldest has waited for `wait_s`. Nothing is refused."""

    def __init__(self, size: int, wait_s: float) -> None:
        self._size, self._wait_s = size, wait_s

    def decide(
        self, waiting: Sequence[Item], *, idle_workers: int, busy_until_s: Sequence[float], now_s: float
    ) -> Decision:
        """By size, then by time."""
        del busy_until_s
        if not waiting or not idle_workers:
            return Decision(reason=Reason.BUSY)
        left_s = waiting[0].arrived_s + self._wait_s - now_s
        if len(waiting) < self._size and left_s > 1e-9:
            return Decision(wait_s=left_s, reason=Reason.BEST)
        return Decision(take=range(min(self._size, len(waiting))), reason=Reason.FULL)

    def expected_s(self, rows: int) -> float:
        """It expects nothing."""
        del rows
        return 0.0

    def observe(self, rows: int, run_s: float) -> None:
        """It learns nothing."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the invocations that were counted. `goodput` is those in time a second.

    `waited_s_max` is the longest that one that was served had waited before its batch started.
    """

    counted: int
    in_time: int
    late: int
    dropped: int
    goodput: float
    batches: int
    waited_s_max: float

    @property
    def share(self) -> float:
        """In time, of all."""
        return self.in_time / self.counted


def run(
    rule: Rule,
    curve: Curve,
    arrivals: Sequence[float],
    random: Random,
    *,
    target_s: float,
    workers: int = 1,
    give_up: float = inf,
) -> Result:
    """Serve all arrivals; stop early once more than the share `give_up` of them is known to be too late."""
    return _Run(rule, curve, arrivals, random, target_s, workers, give_up).run()


class _Run:
    def __init__(self, rule, curve, arrivals, random, target_s, workers, give_up) -> None:
        self._rule, self._curve, self._arrivals, self._random = rule, curve, arrivals, random
        self._target_s, self._idle = target_s, workers
        self._running: list = []  # (end, number, expected end, start, items)
        self._waiting: list[Item] = []
        self._from_s = arrivals[int(len(arrivals) * WARM_UP)]
        self._misses_max = give_up * len(arrivals) * (1 - WARM_UP)
        self.in_time = self.late = self.dropped = self.batches = 0
        self.waited_s_max = 0.0

    def run(self) -> Result:
        next_arrival, timer_s = 0, inf
        arrivals = self._arrivals
        while True:
            arrival_s = arrivals[next_arrival] if next_arrival < len(arrivals) else inf
            end_s = self._running[0][0] if self._running else inf
            now_s = min(arrival_s, end_s, timer_s)
            if now_s == inf or self.late + self.dropped > self._misses_max:
                break
            if now_s == arrival_s:
                next_arrival += 1
                self._waiting.append(Item(arrived_s=now_s))
            while self._running and self._running[0][0] <= now_s:
                self._end(now_s)
            if self._idle or now_s >= timer_s:
                timer_s = self._ask(now_s)
        return self._result()

    def _ask(self, now_s: float) -> float:
        """Start what may be started; when to ask again."""
        while self._waiting:
            decision = self._rule.decide(
                self._waiting, idle_workers=self._idle,
                busy_until_s=[batch[2] for batch in self._running], now_s=now_s,
            )  # fmt: skip
            for place in decision.drop:
                self.dropped += self._waiting[place].arrived_s >= self._from_s
            taken = [self._waiting[place] for place in decision.take]
            if decision.drop or taken:
                gone = {*decision.drop, *decision.take}
                self._waiting = [item for place, item in enumerate(self._waiting) if place not in gone]
            if not taken:
                return inf if decision.wait_s is None else now_s + decision.wait_s
            self._start(taken, now_s)
        return inf

    def _start(self, items, now_s: float) -> None:
        self._idle -= 1
        self.waited_s_max = max(self.waited_s_max, now_s - items[0].arrived_s)
        self.batches += 1
        end_s = now_s + self._curve(len(items), self._random)
        expected_s = now_s + self._rule.expected_s(len(items))
        heapq.heappush(self._running, (end_s, self.batches, expected_s, now_s, items))

    def _end(self, now_s: float) -> None:
        _, _, _, start_s, items = heapq.heappop(self._running)
        self._idle += 1
        self._rule.observe(len(items), now_s - start_s)
        for item in items:
            if item.arrived_s >= self._from_s:
                if now_s - item.arrived_s <= self._target_s:
                    self.in_time += 1
                else:
                    self.late += 1

    def _result(self) -> Result:
        counted = len(self._arrivals) - int(len(self._arrivals) * WARM_UP)
        return Result(
            counted=counted, in_time=self.in_time, late=self.late, dropped=self.dropped,
            goodput=self.in_time / (self._arrivals[-1] - self._from_s), batches=self.batches,
            waited_s_max=self.waited_s_max,
        )  # fmt: skip
