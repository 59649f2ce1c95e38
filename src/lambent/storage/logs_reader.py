"""One who follows a log: lines wait for it up to a bound, and the oldest make room for the newest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

READER_BYTES_MAX: Final = 1 << 20


class Reader:
    """Belongs to the event loop that it is made in; `put` and `end` may be called from any thread.

    Its owner holds one lock around `put`, `end` and `take`.
    """

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._news: Final = asyncio.Event()
        self._waiting: Final[deque[str]] = deque()
        self._waiting_bytes = 0
        self._dropped_lines = 0
        self.ended = False

    async def news(self) -> None:
        """Wait until there are lines to take, or no more will come."""
        await self._news.wait()
        self._news.clear()

    def put(self, lines: Sequence[str]) -> None:
        """Let these lines wait."""
        asleep = not self._waiting
        self._waiting.extend(lines)
        self._waiting_bytes += sum(map(len, lines))
        while self._waiting_bytes > READER_BYTES_MAX:
            self._waiting_bytes -= len(self._waiting.popleft())
            self._dropped_lines += 1
        if asleep:
            self._wake()

    def end(self) -> None:
        """No more will come."""
        self.ended = True
        self._wake()

    def take(self) -> list[str]:
        """What waits, with a note in the place of what had to go."""
        lines = list(self._waiting)
        if self._dropped_lines:
            lines.insert(0, f"… {self._dropped_lines} lines are missing here: this reader was too slow")
        self._waiting.clear()
        self._waiting_bytes = self._dropped_lines = 0
        return lines

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._news.set)
