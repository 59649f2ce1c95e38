"""Curves of metrics in bounded memory: many points go in, at most a thousand evenly spread ones are kept.

A curve keeps every n-th point, n being its stride, and the very last one beside them. When it is full, every
other kept point goes and the stride doubles: however many come, each costs O(1), the first and the last are
exact, and what is kept lies evenly over all of them. Nothing is averaged: what is shown was logged as it is.

Two of them stand in a row. The worker's takes what user code logs; what it has kept since it was last asked
goes as a `Batch` to the server's, which keeps of that by the same rule. A million points cost the way between
them some six thousand.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

POINTS_MAX: Final = 1000  # of one curve
POINTS_MIN: Final = 16
RUN_POINTS_MAX: Final = 100_000  # of all curves of a run: where there are many, each has fewer
NAMES_MAX: Final = 1000
NAME_CHARS_MAX: Final = 100
BATCH_POINTS_MAX: Final = 5000
STEP_MAX: Final = 2**63 - 1  # what 64 bits hold

Whole = Annotated[int, msgspec.Meta(ge=-STEP_MAX, le=STEP_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=STEP_MAX)]
Stride = Annotated[int, msgspec.Meta(ge=1, le=STEP_MAX)]


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Points of one metric on their way: `values[i]` is of `steps[i]`, as number `first + i * stride`.

    Numbers count from 0 in the worker that logs them, so that a `first` of 0 says that a worker begins.
    `last_step` and `last_value` are of its newest point; `skipped` is how many values since the batch before
    were not finite.
    """

    first: Count
    stride: Stride
    steps: list[Whole]
    values: list[float]
    last_step: Whole
    last_value: float
    skipped: Count = 0


class Points(msgspec.Struct, frozen=True):
    """A curve as a value: what was logged at each of `steps`, the first and the last of all included.

    Between two of them up to `stride` - 1 others were logged. `skipped` counts values that were not finite.
    """

    steps: list[int]
    values: list[float]
    unix_ms: list[int]
    stride: int = 1
    skipped: int = 0


class Curve:
    """One metric."""

    __slots__ = (
        "_count", "_kept_max", "_last_ms", "_last_step", "_last_value", "_next", "_seen", "_skipped",
        "_skipped_sent", "_steps", "_stride", "_taken", "_times", "_values",
    )  # fmt: skip

    def __init__(self, points_max: int = POINTS_MAX, *, first_step: int = 0) -> None:
        self._steps = array("q")
        self._values = array("d")
        self._times = array("q")  # unix_ms of each
        self._stride = 1
        self._kept_max = _kept(points_max)
        self._next = 0  # the number of the next point to keep
        self._count = 0  # points seen
        self._last_step, self._last_value, self._last_ms = first_step - 1, 0.0, 0
        self._skipped = 0
        self._taken = 0  # how many of those kept are on their way
        self._seen = 0  # of `_count`, as of the last batch
        self._skipped_sent = 0

    @classmethod
    def of(cls, points: Points, points_max: int = POINTS_MAX) -> Curve:
        """The curve that `points` are of."""
        curve = cls(max(points_max, len(points.steps) + 2))
        curve._steps, curve._values = array("q", points.steps), array("d", points.values)
        curve._times = array("q", points.unix_ms)
        curve._stride, curve._skipped = points.stride, points.skipped
        curve._to_last_kept()
        curve.limit(points_max)
        return curve

    @property
    def next_step(self) -> int:
        """The step after the last one."""
        return min(self._last_step + 1, STEP_MAX)

    def add(self, step: int, value: float, unix_ms: int = 0) -> None:
        """Take the next point. `value` is finite, `step` fits 64 bits."""
        number = self._count
        self._count = number + 1
        self._last_step, self._last_value, self._last_ms = step, value, unix_ms
        if number >= self._next:
            self._keep(number, step, value, unix_ms)

    def skip(self) -> None:
        """Count a value that is not finite."""
        self._skipped += 1

    def merge(self, batch: Batch, unix_ms: int) -> None:
        """Take what another curve kept. A worker that begins replaces all from its first step on."""
        if batch.first == 0:
            self.rewind(batch.steps[0] if batch.steps else batch.last_step)
        while self._stride < batch.stride:
            self._thin()  # or what is there would lie closer than what comes
        for index, (step, value) in enumerate(zip(batch.steps, batch.values, strict=False)):
            number = batch.first + index * batch.stride
            if number >= self._next:
                self._keep(number, step, value, unix_ms)
        self._last_step, self._last_value, self._last_ms = batch.last_step, batch.last_value, unix_ms
        self._skipped += batch.skipped

    def rewind(self, step: int) -> None:
        """Forget what was logged for `step` and later ones; the points that come are numbered from 0."""
        kept = [index for index, at in enumerate(self._steps) if at < step]
        if len(kept) < len(self._steps):
            self._pick(kept)
        if self._last_step >= step:
            self._to_last_kept()
        if not kept:
            self._stride = 1
        self._next = self._count = 0

    def limit(self, points_max: int) -> None:
        """Have at most so many points from now on."""
        self._kept_max = _kept(points_max)
        while len(self._steps) > self._kept_max:
            self._thin()

    def take(self, points_max: int = BATCH_POINTS_MAX) -> Batch | None:
        """What came since the last time, at most so many kept points at once; None where nothing did."""
        if self._taken == len(self._steps) and (self._seen, self._skipped_sent) == (
            self._count,
            self._skipped,
        ):
            return None
        first, upto = self._taken, min(len(self._steps), self._taken + max(1, points_max))
        is_all = upto == len(self._steps)
        batch = Batch(
            first=first * self._stride,
            stride=self._stride,
            steps=self._steps[first:upto].tolist(),
            values=self._values[first:upto].tolist(),
            last_step=self._last_step if is_all else self._steps[upto - 1],
            last_value=self._last_value if is_all else self._values[upto - 1],
            skipped=self._skipped - self._skipped_sent,
        )
        self._taken, self._seen, self._skipped_sent = upto, self._count, self._skipped
        return batch

    def points(self) -> Points:
        """It as a value."""
        steps, values, times = self._steps.tolist(), self._values.tolist(), self._times.tolist()
        if steps and (steps[-1], values[-1]) != (self._last_step, self._last_value):
            steps.append(self._last_step)
            values.append(self._last_value)
            times.append(self._last_ms)
        return Points(steps, values, times, self._stride, self._skipped)

    def _keep(self, number: int, step: int, value: float, unix_ms: int) -> None:
        # Of an even number the last one goes, so that the one that comes is as far from its neighbour as all.
        if len(self._steps) >= self._kept_max:
            self._thin()
        self._steps.append(step)
        self._values.append(value)
        self._times.append(unix_ms)
        self._next = number + self._stride

    def _thin(self) -> None:
        if len(self._steps) % 2:
            self._next += self._stride  # the last one stays
        self._steps, self._values, self._times = self._steps[::2], self._values[::2], self._times[::2]
        self._taken = (self._taken + 1) // 2
        self._stride *= 2

    def _pick(self, kept: list[int]) -> None:
        self._steps = array("q", [self._steps[index] for index in kept])
        self._values = array("d", [self._values[index] for index in kept])
        self._times = array("q", [self._times[index] for index in kept])
        self._taken = min(self._taken, len(kept))

    def _to_last_kept(self) -> None:
        self._last_step, self._last_value, self._last_ms = (
            (self._steps[-1], self._values[-1], self._times[-1]) if self._steps else (-1, 0.0, 0)
        )


class Series:
    """The curves of a run: at most `NAMES_MAX`, with `RUN_POINTS_MAX` points in all. Not safe for threads.

    What is logged without a step has the one after the last of its metric; the first of all is that which
    `next_steps` has, or 0.
    """

    def __init__(self, next_steps: Mapping[str, int] | None = None) -> None:
        self._curves: Final[dict[str, Curve]] = {}
        self._first_steps: Final = dict(next_steps or {})
        self._points_max = POINTS_MAX

    @classmethod
    def of(cls, curves: Mapping[str, Points]) -> Series:
        """The series that `curves` are of."""
        series = cls()
        for name, points in curves.items():
            if len(series._curves) < NAMES_MAX:
                series._curves[name] = Curve.of(points)
        series._share()
        return series

    def __bool__(self) -> bool:
        return bool(self._curves)

    def add(self, name: str, value: float, step: int | None = None, unix_ms: int = 0) -> None:
        """Take a value, finite, at a step, or at the one after the last. One name too many is passed over."""
        curve = self._curve(name)
        if curve is not None:
            curve.add(curve.next_step if step is None else step, value, unix_ms)

    def skip(self, name: str) -> None:
        """Count a value that is not finite."""
        curve = self._curve(name)
        if curve is not None:
            curve.skip()

    def next_steps(self) -> dict[str, int]:
        """For each metric the step that it would be logged with next, unless another is given."""
        return {**self._first_steps, **{name: curve.next_step for name, curve in self._curves.items()}}

    def take(self, points_max: int = BATCH_POINTS_MAX) -> dict[str, Batch]:
        """What came since the last time, some `points_max` points at the most; empty where nothing did."""
        taken: dict[str, Batch] = {}
        left = points_max
        for name, curve in self._curves.items():
            if left <= 0:
                break
            batch = curve.take(left)
            if batch is not None:
                taken[name] = batch
                left -= len(batch.steps) + 1
        return taken

    def merge(self, batches: Mapping[str, Batch], unix_ms: int) -> None:
        """Take what a worker's series has given."""
        for name, batch in batches.items():
            curve = self._curve(name)
            if curve is not None:
                curve.merge(batch, unix_ms)

    def points(self) -> dict[str, Points]:
        """All curves as values."""
        return {name: curve.points() for name, curve in self._curves.items()}

    def _curve(self, name: str) -> Curve | None:
        found = self._curves.get(name) or self._curves.get(name[:NAME_CHARS_MAX])
        if found is None and len(self._curves) < NAMES_MAX:
            found = self._curves[name[:NAME_CHARS_MAX]] = Curve(
                self._points_max, first_step=self._first_steps.get(name[:NAME_CHARS_MAX], 0)
            )
            self._share()
        return found

    def _share(self) -> None:
        points_max = max(POINTS_MIN, min(POINTS_MAX, RUN_POINTS_MAX // max(1, len(self._curves))))
        if points_max < self._points_max:
            self._points_max = points_max
            for curve in self._curves.values():
                curve.limit(points_max)


def _kept(points_max: int) -> int:
    """How many of so many points are kept by their number: the last one is beside them. Even."""
    return max(2, (points_max - 1) & ~1)
