"""Do two forms of a model give the same outputs? Random inputs through both, for several sizes of batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from lambent.runtimes.adapters.predictor import Array, Outputs, Predictor, TensorSpec

# Two correct float32 implementations differ in the order of their sums, by far less than this.
ABSOLUTE: Final = 1e-4
RELATIVE: Final = 1e-3
BATCHES: Final = (1, 2, 7)
# For a dimension that is free: most models take the first, some convolutions need more room.
FREE_SIZES: Final = (8, 32, 64)
SEED: Final = 20_170_301


class Disagreement(ValueError):
    """The two forms do not give the same outputs, or cannot be compared."""


def difference(given: Predictor, other: Predictor) -> float:
    """The largest absolute difference seen. Raises `Disagreement` where one is out of tolerance.

    Inputs go by position and so do outputs, since a conversion may rename both.
    """
    free = free_size(given)
    random = np.random.default_rng(SEED)
    worst = 0.0
    for batch in BATCHES:
        inputs = [_random(spec, batch, free, random) for spec in given.inputs]
        wanted, got = _run(given, inputs), _run(other, inputs)
        if len(wanted) != len(got):
            raise Disagreement(f"it has {len(got)} outputs where {len(wanted)} were expected")
        worst = max(worst, *(_apart(a, b, batch) for a, b in zip(wanted, got, strict=True)))
    return worst


def free_size(given: Predictor) -> int:
    """The first size of free dimensions that the model takes, found by calling it. Raises `Disagreement`."""
    said = ""
    for size in FREE_SIZES:
        random = np.random.default_rng(SEED)
        try:
            _run(given, [_random(spec, 1, size, random) for spec in given.inputs])
        except Exception as error:  # noqa: BLE001 - each framework has its own errors; the last one is told
            said = str(error)
        else:
            return size
    raise Disagreement(f"the model takes no random input: {said}")


def _random(spec: TensorSpec, batch: int, free: int, random: np.random.Generator) -> Array:
    first, *rest = spec.shape or (None, None)
    shape = (batch if first is None else first, *(free if size is None else size for size in rest))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.kind in "biu":
        # Whole numbers are mostly indices, and every table has a row 0 and a row 1.
        return random.integers(0, 2, shape).astype(dtype)
    raise Disagreement(f"input {spec.name!r} is of {spec.dtype}, for which there is no random value")


def _run(predictor: Predictor, inputs: Sequence[Array]) -> list[Array]:
    outputs: Outputs = predictor.run(inputs)
    return [*outputs.values()] if isinstance(outputs, dict) else [outputs]


def _apart(wanted: Array, got: Array, batch: int) -> float:
    if wanted.shape != got.shape:
        raise Disagreement(f"an output has shape {got.shape} where {wanted.shape} was expected")
    if wanted.dtype.kind not in "biuf":
        raise Disagreement(f"an output is of {wanted.dtype}, which is not compared")
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    apart = float(np.nanmax(np.abs(a - b), initial=0.0))
    if not np.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
        raise Disagreement(f"outputs differ by up to {apart:.3g} in a batch of {batch}")
    return apart
