"""How long a batch of so many rows takes: the table L(rows), learnt from every batch that ran.

The curve is kept at a few sizes, the knots 1, 2, 3, 4, 6, 8, 12, …, and is a straight line between two of
them. Each knot holds two numbers, the median and a high quantile, which walk towards what is seen: up by τ of
a step when a batch took longer, down by 1 − τ when it did not (Robbins and Monro, 1951). With the lines
between the knots that is the quantile regression of Clipper (NSDI'17, section 4.3) without its assumption of
one straight line. An outlier is one step, however far out it lies.

A machine that changes its speed changes all sizes at once, those also that are not seen now. Nine batches in
a row on one side of their medians happen by chance once in 256 times; then the whole curve is scaled.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import exp, inf
from statistics import median
from typing import Final

ROWS_MAX: Final = 65_536
KNOTS: Final[Sequence[int]] = (1, *sorted({2**n for n in range(1, 17)} | {3 * 2**n for n in range(15)}))

QUANTILE: Final = 0.9  # what `tail_s` is
TRIES: Final = 4  # the first batches of a size count as the fastest of them: what runs first warms up
TAIL_FIRST: Final = 1.2  # the tail over the median while a size is new
STEP_MIN: Final = 0.02  # of the logarithm, of run times
STEP_FIRST: Final = 0.5
SEEN_MAX: Final = 1000.0
RUN_LENGTH: Final = 9  # batches on one side of their medians that are a change of speed
SPEED_RATIO: Final = 1.2  # less than that is left to the walks
STALE_BATCHES: Final = 400  # a size that was not tried for so many batches is learnt anew
GROUPS_MAX: Final = 64
SHORTEST_S: Final = 1e-6  # what is less was not measured


class LatencyTable:
    """L(rows) of one model for inputs of one shape. Constant memory; 0 everywhere until something was seen.

    `batches` counts what was observed. All sizes are rows, all times seconds.
    """

    __slots__ = ("_last", "_mids", "_ratios", "_seen", "_sizes", "_tails", "batches")

    def __init__(self) -> None:
        self.batches = 0
        # Of the knots that are known, in the order of their sizes:
        self._sizes: list[int] = []
        self._mids: list[float] = []
        self._tails: list[float] = []
        self._seen: list[float] = []  # how many batches it was learnt from
        self._last: list[int] = []  # the number of the last of them
        self._ratios: list[float] = []  # measured over expected: the run of late on one side of 1

    def mid_s(self, rows: int) -> float:
        """The median run of a batch of so many rows."""
        if self._sizes and rows > self._sizes[-1]:
            return self._hoped_s(rows)
        return self._at(self._mids, rows)

    def tail_s(self, rows: int) -> float:
        """What nine of ten runs of a batch of so many rows keep within."""
        return self._at(self._tails, rows)

    def known(self) -> tuple[Sequence[int], Sequence[float], Sequence[float], Sequence[float]]:
        """The curve as it stands: sizes, medians, tails, and how often each was seen. Only to read."""
        return self._sizes, self._mids, self._tails, self._seen

    def stale(self, rows: int) -> bool:
        """Whether a size was not tried for so long that another try would be news."""
        place = bisect_left(self._sizes, rows)
        if place == len(self._sizes) or self._sizes[place] != rows:
            return True
        return self.batches - self._last[place] > STALE_BATCHES

    def observe(self, rows: int, run_s: float) -> None:
        """A batch of so many rows took so long. Raises `ValueError` for what cannot be."""
        if not 1 <= rows <= ROWS_MAX or not 0 < run_s < inf:
            raise ValueError(f"{rows} rows in {run_s} s is no batch")
        self.batches += 1
        expected_s, settled = self.mid_s(rows), True
        upper = bisect_left(KNOTS, rows)
        if KNOTS[upper] == rows:
            settled = self._learn(rows, run_s, 1.0)
        else:
            low, high = KNOTS[upper - 1], KNOTS[upper]
            share = (rows - low) / (high - low)
            # What the batch says of a knot: as much longer or shorter as it was itself. Of one that is not
            # known, no more than that more rows take longer and none gets cheaper.
            low_s, high_s = run_s, run_s * high / rows
            if expected_s:
                low_s = run_s * self.mid_s(low) / expected_s
                high_s = run_s * self.mid_s(high) / expected_s
            settled = self._learn(low, low_s, 1 - share)
            settled &= self._learn(high, high_s, share)
        if settled:
            self._notice_speed(run_s / expected_s)

    def _hoped_s(self, rows: int) -> float:
        """Of a size larger than all known: the last gain goes on; of one alone, half may be shared."""
        sizes, mids = self._sizes, self._mids
        slope_s = (
            (mids[-1] - mids[-2]) / (sizes[-1] - sizes[-2]) if len(sizes) > 1 else 0.5 * mids[-1] / sizes[-1]
        )
        return mids[-1] + slope_s * (rows - sizes[-1])

    def _at(self, values: Sequence[float], rows: int) -> float:
        sizes = self._sizes
        place = bisect_left(sizes, rows)
        if place == len(sizes):
            # Larger than all: no gain is assumed from what was not seen.
            return values[-1] * rows / sizes[-1] if sizes else 0.0
        if sizes[place] == rows or place == 0:
            return values[place]
        low, high = sizes[place - 1], sizes[place]
        return values[place - 1] + (values[place] - values[place - 1]) * (rows - low) / (high - low)

    def _learn(self, knot: int, run_s: float, weight: float) -> bool:
        """One more batch for a knot; whether enough was known of it to have expected something."""
        place = bisect_left(self._sizes, knot)
        if place == len(self._sizes) or self._sizes[place] != knot:
            if place:
                # One slow run, of a machine that was busy elsewhere, would keep all from being tried again:
                # until more is known, a size costs no more than it would without any gain.
                run_s = min(run_s, self._mids[place - 1] * knot / self._sizes[place - 1])
            self._sizes.insert(place, knot)
            self._mids.insert(place, run_s)
            self._tails.insert(place, run_s * TAIL_FIRST)
            self._seen.insert(place, 0.0)
            self._last.insert(place, self.batches)
        seen = self._seen[place]
        if self.batches - self._last[place] > STALE_BATCHES:
            self._put(place, run_s, run_s * self._tails[place] / self._mids[place])
            seen = 0.0
        elif seen < TRIES:
            fastest_s = min(self._mids[place], run_s)
            self._put(place, fastest_s, fastest_s * TAIL_FIRST)
        else:
            self._walk(place, run_s, weight * max(STEP_MIN, STEP_FIRST / seen))
        self._seen[place] = min(SEEN_MAX, seen + weight)
        self._last[place] = self.batches
        return seen >= 2 * TRIES

    def _walk(self, place: int, run_s: float, step: float) -> None:
        mid_s, tail_s = self._mids[place], self._tails[place]
        mid_s *= exp(step * (0.5 if run_s > mid_s else -0.5))
        tail_s *= exp(step * (QUANTILE if run_s > tail_s else QUANTILE - 1))
        self._put(place, mid_s, max(mid_s, tail_s))

    def _put(self, place: int, mid_s: float, tail_s: float) -> None:
        """New values of a knot. More rows never take less: of two that contradict, the newest is right."""
        for values, value in ((self._mids, mid_s), (self._tails, tail_s)):
            values[place] = value
            below, above = place - 1, place + 1
            while below >= 0 and values[below] > value:
                values[below] = value
                below -= 1
            while above < len(values) and values[above] < value:
                values[above] = value
                above += 1

    def _notice_speed(self, ratio: float) -> None:
        """Scale the whole curve once all of the last batches were slower, or faster, than they used to be."""
        if self._ratios and (ratio > 1) != (self._ratios[-1] > 1):
            self._ratios.clear()
        self._ratios.append(ratio)
        if len(self._ratios) < RUN_LENGTH:
            return
        factor = median(self._ratios)
        self._ratios.clear()
        if not 1 / SPEED_RATIO < factor < SPEED_RATIO:
            self._mids = [value * factor for value in self._mids]
            self._tails = [value * factor for value in self._tails]


class Tail:
    """What nine of ten of some times keep within; 0 until one was seen. Walks as the knots of a table do."""

    __slots__ = ("_seen", "_tail_s")

    def __init__(self) -> None:
        self._seen = 0
        self._tail_s = 0.0

    @property
    def tail_s(self) -> float:
        """Seconds."""
        return self._tail_s

    def observe(self, took_s: float) -> None:
        """It took so long once more; times that are no times at all are passed over."""
        if not SHORTEST_S < took_s < inf:
            return
        self._seen += 1
        if self._seen <= TRIES:
            self._tail_s = min(self._tail_s or inf, took_s)
        else:
            step = max(STEP_MIN, STEP_FIRST / (self._seen - TRIES))
            self._tail_s *= exp(step * (QUANTILE if took_s > self._tail_s else QUANTILE - 1))


class LatencyTables:
    """A table for each group of inputs. Bounded: the group that was asked for longest ago is forgotten."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[str, LatencyTable] = {}

    def of(self, group: str) -> LatencyTable:
        """The group's table, an empty one for a group that is new."""
        table = self._tables.pop(group, None)
        if table is None:
            table = LatencyTable()
            if len(self._tables) >= GROUPS_MAX:
                del self._tables[next(iter(self._tables))]
        self._tables[group] = table
        return table
