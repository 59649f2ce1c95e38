"""How many calls of a function may run at once, where somebody reserved that many and no more for it.

AWS's reserved concurrency: what is over it is refused at once, and does not wait. Of what is reserved,
workers that are kept for a version or an alias are for its calls alone. Control writes; AWS's door, sources
of events and asynchronous invocations ask. It counts the calls of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.core.errors import NothingReserved, QueueFull


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """So many calls at once, 0 for none. Of them as many as `kept` says are for the calls of a name alone.

    `stands_for` has the names that stand for another: an alias for the version that it names.
    """

    calls_max: int
    kept: Mapping[str, int] = {}
    stands_for: Mapping[str, str] = {}

    def has_room(self, running: Mapping[str, int], name: str) -> bool:
        """Whether one more call under a name may run beside those that do."""
        counts: Counter[str] = Counter()
        for other, count in running.items():
            counts[self.stands_for.get(other, other)] += count
        own = self.stands_for.get(name, name)
        if counts[own] < self.kept.get(own, 0):
            return True
        shared_max = self.calls_max - sum(self.kept.values())
        return sum(max(0, count - self.kept.get(one, 0)) for one, count in counts.items()) < shared_max


class Reservations:
    """The limits, and what runs."""

    def __init__(self) -> None:
        self._limits: Final[dict[tuple[str, str], Reservation]] = {}
        self._running: Final[dict[tuple[str, str], Counter[str]]] = {}

    def limit(self, project: str, name: str, reservation: Reservation | None) -> None:
        """Hold the calls of a function to what is reserved for it; None lets as many run as come."""
        if reservation is None:
            self._limits.pop((project, name), None)
        else:
            self._limits[project, name] = reservation

    def enter(self, project: str, name: str, alias: str = "") -> None:
        """One call of a function, under one of its aliases, runs until `leave`, which must follow.

        Raises `QueueFull` where as many run as may, `NothingReserved` where none may.
        """
        key = (project, name)
        running = self._running.get(key) or Counter()
        limit = self._limits.get(key) if self._limits else None
        if limit is not None and not limit.has_room(running, alias):
            if limit.calls_max == 0:
                raise NothingReserved(f"no call of {name!r} may run: none is reserved for it")
            text = f"{running.total()} calls of {name!r} run, and {limit.calls_max} are reserved for it"
            raise QueueFull(text)  # AWS tells nobody when to come back here (recorded)
        running[alias] += 1
        self._running[key] = running

    def leave(self, project: str, name: str, alias: str = "") -> None:
        """It has ended."""
        running = self._running[project, name]
        running[alias] -= 1
        if not running[alias]:
            del running[alias]
        if not running:
            del self._running[project, name]
