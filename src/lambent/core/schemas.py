"""Whether a value is what a JSON Schema says, as far as that is cheap to tell.

After JSON Schema 2020-12: types, enumerations, properties, items, bounds and local references. What else a
schema says, such as a pattern, is left to whoever gets the value: this only spares it what is plainly wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lambent.core.errors import InvalidSpec

TEXT_BYTES_MAX: Final = 32 * 1024
# A schema is its owner's and is looked at in the server: after so many looks the value is taken as it is.
STEPS_MAX: Final = 10_000
DEPTH_MAX: Final = 64
SHOWN_MAX: Final = 10

TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "number": (int, float), "integer": (int, float),
}  # fmt: skip

# By what is bounded: numbers, texts, lists.
BOUNDS: Final[Mapping[str, Mapping[str, str]]] = {
    "": {
        "minimum": "at least", "maximum": "at most",
        "exclusiveMinimum": "more than", "exclusiveMaximum": "less than",
    },
    " characters": {"minLength": "at least", "maxLength": "at most"},
    " items": {"minItems": "at least", "maxItems": "at most"},
}  # fmt: skip


def read(text: str) -> Mapping[str, Any]:
    """A schema of an object, as `text` says it in JSON. Raises `InvalidSpec`."""
    if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        raise InvalidSpec(f"schema has more than {TEXT_BYTES_MAX} bytes")
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidSpec(f"schema is not JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise InvalidSpec('schema is a JSON Schema of an object: {"type": "object", "properties": ...}')
    return {"type": "object", **schema}


def fault_of(value: object, schema: Mapping[str, Any]) -> str:
    """What is wrong with `value` in one line; empty where nothing is, or where it takes long to tell."""
    try:
        return _Look(schema).fault(value, schema, "", 0)
    except _Enough:
        return ""


class _Enough(Exception):
    """It takes too long."""


class _Look:
    """One look at one value."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root: Final = root
        self._steps = 0

    def fault(self, value: object, schema: object, path: str, depth: int) -> str:
        self._steps += 1
        if self._steps > STEPS_MAX or depth > DEPTH_MAX:
            raise _Enough
        if schema is False:
            return f"{path or 'the value'} is not allowed"
        if not isinstance(schema, dict):
            return ""
        return (
            _plain(value, schema, path)
            or self._referred(value, schema, path, depth)
            or self._chosen(value, schema, path, depth)
            or self._inside(value, schema, path, depth)
        )

    def _referred(self, value: object, schema: dict[str, Any], path: str, depth: int) -> str:
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return ""
        found: Any = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return self.fault(value, found, path, depth + 1)

    def _chosen(self, value: object, schema: dict[str, Any], path: str, depth: int) -> str:
        for each in _listed(schema, "allOf"):
            if fault := self.fault(value, each, path, depth + 1):
                return fault
        for key in ("anyOf", "oneOf"):
            faults = [self.fault(value, each, path, depth + 1) for each in _listed(schema, key)]
            if faults and all(faults):
                return " or ".join(dict.fromkeys(faults[:SHOWN_MAX]))
        return ""

    def _inside(self, value: object, schema: dict[str, Any], path: str, depth: int) -> str:
        if isinstance(value, dict):
            return self._members(value, schema, path, depth)
        if isinstance(value, list):
            first = _listed(schema, "prefixItems")
            rest = schema.get("items", True)
            for place, one in enumerate(value):
                each = first[place] if place < len(first) else rest
                if fault := self.fault(one, each, f"{path}[{place}]", depth + 1):
                    return fault
        return ""

    def _members(self, value: dict[str, Any], schema: dict[str, Any], path: str, depth: int) -> str:
        missing = [
            name for name in _listed(schema, "required") if isinstance(name, str) and name not in value
        ]
        if missing:
            return f"{_at(path, missing[0])} is missing"
        told = schema.get("properties")
        known: dict[str, Any] = told if isinstance(told, dict) else {}
        # Names by a pattern are not looked at, so that one of them is not taken for one too many.
        rest = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        for name, one in value.items():
            if name not in known and rest is False:
                there = ", ".join([*known][:SHOWN_MAX])
                return f"{_at(path, name[: SHOWN_MAX * 8])} is not known; known: {there or 'nothing'}"
            if fault := self.fault(one, known.get(name, rest), _at(path, name[: SHOWN_MAX * 8]), depth + 1):
                return fault
        return ""


def _plain(value: object, schema: dict[str, Any], path: str) -> str:
    """What can be told without looking inside."""
    where = path or "the value"
    said = schema.get("type")
    types = (
        [said] if isinstance(said, str) else [one for one in _listed(schema, "type") if isinstance(one, str)]
    )
    if types and not any(_is_of(value, one) for one in types):
        return f"{where} is {_type_of(value)}, expected {' or '.join(types)}"
    if (options := _listed(schema, "enum")) and not any(_same(value, one) for one in options):
        return f"{where} is none of {', '.join(repr(one)[:80] for one in options[:SHOWN_MAX])}"
    if "const" in schema and not _same(value, schema["const"]):
        return f"{where} is not {repr(schema['const'])[:80]}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bounds(value, where, "", schema)
    if isinstance(value, str):
        return _bounds(len(value), where, " characters", schema)
    if isinstance(value, list):
        return _bounds(len(value), where, " items", schema)
    return ""


def _bounds(size: float, where: str, unit: str, schema: dict[str, Any]) -> str:
    for key, word in BOUNDS[unit].items():
        bound = schema.get(key)
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            continue
        fits = {
            "at least": size >= bound, "at most": size <= bound,
            "more than": size > bound, "less than": size < bound,
        }  # fmt: skip
        if not fits[word]:
            return f"{where} {'has' if unit else 'is'} {size}{unit}, expected {word} {bound}"
    return ""


def _is_of(value: object, name: str) -> bool:
    if name not in TYPES:
        return True
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[name])


def _type_of(value: object) -> str:
    found = next((name for name in TYPES if _is_of(value, name)), "something else")
    return f"{'an' if found[0] in 'aeiou' else 'a'} {found}" if found != "null" else "null"


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _listed(schema: dict[str, Any], key: str) -> list[Any]:
    found = schema.get(key)
    return found if isinstance(found, list) else []


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
