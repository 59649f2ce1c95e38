"""How long a revision was idle before each of its arrivals, in bins that grow with the idle time.

A bin is as wide as a share of its own distance from zero, so one grid serves gaps from milliseconds to days.
Old arrivals fade: each new one weighs a little more than the one before, which is the same as decaying all
others and costs nothing. Only bins that hold something are kept, and at most `BINS_KEPT_MAX` of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from lambent.core.memories import GapMemory

GAP_S_MAX: Final = 8 * 86_400.0
BINS_KEPT_MAX: Final = 192
UNIT_MAX: Final = 1e9


class Grid:
    """The edges of the bins, for times that are known to `resolution_s`.

    Fine bins are a hundredth of the idle time wide and tell a timer from a habit; coarse ones, each made of
    whole fine ones, are two fifths. No bin is narrower than the resolution, and edges lie halfway between two
    ticks of it. The last bin is open. Immutable.
    """

    __slots__ = ("coarse_edges_s", "fine_edges_s", "resolution_s", "widths_s")

    FINE: Final = 1.01
    COARSE: Final = 1.4

    def __init__(self, resolution_s: float) -> None:
        if not 0.001 <= resolution_s <= 3600:
            raise ValueError(f"a resolution of {resolution_s} s is not in [0.001, 3600]")
        self.resolution_s = resolution_s
        ticks = _ticks(self.FINE, int(GAP_S_MAX / resolution_s))
        self.fine_edges_s: Sequence[float] = (0.0, *(resolution_s * (tick - 0.5) for tick in ticks[1:]))
        coarse = [0.0]
        for edge in self.fine_edges_s[1:]:
            # Edges are half a tick early, so that a bin is named by the first tick in it.
            if edge + resolution_s / 2 >= max(resolution_s, coarse[-1] + resolution_s / 2) * self.COARSE:
                coarse.append(edge)
        self.coarse_edges_s: Sequence[float] = tuple(coarse)
        self.widths_s: Sequence[float] = (*(b - a for a, b in pairwise(coarse)), GAP_S_MAX)

    def fine(self, gap_s: float) -> int:
        """The fine bin of an idle time."""
        return bisect_right(self.fine_edges_s, gap_s) - 1

    def coarse(self, gap_s: float) -> int:
        """The coarse bin of an idle time."""
        return bisect_right(self.coarse_edges_s, gap_s) - 1

    def fine_end_s(self, index: int) -> float:
        """Where a fine bin ends: infinity for the last."""
        edges = self.fine_edges_s
        return edges[index + 1] if index + 1 < len(edges) else float("inf")

    def coarse_end_s(self, index: int) -> float:
        """Where a coarse bin ends: infinity for the last."""
        edges = self.coarse_edges_s
        return edges[index + 1] if index + 1 < len(edges) else float("inf")


def _ticks(ratio: float, ticks_max: int) -> list[int]:
    """First tick of each bin: one tick wide while the ratio asks for less."""
    ticks = [1]
    while ticks[-1] < ticks_max:
        ticks.append(max(ticks[-1] + 1, round(ticks[-1] * ratio)))
    return ticks


class GapHistogram:
    """Decayed counts of one revision's gaps, by fine and by coarse bin. Bounded memory.

    `total` is the weight of all gaps in it; `keys` are the fine bins that hold something, in order. Weights
    are in gaps of today: the newest weighs one.
    """

    __slots__ = ("_grid", "_unit", "coarse", "counts", "keys", "total")

    DECAY: Final = 0.99

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._unit = 1.0  # what the newest gap weighs in the stored counts
        self.counts: dict[int, float] = {}
        self.keys: list[int] = []
        self.coarse: dict[int, float] = {}
        self.total = 0.0

    def add(self, gap_s: float) -> None:
        """One more gap of so many seconds; those before it count for 1 % less."""
        self._unit /= self.DECAY
        fine, coarse = self._grid.fine(gap_s), self._grid.coarse(gap_s)
        if fine not in self.counts:
            insort(self.keys, fine)
        self.counts[fine] = self.counts.get(fine, 0.0) + self._unit
        self.coarse[coarse] = self.coarse.get(coarse, 0.0) + self._unit
        self.total += self._unit
        if self._unit > UNIT_MAX:
            self._rescale()
        if len(self.keys) > BINS_KEPT_MAX:
            self._forget_the_lightest()

    def memory(self) -> GapMemory:
        """What is in it, in gaps of today."""
        unit = self._unit
        return GapMemory(
            fine={key: count / unit for key, count in self.counts.items()},
            coarse={key: count / unit for key, count in self.coarse.items()},
            total=self.total / unit,
        )

    @classmethod
    def recalled(cls, grid: Grid, memory: GapMemory) -> GapHistogram:
        """One that holds what another held on the same grid. Raises `ValueError` for bins not on it."""
        if any(key >= len(grid.fine_edges_s) for key in memory.fine) or any(
            key >= len(grid.coarse_edges_s) for key in memory.coarse
        ):
            raise ValueError("the gaps are of another grid")
        gaps = cls(grid)
        gaps.counts, gaps.coarse = dict(memory.fine), dict(memory.coarse)
        gaps.keys, gaps.total = sorted(memory.fine), memory.total
        while len(gaps.keys) > BINS_KEPT_MAX:
            gaps._forget_the_lightest()
        return gaps

    def weight(self, stored: float) -> float:
        """A stored count in gaps of today."""
        return stored / self._unit

    def key_after(self, fine: int) -> int | None:
        """The first bin from `fine` on that holds something."""
        index = bisect_left(self.keys, fine)
        return self.keys[index] if index < len(self.keys) else None

    def _rescale(self) -> None:
        self.counts = {key: count / self._unit for key, count in self.counts.items()}
        self.coarse = {key: count / self._unit for key, count in self.coarse.items()}
        self.total /= self._unit
        self._unit = 1.0

    def _forget_the_lightest(self) -> None:
        # Its coarse bin still remembers it.
        lightest = min(self.keys, key=self.counts.__getitem__)
        self.keys.remove(lightest)
        del self.counts[lightest]
