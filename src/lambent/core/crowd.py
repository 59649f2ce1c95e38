"""What revisions in general do: the prior for one that has told little about itself.

Of all revisions that were idle for so long and were called so often in the last hour, what share is called
in the next second? A revision's own past counts less here the more of it there is, so that one busy timer
does not speak for the rest. What is learned is published in steps (`publish`): until then everybody reads
the same table, so that answers do not depend on the order in which revisions are looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp
from typing import Final

from lambent.core.histogram import Grid
from lambent.core.memories import CrowdMemory

RECENT_S: Final = 3600.0  # the time in which a recent arrival fades to 1/e
RECENT_CLASSES: Final = (0.02, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0, 40.0)

# Before anything is known: each time its idle time grows by 1 %, a revision is called with 0.3 % probability.
# Gaps over many scales are like that (Shahrad et al., ATC'20, figure 5b); a few observations outweigh it.
SCALE_FREE: Final = 0.3
PASSES_SCALE_FREE: Final = 1.0
PASSES_ALL: Final = 2.0


class Crowd:
    """Arrivals per second of idle time by coarse bin and recent class, over all revisions of a node."""

    __slots__ = ("_arrivals", "_exposed_s", "_grid", "_rates")

    def __init__(self, grid: Grid) -> None:
        bins, classes = len(grid.coarse_edges_s), len(RECENT_CLASSES) + 1
        self._grid = grid
        self._arrivals = [[0.0] * classes for _ in range(bins)]
        self._exposed_s = [[0.0] * classes for _ in range(bins)]
        self._rates: list[list[float]] = []
        self.publish()

    def rate(self, coarse: int, recent_class: int) -> float:
        """Arrivals per second, as last published."""
        return self._rates[coarse][recent_class]

    def expose(self, coarse: int, recent_class: int, seconds: float, weight: float) -> None:
        """A revision of this weight was idle there for so long."""
        self._exposed_s[coarse][recent_class] += seconds * weight

    def arrive(self, coarse: int, recent_class: int, weight: float) -> None:
        """A revision of this weight was called there."""
        self._arrivals[coarse][recent_class] += weight

    def memory(self) -> CrowdMemory:
        """All that was heard."""
        return CrowdMemory(
            arrivals=tuple(tuple(row) for row in self._arrivals),
            exposed_s=tuple(tuple(row) for row in self._exposed_s),
        )

    def recall(self, memory: CrowdMemory) -> None:
        """Know what another knew on the same grid. Raises `ValueError` where its table is another."""
        for table in (memory.arrivals, memory.exposed_s):
            if [len(row) for row in table] != [len(row) for row in self._arrivals]:
                raise ValueError("the crowd's table is of another grid")
        self._arrivals = [list(row) for row in memory.arrivals]
        self._exposed_s = [list(row) for row in memory.exposed_s]
        self.publish()

    def publish(self) -> None:
        """Let everything learned so far count."""
        self._rates = [self._row_rates(coarse) for coarse in range(len(self._arrivals))]

    def _row_rates(self, coarse: int) -> list[float]:
        width_s = self._grid.widths_s[coarse]
        middle_s = self._grid.coarse_edges_s[coarse] + width_s / 2
        arrivals, exposed_s = self._arrivals[coarse], self._exposed_s[coarse]
        known_s = PASSES_SCALE_FREE * width_s
        everybody = (sum(arrivals) + SCALE_FREE / middle_s * known_s) / (sum(exposed_s) + known_s)
        known_s = PASSES_ALL * width_s
        return [
            (arrived + everybody * known_s) / (exposed + known_s)
            for arrived, exposed in zip(arrivals, exposed_s, strict=True)
        ]


def recent_class(recent: float, idle_s: float) -> int:
    """The class of a revision that had `recent` faded arrivals when it fell idle, `idle_s` ago."""
    return bisect_right(RECENT_CLASSES, recent * exp(-idle_s / RECENT_S))
