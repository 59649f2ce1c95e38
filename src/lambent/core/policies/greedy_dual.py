"""Greedy-dual-size-frequency: what FaasCache keeps (Fuerst and Sharma, ASPLOS'21, section 4).

Each revision in memory has the priority `clock + calls × cost / size`. Only when room is needed, those of the
least priority go, and the clock is set to the priority of the last that went: so what was popular once grows
old without anything being updated. It never comes back before it is called.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Priorities(Generic[Key]):
    """The order alone, whoever keeps the store. Bounded by what is kept: `evict` and `forget` what is not."""

    __slots__ = ("calls", "clock")

    def __init__(self) -> None:
        self.clock = 0.0
        self.calls: dict[Key, int] = {}

    def call(self, key: Key, size_bytes: int, cost_ms: float, *, times: int = 1) -> float:
        """It is called so often at once; its priority from now on, in milliseconds a byte."""
        calls = self.calls[key] = self.calls.get(key, 0) + times
        return self.clock + calls * cost_ms / size_bytes

    def evict(self, key: Key, priority: float) -> None:
        """It went for lack of room: who stays has to be worth more than that from now on."""
        self.clock = max(self.clock, priority)
        self.forget(key)

    def forget(self, key: Key) -> None:
        """It went, and not for lack of room."""
        self.calls.pop(key, None)


class GreedyDual:
    """A store of `budget_bytes`. A revision larger than the budget is served and not kept."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._priorities = Priorities[int]()
        self._kept: dict[int, tuple[float, int]] = {}
        self._queue: list[tuple[float, int]] = []
        self.used_bytes = 0

    def arrive(self, revision: int, size_bytes: int, cost_ms: float) -> list[int] | None:
        """It is called: `None` if it is kept already, else the revisions that went to make room for it."""
        priority = self._priorities.call(revision, size_bytes, cost_ms)
        held = revision in self._kept
        gone = [] if held else self._make_room(size_bytes)
        if held or self.used_bytes + size_bytes <= self._budget_bytes:
            self.used_bytes += 0 if held else size_bytes
            self._kept[revision] = priority, size_bytes
            heappush(self._queue, (priority, revision))
        if len(self._queue) > 4 * len(self._kept) + 64:
            self._queue = [(kept[0], key) for key, kept in self._kept.items()]
            heapify(self._queue)
        return None if held else gone

    def _make_room(self, size_bytes: int) -> list[int]:
        gone: list[int] = []
        if size_bytes > self._budget_bytes:
            return gone
        while self.used_bytes + size_bytes > self._budget_bytes:
            priority, revision = heappop(self._queue)
            kept = self._kept.get(revision)
            if kept is None or kept[0] != priority:  # an older entry of one that was called since
                continue
            self._priorities.evict(revision, priority)
            self.used_bytes -= kept[1]
            del self._kept[revision]
            gone.append(revision)
        return gone
