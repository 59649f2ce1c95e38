"""How many calls of a function may run at once, where somebody reserved that many and no more for it.

AWS's reserved concurrency: what is over it is refused at once, and does not wait. Control writes, AWS's door
asks. It counts the calls that came through that door.
"""

from __future__ import annotations

from typing import Final

from lambent.core.errors import QueueFull

RETRY_AFTER_S: Final = 1.0


class Reservations:
    """The limits, and what runs."""

    def __init__(self) -> None:
        self._limits: Final[dict[tuple[str, str], int]] = {}
        self._running: Final[dict[tuple[str, str], int]] = {}

    def limit(self, project: str, name: str, calls_max: int | None) -> None:
        """Let so many calls of a function run at once, 0 for none, None for as many as come."""
        if calls_max is None:
            self._limits.pop((project, name), None)
        else:
            self._limits[project, name] = calls_max

    def enter(self, project: str, name: str) -> None:
        """One call runs until `leave`, which must follow. Raises `QueueFull` where as many run as may."""
        key = (project, name)
        running = self._running.get(key, 0)
        limit = self._limits.get(key) if self._limits else None
        if limit is not None and running >= limit:
            text = f"{running} calls of {name!r} run, and {limit} are reserved for it"
            raise QueueFull(text, retry_after_s=RETRY_AFTER_S)
        self._running[key] = running + 1

    def leave(self, project: str, name: str) -> None:
        """It has ended."""
        key = (project, name)
        left = self._running[key] - 1
        if left:
            self._running[key] = left
        else:
            del self._running[key]
