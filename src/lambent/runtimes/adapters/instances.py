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
from functools import partial
from typing import Final, cast

import msgspec
import numpy as np

from lambent.runtimes.adapters.agreement import ABSOLUTE, RELATIVE
from lambent.runtimes.adapters.exchange import Named
from lambent.runtimes.adapters.predictor import Array, Outputs, Predictor
from lambent.runtimes.faults import Fault
from lambent.runtimes.tensors.exchange import bad
from lambent.runtimes.together import Forms, Proof, cut, in_groups, joined, rows_of

FORMS: Final = 'expected {"instances": [...]}, {"inputs": ...} or a list of instances'


class Asked(msgspec.Struct, frozen=True):
    """What a body asks for: the value for the model, and the key and form of the answer.

    Without a key the answer is what the model gives.
    """

    value: object
    key: str
    as_rows: bool


def answer(predictor: Predictor, inputs: object) -> Mapping[str, object]:
    """What the model says to a decoded body. Raises `ValueError` or `Fault` that says what was expected."""
    asked = _asked(inputs)
    if asked.value is None:
        return {asked.key: []}
    return _told(predictor, asked, predictor.run(_arrays(predictor, asked)))


def answer_together(predictor: Predictor, bodies: Sequence[object], forms: Forms) -> Sequence[object]:
    """What the model says to each of several bodies, or what is wrong with it; those alike run as one."""
    asked = [_prepared(predictor, body) for body in bodies]
    running = [one for one in asked if isinstance(one, Asked) and one.value is not None]
    free = all(spec.shape is None or spec.shape[:1] == (None,) for spec in predictor.inputs)
    ended = iter(
        in_groups(
            [one.value for one in running],
            partial(_run, predictor),
            forms,
            proves=partial(_by_values, predictor),
        )
        if free  # a batch of a fixed size is the caller's own
        else [_alone(predictor, one) for one in running]
    )
    return [
        one
        if isinstance(one, BaseException)
        else {one.key: []}
        if one.value is None
        else _ending(predictor, one, next(ended))
        for one in asked
    ]


def _prepared(predictor: Predictor, body: object) -> Asked | BaseException:
    """What a body asks for, its value as arrays by the names of the inputs; or what is wrong with it."""
    try:
        if isinstance(body, BaseException):
            return body
        asked = _asked(body)
        if asked.value is None:
            return asked
        arrays = _arrays(predictor, asked)
    except (ValueError, Fault) as error:
        return error
    names = [spec.name for spec in predictor.inputs]
    return msgspec.structs.replace(asked, value=dict(zip(names, arrays, strict=True)))


def _arrays(predictor: Predictor, asked: Asked) -> Sequence[Array]:
    """The model's inputs. Who sends tensors has said their types, and hears whose fault it is."""
    try:
        return predictor.arrays(asked.value)
    except ValueError as error:
        if asked.key:
            raise
        raise bad(str(error)) from error


def _run(predictor: Predictor, arrays: Mapping[str, Array]) -> Outputs:
    return predictor.run([arrays[spec.name] for spec in predictor.inputs])


def _by_values(predictor: Predictor, arrays: Mapping[str, Array], outputs: object) -> Proof:
    """Whether company changes what comes out: not every first dimension that is free is that of a batch.

    Its company, a row before and one behind, is its own turned round: values that the model surely takes.
    """
    company = {name: np.flip(array)[:1] for name, array in arrays.items()}
    if all(np.array_equal(array[:1], company[name]) for name, array in arrays.items()):
        return Proof.OPEN
    try:
        batch = cast(Mapping[str, Array], joined([company, arrays, company]))
        _, among, _ = cut(_run(predictor, batch), [1, rows_of(arrays), 1])
    except Exception:  # noqa: BLE001 - as above; a model that takes no batches is no error
        return Proof.WHOLE
    alike = [_is_alike(one, other) for one, other in zip(_listed(outputs), _listed(among), strict=True)]
    return Proof.ROWS if all(alike) else Proof.WHOLE


def _listed(outputs: object) -> Sequence[Array]:
    return [*outputs.values()] if isinstance(outputs, dict) else [cast(Array, outputs)]


def _is_alike(one: Array, other: Array) -> bool:
    if one.dtype.kind not in "biufc":
        return np.array_equal(one, other)
    return one.shape == other.shape and np.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True)


def _alone(predictor: Predictor, asked: Asked) -> object:
    try:
        return _run(predictor, cast(Mapping[str, Array], asked.value))
    except Exception as error:  # noqa: BLE001 - frameworks have errors of their own, with no common one
        return error


def _ending(predictor: Predictor, asked: Asked, end: object) -> object:
    if isinstance(end, BaseException):
        return end
    try:
        return _told(predictor, asked, cast(Outputs, end))
    except ValueError as error:
        return error


def _asked(inputs: object) -> Asked:
    if isinstance(inputs, Named):
        return Asked(inputs.arrays, "", as_rows=False)
    if isinstance(inputs, list):
        return _rows_asked(inputs)
    if isinstance(inputs, np.ndarray):
        return Asked(inputs if inputs.size else None, "predictions", as_rows=True)
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


def _told(predictor: Predictor, asked: Asked, outputs: Outputs) -> Mapping[str, object]:
    if not asked.key:
        return {**outputs} if isinstance(outputs, dict) else {predictor.outputs[0]: outputs}
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
