"""What was learnt, applied: to batches of a dataset, and to what a model is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from lambent.runtimes.transforms.steps import Values, transform_of
from lambent.wire.rows import BadData
from lambent.wire.transforms import TRANSFORM_FILE, Chain, Step
from lambent.wire.typed import from_json


def step_applied(step: Step, values: Values) -> Values:
    """A batch after a step. What it does not take stays. Raises `ValueError`."""
    if missing := [name for name in step.inputs if name not in values]:
        raise ValueError(f"there is no {missing[0]!r}; there is {', '.join(values)}")
    made = transform_of(step.name).applied(step, values)
    rest = {name: value for name, value in values.items() if name not in step.inputs}
    return {**rest, **(together(step, made) if step.output else made)}


def together(step: Step, made: Values) -> Values:
    """Several values as one: columns side by side."""
    columns = [np.atleast_1d(made[name]) for name in step.inputs]
    if len(columns) == 1:
        return {step.output: columns[0]}
    wide = [column[:, np.newaxis] if column.ndim == 1 else column for column in columns]
    return {step.output: np.concatenate(wide, axis=1)}


def chain_of(folder: Path) -> Chain | None:
    """What goes with a model, `None` where nothing does. Raises `BadData` where it cannot be read."""
    home = folder / TRANSFORM_FILE
    if not home.exists():
        return None
    try:
        return from_json(home.read_bytes(), Chain)
    except (OSError, msgspec.DecodeError) as error:
        raise BadData(f"{TRANSFORM_FILE} cannot be read: {error}") from error


def for_model(chain: Chain, names: Sequence[str]) -> Callable[[object], object]:
    """From raw inputs, as a caller gives them, to those of the model whose inputs have these names.

    Raises `BadData` where a function that they go through is not there.
    """
    for step in chain.steps:
        if step.code:
            from lambent.runtimes.transforms.calling import function_of

            function_of(step.code)

    def transformed(raw: object) -> object:
        first = chain.steps[0]
        given = _named(first, raw)
        kind = transform_of(first.name)
        values = {**given, **{name: kind.asked(given[name]) for name in first.inputs if name in given}}
        for step in chain.steps:
            values = step_applied(step, values)
        if len(names) <= 1 and len(values) == 1:
            return next(iter(values.values()))
        if missing := [name for name in names if name not in values]:
            raise ValueError(f"the model takes {missing[0]!r}, and its transform makes {', '.join(values)}")
        return {name: values[name] for name in names} if names else values

    return transformed if chain.steps else lambda raw: raw


def _named(first: Step, raw: object) -> Values:
    """Raw inputs by the names that the first step knows: one value, columns by name, or columns in a row."""
    if isinstance(raw, Mapping):
        if len(raw) == 1 and len(first.inputs) == 1 and first.inputs[0] not in raw:
            return {first.inputs[0]: next(iter(raw.values()))}  # as the model calls it
        if first.inputs[0] in raw:
            return dict(raw)
        [raw] = raw.values() if len(raw) == 1 else [raw]
    if len(first.inputs) == 1:
        return {first.inputs[0]: raw}
    rows = np.asarray(raw)
    rows = rows[np.newaxis] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != len(first.inputs):
        told = f"{', '.join(first.inputs[:8])}{', …' if len(first.inputs) > 8 else ''}"
        raise ValueError(f"a row has {len(first.inputs)} values ({told}); the input is of shape {rows.shape}")
    return {name: rows[:, place] for place, name in enumerate(first.inputs)}
