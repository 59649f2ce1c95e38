"""What one call has asked for: so much is under way at once, the rest waits here for its turn.

A function may ask for a thousand others in one line; the server takes a bounded number of them, and what it
has not taken stays in the memory of who wants it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from lambent.core.composing import ASKED_BYTES_MAX, ASKS_MAX
from lambent.wire.frames import Ask


class Asks:
    """The asks of one call, in their order."""

    __slots__ = ("_asks_max", "_bytes", "_bytes_max", "_sizes", "_waiting")

    def __init__(self, *, asks_max: int = ASKS_MAX, bytes_max: int = ASKED_BYTES_MAX) -> None:
        self._asks_max: Final = asks_max
        self._bytes_max: Final = bytes_max
        self._waiting: Final[deque[tuple[Ask, bytes]]] = deque()
        self._sizes: Final[dict[int, int]] = {}  # of the bodies that are under way, by their ask
        self._bytes = 0

    def add(self, ask: Ask, body: bytes) -> None:
        """One more. It is sent when `due` says so."""
        self._waiting.append((ask, body))

    def due(self) -> Iterator[tuple[Ask, bytes]]:
        """Those whose turn has come. A body that is larger than all may be goes when it goes alone."""
        while self._waiting and len(self._sizes) < self._asks_max:
            ask, body = self._waiting[0]
            if self._sizes and self._bytes + len(body) > self._bytes_max:
                return
            self._waiting.popleft()
            self._sizes[ask.ask_id] = len(body)
            self._bytes += len(body)
            yield ask, body

    def ended(self, ask_id: int) -> None:
        """The server has told what came of it."""
        self._bytes -= self._sizes.pop(ask_id, 0)

    def forget(self, ask_id: int) -> bool:
        """Nobody wants its answer. Whether it is under way, so that the server must hear of that."""
        if ask_id in self._sizes:
            return True
        for place, (ask, _) in enumerate(self._waiting):
            if ask.ask_id == ask_id:
                del self._waiting[place]
                break
        return False
