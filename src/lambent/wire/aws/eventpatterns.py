"""Event patterns, by which event source mappings and rules choose events.

A pattern is a JSON object of the event's own form whose leaves are lists of alternatives: values, or
conditions such as `{"prefix": "a"}`. Every member of the pattern has to match, of each list one.
Source: Amazon EventBridge User Guide, "Comparison operators for use in event patterns"; AWS Lambda Developer
Guide, "Control which events Lambda sends to your function".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from lambent.wire.typed import from_json

Matches = Callable[[object], bool]

DEPTH_MAX: Final = 20
ALTERNATIVES_MAX: Final = 1000
ABSENT: Final = object()
COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": lambda one, other: one == other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


class BadPattern(ValueError):
    """It is no event pattern."""


def read_pattern(text: str) -> Matches:
    """What tells whether an event, as values of JSON, matches. Raises `BadPattern`."""
    try:
        pattern = from_json(text, dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadPattern(f"the pattern is no JSON object: {error}") from error
    return _object(pattern, 0)


def _object(pattern: Mapping[str, Any], depth: int) -> Matches:
    if depth > DEPTH_MAX:
        raise BadPattern("it is nested too deeply")
    parts: list[Matches] = []
    for name, wanted in pattern.items():
        if name == "$or" and isinstance(wanted, list):
            parts.append(_any_of(wanted, depth))
        else:
            parts.append(_member(name, _of(name, wanted, depth)))
    return lambda event: all(part(event) for part in parts)


def _of(name: str, wanted: object, depth: int) -> Matches:
    match wanted:
        case dict():
            inside = _object(wanted, depth + 1)
            return lambda value: any(isinstance(one, dict) and inside(one) for one in _each(value))
        case list() if 0 < len(wanted) <= ALTERNATIVES_MAX:
            return _leaf(wanted)
    raise BadPattern(f"{name!r} has to be an object or a list of alternatives")


def _member(name: str, inside: Matches) -> Matches:
    return lambda event: inside(event.get(name, ABSENT) if isinstance(event, dict) else ABSENT)


def _any_of(patterns: Sequence[Any], depth: int) -> Matches:
    if not patterns or not all(isinstance(one, dict) for one in patterns):
        raise BadPattern("'$or' has to be a list of objects")
    parts = [_object(one, depth + 1) for one in patterns]
    return lambda event: any(part(event) for part in parts)


def _leaf(alternatives: Sequence[object]) -> Matches:
    parts = [_alternative(one) for one in alternatives]
    return lambda value: any(part(value) for part in parts)


def _alternative(wanted: object) -> Matches:
    if not isinstance(wanted, dict):
        if isinstance(wanted, list):
            raise BadPattern("a list of alternatives holds values and conditions")
        return _anywhere(lambda value: _same(value, wanted))
    if len(wanted) != 1:
        raise BadPattern("a condition has one operator")
    [(operator, told)] = wanted.items()
    if operator == "exists":
        if not isinstance(told, bool):
            raise BadPattern("'exists' is true or false")
        return lambda value: (value is not ABSENT) is told
    return _anywhere(_condition(operator, told))


def _condition(operator: str, told: object) -> Matches:
    match operator, told:
        case "prefix" | "suffix" | "wildcard" | "equals-ignore-case", str():
            return _text(operator, told)
        case "prefix" | "suffix", {"equals-ignore-case": str(inner)}:
            folded = _text(operator, inner.casefold())
            return lambda value: isinstance(value, str) and folded(value.casefold())
        case "anything-but", _:
            return _anything_but(told)
        case "numeric", list():
            return _numeric(told)
        case "cidr", str():
            return _cidr(told)
    raise BadPattern(f"{operator!r} is no operator with such a value")


def _text(operator: str, told: str) -> Matches:
    match operator:
        case "prefix":
            return lambda value: isinstance(value, str) and value.startswith(told)
        case "suffix":
            return lambda value: isinstance(value, str) and value.endswith(told)
        case "wildcard":
            return lambda value: isinstance(value, str) and _fits(value, told.split("*"))
    folded = told.casefold()
    return lambda value: isinstance(value, str) and value.casefold() == folded


def _fits(text: str, parts: Sequence[str]) -> bool:
    """Whether the parts follow one another in a text, with anything between them."""
    if len(parts) == 1:
        return text == parts[0]
    if not text.startswith(parts[0]) or not text[len(parts[0]) :].endswith(parts[-1]):
        return False
    at, end = len(parts[0]), len(text) - len(parts[-1])
    for part in parts[1:-1]:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _anything_but(told: object) -> Matches:
    if isinstance(told, dict):
        inner = _alternative(told)
        return lambda value: value is not ABSENT and not inner(value)
    others = told if isinstance(told, list) else [told]
    return lambda value: value is not ABSENT and not any(_same(value, other) for other in others)


def _numeric(told: Sequence[object]) -> Matches:
    pairs = [*zip(told[::2], told[1::2], strict=False)]
    if not told or len(told) % 2:
        raise BadPattern("'numeric' is a list of operators and numbers")
    checks: list[tuple[Callable[[float, float], bool], float]] = []
    for operator, number in pairs:
        if not isinstance(operator, str) or operator not in COMPARISONS or not _is_number(number):
            raise BadPattern("'numeric' is a list of operators and numbers")
        assert isinstance(number, int | float)
        checks.append((COMPARISONS[operator], number))

    def holds(value: object) -> bool:
        return (
            isinstance(value, int | float)
            and _is_number(value)
            and all(compare(value, number) for compare, number in checks)
        )

    return holds


def _cidr(told: str) -> Matches:
    try:
        network = ipaddress.ip_network(told, strict=False)
    except ValueError as error:
        raise BadPattern(f"{told!r} is no range of addresses") from error

    def holds(value: object) -> bool:
        try:
            return isinstance(value, str) and ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return holds


def _anywhere(part: Matches) -> Matches:
    """Of a value that is a list, one has to match."""
    return lambda value: any(part(one) for one in _each(value))


def _each(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _same(value: object, wanted: object) -> bool:
    return value == wanted and isinstance(value, bool) is isinstance(wanted, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
