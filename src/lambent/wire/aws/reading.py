"""Requests of AWS's clients into types, and what does not fit into AWS's words.

msgspec says what is wrong and where; AWS says it in sentences that programs match on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from lambent.wire.aws.faults import Fault
from lambent.wire.typed import from_json

T = TypeVar("T")

AT: Final = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`\Z")
STEP: Final = re.compile(r"\.(?P<name>\w+)|\[(?P<place>\d+|\.\.\.)\]")
NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
# What AWS says of bounds, by msgspec's names of them and in AWS's order, and what msgspec says.
BOUND_NAMES: Final[Mapping[str, str]] = {
    "max_length": "Member must have length less than or equal to {}",
    "min_length": "Member must have length greater than or equal to {}",
    "le": "Member must have value less than or equal to {}",
    "ge": "Member must have value greater than or equal to {}",
}
BOUNDS: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (re.compile(r"Expected `\w+` >= (.+)"), BOUND_NAMES["ge"]),
    (re.compile(r"Expected `\w+` <= (.+)"), BOUND_NAMES["le"]),
    (re.compile(r"Expected `\w+` of length >= (\d+)"), BOUND_NAMES["min_length"]),
    (re.compile(r"Expected `\w+` of length <= (\d+)"), BOUND_NAMES["max_length"]),
)
PATTERN: Final = re.compile(r"Expected `str` matching regex (['\"])(?P<pattern>.*)\1", re.DOTALL)
MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
VALUE_SHOWN_MAX: Final = 1000


def read(body: bytes, kind: type[T]) -> T:
    """The request in a body, which may be empty. Raises `Fault` that says what does not fit."""
    try:
        return from_json(body or b"{}", kind)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), body, kind) from error
    except UNREADABLE as error:
        raise unserialised(f"Could not parse request body into json: {error}") from error


def unserialised(what: str) -> Fault:
    """What is no JSON, or JSON of another type."""
    return Fault("SerializationException", 400, what)


def violated(member: str, value: object, constraint: str) -> Fault:
    """One value that is outside of its bounds. Also known as `invalid`, for values that are not text."""
    shown = "null" if value is None else f"'{_shown(value)}'"
    what = f"Value {shown} at '{member}' failed to satisfy constraint: {constraint}"
    return Fault("ValidationException", 400, f"1 validation error detected: {what}", extra={})


class Query:
    """The values of a query. What does not fit raises `Fault`."""

    def __init__(self, query: Mapping[str, Sequence[str]]) -> None:
        self._query: Final = query

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        """A value, empty where there is none."""
        value = self._query.get(name, ("",))[-1]
        if value and pattern and not pattern.fullmatch(value):
            said = f"Member must satisfy regular expression pattern: {pattern.pattern}"
            raise violated(_camel(name), value, said)
        return value

    def word(self, name: str, words: Sequence[str]) -> str:
        """One of a few words, or nothing."""
        value = self.text(name)
        if value and value not in words:
            raise violated(_camel(name), value, _one_of(words))
        return value

    def number(self, name: str, default: int, *, most: int) -> int:
        """A whole number from 1 to `most`."""
        text = self.text(name)
        if not text:
            return default
        if not NUMBER.fullmatch(text):
            raise unserialised(f"'{text[:100]}' can not be converted to an Integer")
        number = int(text)
        if number < 1:
            raise violated(_camel(name), number, "Member must have value greater than or equal to 1")
        if number > most:
            raise violated(_camel(name), number, f"Member must have value less than or equal to {most}")
        return number

    def all(self, name: str) -> Sequence[str]:
        """Every value of a name."""
        return self._query.get(name, ())


def page(
    items: Sequence[T], query: Query, *, key: Callable[[T], str], most: int = 50, asked_most: int = 10_000
) -> tuple[Sequence[T], str | None]:
    """The part of `items` that a list operation was asked for, and the marker of the next, if there is one.

    A marker is the key of the last item of the page before: what is made or removed meanwhile moves nothing.
    """
    size = min(query.number("MaxItems", most, most=asked_most), most)
    marker = query.text("Marker")
    keys = [key(item) for item in items]
    start = keys.index(marker) + 1 if marker in keys else sum(one <= marker for one in keys)
    part = items[start : start + size]
    return part, keys[start + size - 1] if start + size < len(items) else None


def _misfit(said: str, body: bytes, kind: type) -> Fault:
    found = AT.search(said)
    steps = list(STEP.finditer(found["path"])) if found else []
    what = said[: found.start()] if found else said
    try:
        sent = msgspec.json.decode(body or b"{}")
    except UNREADABLE as error:  # msgspec stops at the first that does not fit, and reads no further
        return unserialised(f"Could not parse request body into json: {error}")
    at = _member(steps)
    if missing := MISSING.match(what):
        return violated(_joined(at, missing[1]), None, "Member must not be null")
    of = _type_at(inspect.type_info(kind), steps, is_key=bool(found and found["key"]))
    every = _constraints(of, _words(kind, steps))
    if constraint := _constraint(what, every):
        if found and found["key"]:
            return violated(at, _value(sent, steps), f"Map keys {_listed(every)}")
        if steps and steps[-1]["place"]:
            whose = "Map value" if steps[-1]["place"] == "..." else "Member"
            said = _listed([*every, "Member must not be null"])
            return violated(at, _typed(_value(sent, steps[:-1]), of), f"{whose} {said}")
        return violated(at, _value(sent, steps), constraint)
    return unserialised(what.replace("`", "") + (f" at '{at}'" if at else ""))


def _listed(constraints: Sequence[str]) -> str:
    """Of what lies in a list or a map AWS says all that it must be."""
    return f"must satisfy constraint: [{', '.join(constraints)}]"


def _constraint(what: str, every: Sequence[str]) -> str:
    for pattern, text in BOUNDS:
        if bound := pattern.fullmatch(what):
            return text.format(bound[1])
    if PATTERN.fullmatch(what) or what.startswith("Invalid enum value"):
        return every[-1]
    return ""


def _constraints(of: inspect.Type, words: Sequence[str]) -> list[str]:
    """All that is asked of a value, in AWS's order. `words` are those of an enum."""
    found: list[str] = []
    for name, text in BOUND_NAMES.items():
        if (bound := getattr(of, name, None)) is not None:
            found.append(text.format(bound))
    if (pattern := getattr(of, "pattern", None)) is not None:
        found.append(f"Member must satisfy regular expression pattern: {pattern[4:-3]}")
    if isinstance(of, inspect.LiteralType):
        found.append(_one_of(words))
    return found


def _type_at(of: inspect.Type, steps: Sequence[re.Match[str]], *, is_key: bool) -> inspect.Type:
    """The type of the value that a path leads to; of a key, that of the map's keys."""
    if isinstance(of, inspect.UnionType):
        return _type_at(
            next(one for one in of.types if not isinstance(one, inspect.NoneType)), steps, is_key=is_key
        )
    if not steps:
        return of.key_type if is_key and isinstance(of, inspect.DictType) else of
    match of:
        case inspect.StructType():
            inner = next(one.type for one in of.fields if one.encode_name == steps[0]["name"])
        case inspect.ListType():
            inner = of.item_type
        case inspect.DictType():
            inner = of.value_type
        case _:
            return of
    return _type_at(inner, steps[1:], is_key=is_key)


def _typed(value: object, of: inspect.Type) -> object:
    """A map of numbers as numbers of their own kind."""
    if isinstance(of, inspect.FloatType) and isinstance(value, dict):
        return {key: float(one) if isinstance(one, int) else one for key, one in value.items()}
    return value


def _words(kind: Any, steps: Sequence[re.Match[str]]) -> Sequence[str]:
    """The words of an enum, in their order, found by following a path through the type."""
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return [str(word) for word in inner]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        names = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
        name = names.get(steps[0]["name"] or "") if steps else None
        return _words(get_type_hints(kind)[name], steps[1:]) if name else ()
    if steps and get_origin(kind) in (list, dict):
        return _words(inner[-1], steps[1:])
    return next((words for one in inner if (words := _words(one, steps))), ())


def _value(value: Any, steps: Sequence[re.Match[str]]) -> object:
    for step in steps:
        if step["name"] and isinstance(value, dict):
            value = value.get(step["name"])
        elif step["place"] and step["place"] != "..." and isinstance(value, list):
            value = value[int(step["place"])]
    return value


def _member(steps: Sequence[re.Match[str]]) -> str:
    return ".".join(_camel(step["name"]) for step in steps if step["name"])


def _joined(above: str, name: str) -> str:
    return f"{above}.{_camel(name)}" if above else _camel(name)


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _one_of(words: Sequence[str]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(words)}]"


def _shown(value: object) -> str:
    match value:
        case list():
            text = f"[{', '.join(_shown(one) for one in value)}]"
        case dict():
            text = "{" + ", ".join(f"{key}={_shown(one)}" for key, one in value.items()) + "}"
        case _:
            text = str(value)
    return text[:VALUE_SHOWN_MAX]
