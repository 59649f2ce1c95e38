"""How often a run's state is committed and written to disk, and which of its files are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

# A commit is a copy in memory: it may take this part of the time that the code works.
COMMIT_SHARE_MAX: Final = 0.01
COMMIT_EVERY_S_MIN: Final = 1.0
COMMIT_EVERY_S_MAX: Final = 60.0
# What is assumed of a machine of which nothing is known yet: that it fails once in this time.
FAILS_EVERY_S: Final = 6 * 3600.0
FLUSH_EVERY_S_MIN: Final = 5.0
FLUSH_EVERY_S_MAX: Final = 600.0
KEPT: Final = 2


class Kept(msgspec.Struct, frozen=True, order=True):
    """One state on disk: its place in the order of commits, and the step that it was made at."""

    seq: int
    step: int


def commit_interval_s(cost_s: float) -> float:
    """Seconds from one commit to the next, so that those that take `cost_s` each are a small share."""
    return min(COMMIT_EVERY_S_MAX, max(COMMIT_EVERY_S_MIN, cost_s / COMMIT_SHARE_MAX))


def between_failures_s(running_s: float, failures: int) -> float:
    """Mean time between failures, from what was seen and one failure that is always expected."""
    return (max(0.0, running_s) + FAILS_EVERY_S) / (max(0, failures) + 1)


def flush_interval_s(cost_s: float, between_failures_s: float) -> float:
    """Seconds of work from one flush to the next that lose the least, to flushes and to work done again.

    `cost_s` is what a flush takes. The formula is Daly's (2006, "A higher order estimate of the optimum
    checkpoint interval for restart dumps", equation 37), whose first term is Young's (1974).
    """
    if cost_s >= 2 * between_failures_s:
        best_s = between_failures_s
    else:
        half = cost_s / (2 * between_failures_s)
        best_s = math.sqrt(2 * cost_s * between_failures_s) * (1 + math.sqrt(half) / 3 + half / 9) - cost_s
    return min(FLUSH_EVERY_S_MAX, max(FLUSH_EVERY_S_MIN, best_s))


def surplus(kept: Iterable[Kept], keep: int) -> Sequence[Kept]:
    """Which go: all but the newest `keep`, and never the newest."""
    return sorted(kept)[: -max(1, keep)]
