"""One queue as the server holds it: how much is in it, and who waits for what comes.

Nobody looks at the disk to find out whether something has come: who waits is woken when something is sent,
shown or, where the order is kept, removed, and when the next hidden message is seen again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from lambent.clock import Clock
from lambent.storage.queues import Queue


class Box:
    """A queue. It counts what the store says; `is_gone` for good once it was removed."""

    def __init__(self, queue: Queue, clock: Clock) -> None:
        self.queue = queue
        self.count = 0
        self.size_bytes = 0
        self.is_gone = False
        self.news = 0  # how often something may have come
        self._clock: Final = clock
        self._waiting: Final[deque[asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due_unix_ms = 0

    def grow(self, count: int, size_bytes: int) -> None:
        """So much more is in it, or less."""
        self.count += count
        self.size_bytes += size_bytes

    def poke(self, count: int = 1) -> None:
        """So many messages may be there to receive."""
        self.news += 1
        while count > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1

    def poke_all(self) -> None:
        """Whoever waits shall look."""
        self.poke(len(self._waiting))

    def expect(self, unix_ms: int | None) -> None:
        """Something will be seen then. Of several times the earliest counts."""
        if unix_ms is None or not self._waiting:
            return
        if self._timer is not None:
            if self._due_unix_ms <= unix_ms:
                return
            self._timer.cancel()
        self._due_unix_ms = unix_ms
        wait_s = max(0.0, (unix_ms - self._clock.unix_ms()) / 1e3)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._ring)

    async def wait(self, next_unix_ms: int | None, until_s: float) -> None:
        """Until something may have come, or until `until_s`. `next_unix_ms`: when something will be seen."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self.expect(next_unix_ms)
        try:
            async with asyncio.timeout(max(0.0, until_s - self._clock.now_s())):
                await turn
        except TimeoutError:
            self._leave(turn)
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def close(self) -> None:
        """Nobody waits here any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.poke_all()

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        if turn.done() and not turn.cancelled():
            self.poke()  # woken and gone in one tick: the next one shall look

    def _ring(self) -> None:
        self._timer = None
        self.poke()
