"""JSON Schemas of events: what does not fit is told in one line, and no schema takes long."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.core.errors import InvalidSpec
from lambent.core.schemas import STEPS_MAX, TEXT_BYTES_MAX, fault_of, read

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 1, "exclusiveMaximum": 10},
        "name": {"type": ["string", "null"], "maxLength": 3},
        "kind": {"enum": ["a", 1]},
        "list": {"type": "array", "items": {"$ref": "#/$defs/pair"}, "minItems": 1},
        "either": {"anyOf": [{"type": "boolean"}, {"const": "auto"}]},
        "first": {"prefixItems": [{"type": "string"}], "items": False},
    },
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"pair": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"n": 1}, ""),
        ({"n": 2.0, "name": None, "kind": 1, "list": [{"x": 1}], "either": "auto", "first": ["a"]}, ""),
        ({}, "n is missing"),
        ({"n": "1"}, "n is a string, expected integer"),
        ({"n": 1.5}, "n is a number, expected integer"),
        ({"n": True}, "n is a boolean, expected integer"),
        ({"n": 0}, "n is 0, expected at least 1"),
        ({"n": 10}, "n is 10, expected less than 10"),
        ({"n": 1, "name": "long"}, "name has 4 characters, expected at most 3"),
        ({"n": 1, "name": 1}, "name is a number, expected string or null"),
        ({"n": 1, "kind": True}, "kind is none of 'a', 1"),
        ({"n": 1, "list": []}, "list has 0 items, expected at least 1"),
        ({"n": 1, "list": [{"x": 1}, {}]}, "list[1].x is missing"),
        ({"n": 1, "either": 1}, "either is a number, expected boolean or either is not 'auto'"),
        ({"n": 1, "first": ["a", "b"]}, "first[1] is not allowed"),
        ({"n": 1, "m": 1}, "m is not known; known: n, name, kind, list, either, first"),
        ([], "the value is an array, expected object"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(value: object, fault: str) -> None:
    assert fault_of(value, SCHEMA) == fault


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    assert fault_of(1, {"$ref": "#"}) == ""
    nested: Any = 1
    for _ in range(60):
        nested = [nested]
    twice = {"anyOf": [{"items": {"$ref": "#"}, "minItems": 2}, {"items": {"$ref": "#"}, "minItems": 2}]}
    assert fault_of(nested, {**twice, "type": "array"}) != fault_of([1] * (2 * STEPS_MAX), {"items": {}})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"type": "array"}', '{"x": "' + "x" * TEXT_BYTES_MAX + '"}']
)
def test_what_is_no_schema_of_an_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="schema"):
        read(text)
    assert read("{}") == {"type": "object"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
words = st.sampled_from(
    ["$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "required", "items",
     "prefixItems", "additionalProperties", "minimum", "maxLength", "minItems", "#", "object", "array", "x"]
)  # fmt: skip
schemas = st.recursive(
    words | st.booleans() | st.integers(-3, 3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=30,
)


@settings(deadline=None)
@given(value=values, schema=st.dictionaries(words, schemas, max_size=8))
def test_any_schema_says_something_of_any_value(value: object, schema: dict[str, Any]) -> None:
    assert isinstance(fault_of(value, schema), str)
    assert fault_of(math.nan, {"type": "integer"}) != ""
