"""Standardise: numbers minus their mean, divided by their standard deviation.

Both are summed up batch by batch in double precision (Chan, Golub and LeVeque, "Updating Formulae and a
Pairwise Algorithm for Computing Sample Variances", 1979), so that no array has to be in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from lambent.runtimes.transforms.steps import Values, known_options
from lambent.wire.transforms import Step

PER: Final = ("feature", "all")


def inputs(values: Mapping[str, Any], _: Mapping[str, Any]) -> Sequence[str]:
    """Every value that is a number with a fraction; whole numbers may be labels, and have to be named."""
    found = [name for name, value in values.items() if np.asarray(value).dtype.kind == "f"]
    if not found:
        raise ValueError(f"name what is to be standardised: inputs=[...], of {', '.join(values)}")
    return found


def learnt(batches: Callable[[], Iterable[Values]], step: Step) -> dict[str, Any]:
    """Mean and deviation of each feature, or of all together, which is usual for what has 3 dimensions."""
    known_options(step.options, "per")
    per = step.options.get("per")
    if per not in (None, *PER):
        raise ValueError(f"per={per!r} is neither of {', '.join(PER)}")
    sums = {name: _Moments() for name in step.inputs}
    for batch in batches():
        for name, moments in sums.items():
            array = _numbers(name, batch[name])
            whole = per == "all" or (per is None and array.ndim > 2)
            moments.add(array.reshape(-1) if whole else array)
    return {name: moments.told() for name, moments in sums.items()}


def applied(step: Step, values: Values) -> Values:
    """As 32-bit numbers, computed with 64 bits."""
    return {name: _applied(step.statistics[name], name, values[name]) for name in step.inputs}


def asked(value: object) -> object:
    """As it is: the same is done to one item as to many."""
    return value


class _Moments:
    """Count, mean and sum of squared deviations of each feature. What is no number (NaN) is not counted."""

    def __init__(self) -> None:
        self._count: Any = 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, rows: Any) -> None:
        there = ~np.isnan(rows)
        count = there.sum(axis=0)
        least = np.maximum(count, 1)
        mean = np.where(there, rows, 0.0).sum(axis=0) / least
        squares = (np.where(there, rows - mean, 0.0) ** 2).sum(axis=0)
        both = np.maximum(self._count + count, 1)
        apart = mean - self._mean
        self._squares = self._squares + squares + apart**2 * self._count * count / both
        self._mean = self._mean + apart * count / both
        self._count = self._count + count

    def told(self) -> dict[str, Any]:
        deviation = np.sqrt(self._squares / np.maximum(self._count, 1))
        # What is always the same stays 0, instead of being divided by nothing.
        deviation = np.where(deviation > 0, deviation, 1.0)
        return {"mean": np.asarray(self._mean).tolist(), "deviation": deviation.tolist()}


def _numbers(name: str, value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name!r} cannot be standardised: it is no number, but {array.dtype}")
    return array.astype(np.float64)


def _applied(told: Mapping[str, Any], name: str, value: Any) -> Any:
    array, mean = _numbers(name, value), np.asarray(told["mean"])
    if mean.ndim and array.shape[-mean.ndim :] != mean.shape:
        raise ValueError(f"{name!r} has shape {array.shape}; each item of it was of shape {mean.shape}")
    return ((array - mean) / np.asarray(told["deviation"])).astype(np.float32)
