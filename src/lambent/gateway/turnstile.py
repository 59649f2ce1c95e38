"""So many requests begin in one turn of the event loop, however many have come.

An event loop looks at every connection once a turn. Where all who have come begin at once, a turn takes as
long as they take together, and a worker, whose answers are read once a turn too, waits idly for its next
calls: the more come, the fewer are served, until hardly any is. With a bound, answers and arrivals keep step.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

# About as many as one worker is sent ahead of their turn: what begins in a turn replaces what ends in it.
BEGIN_PER_TURN: Final = 8


class Turnstile:
    """Lets requests begin in the order in which they came."""

    __slots__ = ("_left", "_turning", "_waiting")

    def __init__(self) -> None:
        self._left = BEGIN_PER_TURN
        self._turning = False  # a next turn was asked for
        self._waiting: Final[deque[Callable[[], None]]] = deque()

    def enter(self, begin: Callable[[], None]) -> None:
        """Call `begin` now, or in a later turn of the loop, behind those who came before."""
        if not self._left:
            self._waiting.append(begin)
            return
        self._left -= 1
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        begin()

    def _turn(self) -> None:
        self._left = BEGIN_PER_TURN
        while self._left and self._waiting:
            self._left -= 1
            self._waiting.popleft()()
        self._turning = self._left < BEGIN_PER_TURN
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)
