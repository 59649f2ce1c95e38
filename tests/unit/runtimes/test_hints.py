"""The schema of a function's event is read off its hint and its docstring, and never stops a deploy."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from lambent.runtimes.hints import schema_text


class Pair(TypedDict):
    a: int
    b: NotRequired[list[str]]


@dataclasses.dataclass
class Node:
    x: float
    next: Node | None = None


class Counted(msgspec.Struct):
    n: Annotated[int, msgspec.Meta(ge=0, description="how many")]


class Question(pydantic.BaseModel):
    text: str


def pair(event: Pair, context: object) -> None:
    """Adds.

    And more.
    """


def node(event: Node, context: object) -> None: ...
def counted(event: Counted) -> None: ...
def question(event: Question, context: object) -> None: ...
def numbers(event: dict[str, int], context: object) -> None: ...
def rows(event: list[int], context: object) -> None: ...
def unknown(event: Missing, context: object) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - not there on purpose
def plain(event, context): ...  # type: ignore[no-untyped-def]  # as most handlers are written
def nothing() -> None: ...


class Called:
    def __call__(self, event: Pair, context: object) -> None: ...


def told(function: object) -> Any:
    return json.loads(schema_text(function))


def test_a_typed_dict_says_its_keys_and_the_docstring_what_it_is_for() -> None:
    schema = told(pair)
    assert (schema["type"], schema["required"]) == ("object", ["a"])
    assert schema["properties"] == {
        "a": {"type": "integer"},
        "b": {"type": "array", "items": {"type": "string"}},
    }
    assert schema["description"] == "Adds.\n\nAnd more."
    assert told(Called())["required"] == ["a"]


def test_dataclasses_structs_and_models_of_pydantic_say_their_fields() -> None:
    assert told(node)["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/Node"}
    assert told(node)["$defs"]["Node"]["required"] == ["x"]
    assert told(counted)["properties"]["n"] == {"description": "how many", "type": "integer", "minimum": 0}
    assert told(question)["properties"]["text"]["type"] == "string"
    assert told(numbers)["additionalProperties"] == {"type": "integer"}


@pytest.mark.parametrize("function", [rows, unknown, plain, nothing, len, object(), print])
def test_what_says_nothing_of_an_object_is_not_known(function: object) -> None:
    text = schema_text(function)
    assert text == "" or json.loads(text).keys() == {"type", "description"}
