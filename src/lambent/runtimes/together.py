"""Calls of a model that run as one: their inputs are laid end to end, and the result is cut where they met.

The first dimension of whatever a call brings are its rows: a list, an array, or an object of such. Only calls
of one form go together, the same names and the same shape of a row. What of a result belongs to whom is known
by its rows alone, so there must be as many as came in. That is seen of one call by itself before the first
batch of a form: code that looks at its input as a whole gives something else, a class for all or a list of
labels, and its calls run one by one from then on. Nobody gets a part of another's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

Run = Callable[[Any], object]

DEPTH_MAX: Final = 16
FORMS_MAX: Final = 256  # that are remembered; of more, the oldest are learnt anew
STRIKES_MAX: Final = 3  # batches in a row that failed though each of their calls went well alone

WHOLE: Final = 0


class Whole(ValueError):
    """A value that has no rows, or a result that cannot be cut."""


class Proof(StrEnum):
    """What a call by itself says of batches of its form."""

    ROWS = "rows"  # as many rows came out as went in
    WHOLE = "whole"  # something else came out
    OPEN = "open"  # this one does not tell


Proves = Callable[[Any, object], Proof]


def by_rows(value: object, result: object) -> Proof:
    """By the number of rows, which is all that can be seen of code."""
    try:
        cut(result, [rows_of(value)])
    except Whole:
        return Proof.WHOLE
    return Proof.ROWS


class Forms:
    """What is known of each form of input: whether, and from how many rows on, results can be cut.

    No more than `rows_max` run as one, but for a call that alone brings more.
    """

    __slots__ = ("_proven", "_strikes", "rows_max")

    def __init__(self, rows_max: int) -> None:
        self.rows_max: Final = rows_max
        self._proven: Final[dict[Hashable, int]] = {}
        self._strikes: Final[dict[Hashable, int]] = {}

    def is_whole(self, form: Hashable) -> bool:
        """Whether its calls run one by one."""
        return self._proven.get(form) == WHOLE

    def is_proven(self, form: Hashable, rows: int) -> bool:
        """Whether a call of so few rows, alone, was seen to give so many."""
        proven = self._proven.get(form, WHOLE)
        return WHOLE < proven <= rows

    def prove(self, form: Hashable, rows: int) -> None:
        """Say so."""
        self._put(form, min(rows, self._proven.get(form) or rows))

    def give_up(self, form: Hashable) -> None:
        """Its calls run one by one from now on."""
        self._put(form, WHOLE)

    def strike(self, form: Hashable) -> None:
        """A batch failed whose calls all went well alone. Once may be chance."""
        self._strikes[form] = self._strikes.get(form, 0) + 1
        if self._strikes[form] >= STRIKES_MAX:
            self.give_up(form)

    def went_well(self, form: Hashable) -> None:
        """A batch could be cut."""
        self._strikes.pop(form, None)

    def _put(self, form: Hashable, rows: int) -> None:
        self._strikes.pop(form, None)
        self._proven.pop(form, None)
        if len(self._proven) >= FORMS_MAX:
            oldest = next(iter(self._proven))
            del self._proven[oldest]
            self._strikes.pop(oldest, None)
        self._proven[form] = rows


def in_groups(
    values: Sequence[object],
    run: Run,
    forms: Forms,
    *,
    proves: Proves = by_rows,
    again: Callable[[int], object] | None = None,
) -> Sequence[object]:
    """What `run` makes of each value, or the exception that it raised for it; values of one form run as one.

    An exception among the values is its own end. Where a batch fails, each of it runs by itself, so that one
    that is bad fails alone: on what `again` says of its place, where `run` may have changed the value.
    """
    ended = list(values)
    groups: dict[Hashable, list[int]] = {}
    for place, value in enumerate(values):
        if isinstance(value, BaseException):
            continue
        try:
            rows_of(value)
            groups.setdefault(form_of(value), []).append(place)
        except Whole:
            ended[place] = _alone(run, value)
    for key, places in groups.items():
        _Group(key, places, run, forms, proves, again or values.__getitem__).run(ended)
    return ended


def form_of(value: object) -> Hashable:
    """What calls that go together have in common. Raises `Whole`."""
    if isinstance(value, Mapping):
        if not value:
            raise Whole("an object without names has no rows")
        return tuple((name, _column_form(value[name])) for name in sorted(value))
    return _column_form(value)


def rows_of(value: object) -> int:
    """How many rows a value brings, one at least. Raises `Whole` where its parts differ in that."""
    parts = [*value.values()] if isinstance(value, Mapping) else [value]
    counts = {len(part) if isinstance(part, list) else _length(part) for part in parts}
    if len(counts) != 1 or 0 in counts:
        raise Whole(f"a {type(value).__name__} of {sorted(counts)} rows")
    return counts.pop()


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
    """The result for each call that brought so many rows. Raises `Whole`.

    A tuple is several results, of which nobody knows whether their rows belong together.
    """
    if isinstance(result, Mapping):
        parts = {name: cut(part, counts) for name, part in result.items()}
        if not parts:
            raise Whole("an object without names has no rows")
        return [{name: part[place] for name, part in parts.items()} for place in range(len(counts))]
    length = len(result) if isinstance(result, list) else _length(result)
    if length != sum(counts):
        raise Whole(f"a {type(result).__name__} cannot be cut into {sum(counts)} rows")
    return list(_slices(result, counts))


class _Group:
    """Calls of one form: `places` among all that came."""

    __slots__ = ("_again", "_form", "_forms", "_places", "_proves", "_run")

    def __init__(
        self,
        form: Hashable,
        places: list[int],
        run: Run,
        forms: Forms,
        proves: Proves,
        again: Callable[[int], Any],
    ) -> None:
        self._form = form
        self._places = places  # of those that have not ended
        self._run = run
        self._forms = forms
        self._proves = proves
        self._again = again

    def run(self, ended: list[object]) -> None:
        """Put into `ended` what came of each; until then its value stands there."""
        self._prove(ended)
        while self._places:
            places = self._next(ended)
            del self._places[: len(places)]
            if len(places) < 2 or self._forms.is_whole(self._form):
                self._one_by_one(places, ended)
            else:
                self._as_one(places, ended)

    def _next(self, ended: list[object]) -> list[int]:
        """As many as have room in one run; one at least."""
        rows = 0
        for count, place in enumerate(self._places):
            rows += rows_of(ended[place])
            if rows > self._forms.rows_max:
                return self._places[: max(1, count)]
        return self._places[:]

    def _as_one(self, places: list[int], ended: list[object]) -> None:
        values = [ended[place] for place in places]
        try:
            parts = cut(self._run(joined(values)), [rows_of(value) for value in values])
        except Whole:
            self._forms.give_up(self._form)
        except Exception as error:  # noqa: BLE001 - around user code, which may raise anything
            self._fetch(places, ended)
            if self._one_by_one(places, ended) and not isinstance(error, MemoryError):
                self._forms.strike(self._form)
            return
        else:
            self._forms.went_well(self._form)
            for place, part in zip(places, parts, strict=True):
                ended[place] = part
            return
        self._fetch(places, ended)
        self._one_by_one(places, ended)

    def _prove(self, ended: list[object]) -> None:
        """Run the smallest by itself, until it is known what becomes of rows; it has to run anyway."""
        while len(self._places) > 1 and not self._forms.is_whole(self._form):
            place = min(self._places, key=lambda place: rows_of(ended[place]))
            rows = rows_of(ended[place])
            if self._forms.is_proven(self._form, rows):
                return
            self._places.remove(place)
            value = ended[place]
            result = ended[place] = _alone(self._run, value)
            if isinstance(result, BaseException):
                continue
            match self._proves(value, result):
                case Proof.ROWS:
                    self._forms.prove(self._form, rows)
                case Proof.WHOLE:
                    self._forms.give_up(self._form)

    def _fetch(self, places: list[int], ended: list[object]) -> None:
        """What they brought, as it was before anything ran on it."""
        for place in places:
            ended[place] = self._again(place)

    def _one_by_one(self, places: list[int], ended: list[object]) -> bool:
        """Run each; whether all went well."""
        for place in places:
            ended[place] = _alone(self._run, ended[place])
        return not any(isinstance(ended[place], BaseException) for place in places)


def _alone(run: Run, value: object) -> object:
    try:
        return run(value)
    except Exception as error:  # noqa: BLE001 - around user code, which may raise anything
        return error


def _length(value: object) -> int:
    """The first dimension of an array. Raises `Whole`."""
    shape = getattr(value, "shape", ())
    if not shape:
        raise Whole(f"a {type(value).__name__} has no rows")
    return int(shape[0])


def _slices(rows: Any, counts: Sequence[int]) -> Iterable[object]:
    start = 0
    for count in counts:
        yield rows[start : start + count]
        start += count


def _column_form(value: object) -> Hashable:
    if isinstance(value, list) and value:
        return _row_form(value[0], 1)
    if shape := getattr(value, "shape", ()):
        return (str(getattr(value, "dtype", "")), tuple(shape[1:]))
    raise Whole(f"a {type(value).__name__} has no rows")


def _row_form(row: object, depth: int) -> Hashable:
    """The shape of a row, as far as its first elements show it."""
    if depth >= DEPTH_MAX:
        return "deep"
    if isinstance(row, list):
        return (len(row), _row_form(row[0], depth + 1) if row else None)
    if isinstance(row, Mapping):
        return tuple((name, _row_form(row[name], depth + 1)) for name in sorted(row))
    return "number" if isinstance(row, int | float) else type(row).__name__
