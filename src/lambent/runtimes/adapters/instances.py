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

from collections.abc import Mapping, Sequence
from typing import Final

from lambent.runtimes.adapters.predictor import Array, Outputs, Predictor

FORMS: Final = 'expected {"instances": [...]}, {"inputs": ...} or a list of instances'


def answer(predictor: Predictor, inputs: object) -> Mapping[str, object]:
    """What the model says to a decoded body. Raises `ValueError` that says what was expected."""
    if isinstance(inputs, list):
        return {"predictions": _predictions(predictor, inputs)}
    if not isinstance(inputs, dict):
        raise ValueError(f"the body is a {type(inputs).__name__}; {FORMS}")
    if "instances" in inputs:
        instances = inputs["instances"]
        if not isinstance(instances, list):
            raise ValueError(f'"instances" is a {type(instances).__name__}; expected a list')
        return {"predictions": _predictions(predictor, instances)}
    if "inputs" in inputs:
        return {"outputs": predictor(inputs["inputs"])}
    raise ValueError(f"the body has the keys {sorted(inputs)}; {FORMS}")


def _predictions(predictor: Predictor, instances: Sequence[object]) -> object:
    return _rows(predictor(_columns(instances))) if instances else []


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
