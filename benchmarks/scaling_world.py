"""One deployment in virtual time: arrivals, a queue, workers with slots, and a policy that sets their number.

Discrete events, the same arrivals and the same wakes for every policy, so that only the decisions differ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from heapq import heappop, heappush
from itertools import count
from typing import Final, NamedTuple, Protocol

import msgspec


class Arrival(NamedTuple):
    """When an invocation comes and how long it runs, in seconds."""

    at_s: float
    run_s: float


class Seen(NamedTuple):
    """What a policy may look at."""

    present: int
    ready: int
    starting: int


class Scaler(Protocol):
    """A policy under test. Times are virtual seconds. `drains`: it also takes workers away that still run."""

    tick_s: float
    workers_at_start: int
    drains: bool

    def changed(self, seen: Seen, now_s: float) -> float | None:
        """Something came, went or joined. Seconds after which to look out of turn, or None."""

    def ran(self, run_s: float) -> None:
        """An invocation has run."""

    def look(self, seen: Seen, now_s: float) -> int:
        """How many workers there should be, starting ones included."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What every policy finds: slots of a worker, its wake, and the wait that is still inside the target."""

    slots: int
    wake_s: float
    wait_s: float


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy did to those who came, and what it took for that.

    `violation_s` is the time over the target, added up over invocations; `violated_s` counts the seconds in
    which at least one came that missed it. Latency is wait plus run.
    """

    invocations: int
    missed: int
    violation_s: float
    violated_s: int
    worker_s: float
    wakes: int
    wait_p50_s: float
    wait_p99_s: float
    latency_p50_s: float
    latency_p99_s: float

    @property
    def product(self) -> float:
        """What the policies are compared by: violation seconds × worker-seconds."""
        return self.violation_s * self.worker_s


class _Event(IntEnum):
    # In this order within one moment: who is done makes room for who comes.
    END = 0
    READY = 1
    ARRIVE = 2
    LOOK = 3
    TICK = 4


class _Worker:
    __slots__ = ("leaving", "ready", "running", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.ready = self.leaving = False
        self.running = 0


def play(arrivals: Sequence[Arrival], setting: Setting, scaler: Scaler) -> Score:
    """Everything from the first arrival until all workers have gone or `AFTER_S` after the last one."""
    return _World(arrivals, setting, scaler).run()


AFTER_S: Final = 120.0


class _World:
    def __init__(self, arrivals: Sequence[Arrival], setting: Setting, scaler: Scaler) -> None:
        self._arrivals, self._setting, self._scaler = arrivals, setting, scaler
        self._events: list[tuple[float, _Event, int, object]] = []
        self._number = count()
        self._queue: deque[Arrival] = deque()
        self._workers: list[_Worker] = []  # in the order in which they came
        self._running = self._wakes = 0
        self._worker_s = 0.0
        self._look_at_s: float | None = None
        self._waits: list[tuple[float, float]] = []
        self._late: set[int] = set()

    def run(self) -> Score:
        self._add(self._scaler.workers_at_start, 0.0)
        for arrival in self._arrivals:
            self._at(arrival.at_s, _Event.ARRIVE, arrival)
        self._at(self._scaler.tick_s, _Event.TICK)
        end_s = self._arrivals[-1].at_s + AFTER_S
        now_s = 0.0
        while self._events:
            now_s, event, _, what = heappop(self._events)
            if now_s > end_s and not (self._queue or self._running):
                break
            self._happen(event, what, now_s)
        self._worker_s += sum(now_s - worker.since_s for worker in self._workers)
        return self._score()

    def _happen(self, event: _Event, what: object, now_s: float) -> None:
        match event:
            case _Event.ARRIVE:
                assert isinstance(what, Arrival)
                self._queue.append(what)
            case _Event.END:
                assert isinstance(what, tuple)
                worker, run_s = what
                worker.running -= 1
                self._running -= 1
                self._scaler.ran(run_s)
                if worker.leaving and not worker.running:
                    self._gone(worker, now_s)
            case _Event.READY:
                assert isinstance(what, _Worker)
                what.ready = True
            case _Event.LOOK:
                self._look_at_s = None
                self._resize(self._scaler.look(self._seen(), now_s), now_s)
            case _Event.TICK:
                self._resize(self._scaler.look(self._seen(), now_s), now_s)
                self._at(now_s + self._scaler.tick_s, _Event.TICK)
        self._start(now_s)
        after_s = self._scaler.changed(self._seen(), now_s)
        if after_s is not None and self._look_at_s is None:
            self._look_at_s = now_s + after_s
            self._at(self._look_at_s, _Event.LOOK)

    def _start(self, now_s: float) -> None:
        """Whoever waits gets a slot of the oldest worker that has one, so that the youngest fall idle."""
        if not self._queue:
            return
        for worker in self._workers:
            while (
                self._queue and worker.ready and not worker.leaving and worker.running < self._setting.slots
            ):
                arrival = self._queue.popleft()
                worker.running += 1
                self._running += 1
                wait_s = now_s - arrival.at_s
                self._waits.append((wait_s, arrival.run_s))
                if wait_s > self._setting.wait_s:
                    self._late.add(int(arrival.at_s))
                self._at(now_s + arrival.run_s, _Event.END, (worker, arrival.run_s))

    def _resize(self, wanted: int, now_s: float) -> None:
        stay = [worker for worker in self._workers if not worker.leaving]
        self._add(wanted - len(stay), now_s)
        # The idle stop first, then those with the least to finish; what runs is finished by all policies.
        surplus = max(0, len(stay) - wanted)
        for worker in sorted(stay, key=lambda one: (one.running, -one.since_s))[:surplus]:
            if self._scaler.drains or (worker.ready and not worker.running):
                worker.leaving = True
                if not worker.running:
                    self._gone(worker, now_s)

    def _add(self, workers: int, now_s: float) -> None:
        for _ in range(workers):
            self._wakes += 1
            self._workers.append(worker := _Worker(now_s))
            self._at(now_s + self._setting.wake_s, _Event.READY, worker)

    def _gone(self, worker: _Worker, now_s: float) -> None:
        self._workers.remove(worker)
        self._worker_s += now_s - worker.since_s

    def _seen(self) -> Seen:
        ready = sum(worker.ready and not worker.leaving for worker in self._workers)
        starting = sum(not worker.ready and not worker.leaving for worker in self._workers)
        return Seen(self._running + len(self._queue), ready, starting)

    def _at(self, then_s: float, event: _Event, what: object = None) -> None:
        heappush(self._events, (then_s, event, next(self._number), what))

    def _score(self) -> Score:
        over = [wait_s - self._setting.wait_s for wait_s, _ in self._waits if wait_s > self._setting.wait_s]
        waits = sorted(wait_s for wait_s, _ in self._waits)
        latencies = sorted(wait_s + run_s for wait_s, run_s in self._waits)
        return Score(
            invocations=len(waits), missed=len(over), violation_s=sum(over), violated_s=len(self._late),
            worker_s=self._worker_s, wakes=self._wakes,
            wait_p50_s=_quantile(waits, 0.5), wait_p99_s=_quantile(waits, 0.99),
            latency_p50_s=_quantile(latencies, 0.5), latency_p99_s=_quantile(latencies, 0.99),
        )  # fmt: skip


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
