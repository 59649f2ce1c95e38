"""What V1 makes of a model's answer: rows by name, labels with scores, numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lambent.runtimes.predict_v1.bodies import bad, listed
from lambent.wire.predict_v1 import Verb


def by_row(result: object) -> object:
    """Several outputs by name, of as many rows each, as rows by name; all else as it is."""
    if not isinstance(result, Mapping) or not result:
        return result
    columns = {name: _rows(column) for name, column in result.items()}
    rows = [column for column in columns.values() if column is not None]
    if len(rows) != len(columns) or len({*map(len, rows)}) != 1:
        return result
    return [dict(zip(columns, values, strict=True)) for values in zip(*rows, strict=True)]


def results(verb: Verb, rows: object, labels: Sequence[str]) -> object:
    """Predictions as labels with scores, or as one number each. Raises `Fault` where they are neither."""
    plain = listed(rows)
    if isinstance(plain, Mapping) and "results" in plain:
        return plain["results"]
    found = listed(by_row(plain)) if isinstance(plain, Mapping) else plain
    if not isinstance(found, list):
        raise bad(f"the model's answer is a {type(rows).__name__}, with no row for each example")
    one = partial(_classes, labels=labels) if verb is Verb.CLASSIFY else _number
    return [one(listed(row)) for row in found]


def labels_of(instance: object) -> Sequence[str]:
    """What a class calls the columns of its scores."""
    found = getattr(instance, "labels", ())
    return [str(one) for one in found] if isinstance(found, list | tuple) else ()


def _rows(column: Any) -> Sequence[object] | None:
    return column if isinstance(column, list) or getattr(column, "ndim", None) else None


def _classes(row: object, labels: Sequence[str]) -> object:
    if isinstance(row, Mapping):
        if {*row} == {"classes", "scores"}:
            return _paired(row["classes"], row["scores"])
        return [[str(label), _score(score)] for label, score in row.items()]
    if isinstance(row, str):
        return [[row, 0.0]]
    scores = _several(row)
    if all(isinstance(one, list | tuple) and len(one) == 2 for one in scores):
        return [[str(label), _score(score)] for label, score in scores]
    if labels and len(labels) != len(scores):
        raise bad(f"the model has {len(labels)} labels and gave {len(scores)} scores")
    return [[label, _score(score)] for label, score in zip(labels or [""] * len(scores), scores, strict=True)]


def _paired(classes: object, scores: object) -> object:
    names, values = _several(classes), _several(scores)
    if len(names) != len(values):
        raise bad(f"the model gave {len(names)} classes and {len(values)} scores")
    return [[str(name), _score(value)] for name, value in zip(names, values, strict=True)]


def _several(value: object) -> list[Any]:
    plain = listed(value)
    return plain if isinstance(plain, list) else [plain]


def _number(row: object) -> float:
    one = row[0] if isinstance(row, list) and len(row) == 1 else row
    return _score(one)


def _score(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad(f"the model's answer has a {type(value).__name__} where a number is expected")
    return float(value)
