"""The JSON that a model without code takes and gives: TensorFlow Serving's row and column forms.

    {"instances": [row, ...]}         → {"predictions": [row, ...]}
    [row, ...]                        → {"predictions": [row, ...]}
    {"inputs": tensor}                → {"outputs": tensor}
    {"inputs": {"name": tensor, ...}} → {"outputs": ...}

A row of a model with several inputs is an object by input name. Several outputs come as an object by output
name, in each row or as a whole. One instance may be given without its list where its shape tells that it is
one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Final, cast

import msgspec
import numpy as np

from lambent.runtimes.adapters.predictor import Array, Outputs, Predictor
from lambent.runtimes.together import Whole, cut, in_groups, rows_of

FORMS: Final = 'expected {"instances": [...]}, {"inputs": ...} or a list of instances'


class Asked(msgspec.Struct, frozen=True):
    """What a body asks for: the value for the model, and the key and form of the answer."""

    value: object
    key: str
    as_rows: bool


def answer(predictor: Predictor, inputs: object) -> Mapping[str, object]:
    """What the model says to a decoded body. Raises `ValueError` that says what was expected."""
    asked = _asked(inputs)
    if asked.value is None:
        return {asked.key: []}
    return _told(asked, predictor(asked.value))


def answer_together(predictor: Predictor, bodies: Sequence[object]) -> Sequence[object]:
    """What the model says to each of several bodies, run as one where their shapes allow it."""

    def form(body: object) -> Hashable:
        asked = _asked(body)
        if asked.value is None:
            raise Whole("it brings no rows")
        # The arrays are made again when it runs: to see their shapes is cheap beside a model worth a batch.
        return tuple((array.dtype.str, array.shape[1:]) for array in predictor.arrays(asked.value))

    def run(alike: Sequence[object]) -> Sequence[object]:
        asked = [_asked(body) for body in alike]
        if len(alike) == 1:
            return [answer(predictor, alike[0])]
        arrays = [predictor.arrays(one.value) for one in asked]
        counts = [rows_of(one[0]) for one in arrays]
        outputs = predictor.run([np.concatenate(column) for column in zip(*arrays, strict=True)])
        return [_told(one, part) for one, part in zip(asked, _cut(outputs, counts), strict=True)]

    return in_groups(bodies, form, run)


def _cut(outputs: Outputs, counts: Sequence[int]) -> Sequence[Outputs]:
    return cast(Sequence[Outputs], cut(outputs, counts))


def _asked(inputs: object) -> Asked:
    if isinstance(inputs, list):
        return _rows_asked(inputs)
    if not isinstance(inputs, dict):
        raise ValueError(f"the body is a {type(inputs).__name__}; {FORMS}")
    if "instances" in inputs:
        instances = inputs["instances"]
        if not isinstance(instances, list):
            raise ValueError(f'"instances" is a {type(instances).__name__}; expected a list')
        return _rows_asked(instances)
    if "inputs" in inputs:
        return Asked(inputs["inputs"], "outputs", as_rows=False)
    raise ValueError(f"the body has the keys {sorted(inputs)}; {FORMS}")


def _rows_asked(instances: Sequence[object]) -> Asked:
    return Asked(_columns(instances) if instances else None, "predictions", as_rows=True)


def _told(asked: Asked, outputs: Outputs) -> Mapping[str, object]:
    return {asked.key: _rows(outputs) if asked.as_rows else outputs}


def _columns(instances: Sequence[object]) -> object:
    """Rows by name as columns by name; other rows as they are."""
    first = instances[0]
    if not isinstance(first, dict):
        return instances
    for instance in instances:
        if not isinstance(instance, dict) or instance.keys() != first.keys():
            raise ValueError(f"instances differ in their names: the first has {sorted(first)}")
    return {name: [row[name] for row in instances if isinstance(row, dict)] for name in first}


def _rows(outputs: Outputs) -> object:
    """One output is a list of rows already; several are turned from columns by name to rows by name."""
    if not isinstance(outputs, dict):
        return outputs
    columns: list[tuple[str, Array]] = [*outputs.items()]
    lengths = {len(column) if column.ndim else -1 for _, column in columns}
    if len(lengths) != 1 or -1 in lengths:
        raise ValueError('the outputs do not all have a row for each instance: ask with {"inputs": ...}')
    return [{name: column[row] for name, column in columns} for row in range(lengths.pop())]
