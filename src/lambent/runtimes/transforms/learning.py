"""A transform and the data that it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.runtimes.datasets.dataset import Dataset
from lambent.runtimes.datasets.sources import Batch
from lambent.runtimes.transforms.steps import transform_of
from lambent.wire.transforms import Step

PIECE_ITEMS: Final = 1024


def complete(step: Step, dataset: Dataset) -> Step:
    """The step with what it is applied to and what it learnt. Raises `ValueError`."""
    transform = transform_of(step.name)
    first = next(dataset.pieces(PIECE_ITEMS), None)
    if first is None:
        raise ValueError(f"{dataset.name}@{dataset.version} is empty: there is nothing to learn from")
    inputs = step.inputs or tuple(transform.inputs(first, step.options))
    if missing := [name for name in inputs if name not in first]:
        raise ValueError(f"there is no {missing[0]!r} to transform; there is {', '.join(first)}")
    found = msgspec.structs.replace(step, inputs=tuple(inputs))

    def batches() -> Iterator[Batch]:
        return dataset.pieces(PIECE_ITEMS)

    learnt = transform.learnt(batches, found)
    return msgspec.structs.replace(found, statistics=learnt)
