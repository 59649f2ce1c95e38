"""What a function's event looks like: a JSON Schema, from its first parameter's hint and its docstring."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any, Final, get_type_hints

import msgspec

from lambent.core.schemas import TEXT_BYTES_MAX

ANYTHING: Final[Mapping[str, Any]] = {"type": "object"}
DOC_CHARACTERS_MAX: Final = 4096
REFERENCE: Final = "#/$defs/"


def schema_text(function: object) -> str:
    """The schema as JSON, empty where nothing is known. What the docstring says is its description."""
    schema = dict(_schema(function))
    doc = getattr(function, "__doc__", None) if inspect.isroutine(function) else None
    if isinstance(doc, str) and doc.strip():
        schema["description"] = inspect.cleandoc(doc)[:DOC_CHARACTERS_MAX].encode("utf-8", "replace").decode()
    if schema == ANYTHING:
        return ""
    text = msgspec.json.encode(schema).decode()
    return text if len(text.encode()) <= TEXT_BYTES_MAX else ""


def _schema(function: object) -> Mapping[str, Any]:
    try:
        called = function if inspect.isroutine(function) else type(function).__call__
        first = next(name for name in inspect.signature(called).parameters if name != "self")
        hint = get_type_hints(inspect.unwrap(called), include_extras=True)[first]
        return _of_object(_of_hint(hint))
    except Exception:  # noqa: BLE001 - hints are expressions of the user's: whatever they raise, nothing is known
        return ANYTHING


def _of_hint(hint: Any) -> Mapping[str, Any]:
    """Raises whatever msgspec or pydantic raise for what they do not know."""
    if callable(of_model := getattr(hint, "model_json_schema", None)):
        told: Mapping[str, Any] = of_model()
        return told
    try:
        return msgspec.json.schema(hint)
    except TypeError:
        pydantic = sys.modules.get("pydantic")  # its models may lie inside other types
        if pydantic is None:
            raise
        adapted: Mapping[str, Any] = pydantic.TypeAdapter(hint).json_schema()
        return adapted


def _of_object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """With `type: object` at its top, as tools want it; anything where it is of something else."""
    reference, defs = schema.get("$ref", ""), dict(schema.get("$defs", {}))
    if reference.startswith(REFERENCE):
        schema = {**defs[reference.removeprefix(REFERENCE)], "$defs": defs}
    if b'"$ref"' not in msgspec.json.encode(schema):
        schema = {key: value for key, value in schema.items() if key != "$defs"}
    if schema.get("type") == "object":
        return schema
    choices = schema.get("anyOf", ())
    return (
        {"type": "object", **schema}
        if choices and all(_is_object(one, defs) for one in choices)
        else ANYTHING
    )


def _is_object(choice: Mapping[str, Any], defs: Mapping[str, Mapping[str, Any]]) -> bool:
    told = defs.get(choice.get("$ref", "").removeprefix(REFERENCE), choice)
    return told.get("type") == "object"
