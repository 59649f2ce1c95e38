"""What a keep-alive policy must answer: how probable is a call of this revision right now?"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

Tell = Callable[[float, float, float], None]
"""Hears of a stretch of idle time: its start and end in seconds since the last arrival, and its rate."""


class PolicyName(StrEnum):
    """What a server may run and the simulator compares."""

    ECONOMIC = "economic"  # ours: memory is priced by what it saves
    FIXED = "fixed"  # so many minutes after the last call
    HYBRID = "hybrid"  # the hybrid histogram of Serverless in the Wild
    GDSF = "gdsf"  # greedy-dual-size-frequency, FaasCache's


class Foresight(Protocol):
    """A policy's view of the revisions of one node. Times are seconds of one clock that never goes back.

    `rate` is arrivals per second at the present. A policy that knows only "keep" and "let go" answers
    infinity and 0, which no price of memory can move.
    """

    def arrive(self, revision: int, now_s: float) -> None:
        """The revision is called now."""

    def advance(self, revision: int, now_s: float, tell: Tell | None = None) -> None:
        """It was not called until now; `tell` hears of each stretch that this passes."""

    def rate(self, revision: int) -> float:
        """Arrivals per second of idle time at the present; 0 before the first arrival."""
        ...

    def last_arrival_s(self, revision: int) -> float | None:
        """When it was called last."""
        ...

    def publish(self) -> None:
        """Let what was learned from all revisions count from now on."""
