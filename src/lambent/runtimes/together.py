"""Calls of a model that run as one: their inputs are laid end to end, and the result is cut where they met.

The first dimension of whatever a call brings are its rows: a list, an array, or an object of such. Only calls
of one form go together, the same names and the same shape of a row. A result that cannot be cut into as many
rows as came in says that the code looks at its input as a whole; then each call runs by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

Ended = list[object]  # of each call a result, or the exception that its code raised

DEPTH_MAX: Final = 16


class Whole(ValueError):
    """A value that has no rows, or a result that cannot be cut."""


def in_groups(
    values: Sequence[object],
    form: Callable[[Any], Hashable],
    run: Callable[[Sequence[Any]], Sequence[object]],
) -> Ended:
    """What `run` makes of all values of one form at once, in the order in which they came.

    Where it raises, each of them runs by itself, so that one that is bad fails alone. Of a value that has no
    form, that is its own error.
    """
    ended: Ended = [None] * len(values)
    groups: dict[Hashable, list[int]] = {}
    for place, value in enumerate(values):
        if isinstance(value, BaseException):
            ended[place] = value
            continue
        try:
            groups.setdefault(form(value), []).append(place)
        except Whole:
            groups[object()] = [place]
    for places in groups.values():
        for place, one in zip(places, _ran([values[place] for place in places], run), strict=True):
            ended[place] = one
    return ended


def predicted(predict: Callable[[Any], object], values: Sequence[object]) -> Sequence[object]:
    """What a function of rows makes of several values of one form. Raises `Whole`, and what it raises."""
    if len(values) == 1:
        return [predict(values[0])]
    return cut(predict(joined(values)), [rows_of(value) for value in values])


def form_of(value: object, depth: int = 0) -> Hashable:
    """What calls that go together have in common. Raises `Whole`."""
    if isinstance(value, Mapping):
        if not value:
            raise Whole("an object without names has no rows")
        return tuple((name, form_of(value[name], depth)) for name in sorted(value))
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return (str(value.dtype), tuple(value.shape[1:]))
    if not isinstance(value, list) or not value or depth:
        raise Whole(f"a {type(value).__name__} has no rows")
    return _row_form(value[0], 1)


def rows_of(value: object) -> int:
    """How many rows a value brings. Raises `Whole` where its parts differ in that."""
    if isinstance(value, Mapping):
        counts = {rows_of(part) for part in value.values()}
        if len(counts) != 1:
            raise Whole("its parts have different numbers of rows")
        return counts.pop()
    try:
        return len(value)  # type: ignore[arg-type]  # whatever has a form has a length
    except TypeError as error:
        raise Whole(f"a {type(value).__name__} has no rows") from error


def joined(values: Sequence[Any]) -> object:
    """The rows of all, in order. All have one form."""
    first = values[0]
    if isinstance(first, Mapping):
        return {name: joined([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [row for value in values for row in value]
    import numpy as np

    return np.concatenate(values)


def cut(result: object, counts: Sequence[int]) -> Sequence[object]:
    """The result for each call that brought so many rows. Raises `Whole`."""
    if isinstance(result, Mapping):
        parts = {name: cut(part, counts) for name, part in result.items()}
        return [{name: part[place] for name, part in parts.items()} for place in range(len(counts))]
    is_rows = isinstance(result, list | tuple) or bool(getattr(result, "shape", ()))
    if not is_rows or rows_of(result) != sum(counts):
        raise Whole(f"a {type(result).__name__} cannot be cut into {sum(counts)} rows")
    return list(_slices(result, counts))


def _slices(rows: Any, counts: Sequence[int]) -> Iterable[object]:
    start = 0
    for count in counts:
        yield rows[start : start + count]
        start += count


def _ran(values: Sequence[object], run: Callable[[Sequence[Any]], Sequence[object]]) -> Sequence[object]:
    try:
        return run(values)
    except Exception as error:  # noqa: BLE001 - around user code, which may raise anything
        if len(values) == 1:
            return [error]
    return [one for value in values for one in _ran([value], run)]


def _row_form(row: object, depth: int) -> Hashable:
    """The shape of a row, as far as its first elements show it."""
    if isinstance(row, list) and depth < DEPTH_MAX:
        return (len(row), _row_form(row[0], depth + 1) if row else None)
    if isinstance(row, Mapping):
        return tuple((name, _row_form(row[name], depth + 1)) for name in sorted(row))
    return "number" if isinstance(row, int | float) else type(row).__name__
