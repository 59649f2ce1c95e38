"""The Open Inference Protocol over HTTP as OpenAPI describes it: its required API, and what it may answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]

DATATYPES: Final = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip
TEXT: Final[Json] = {"type": "string"}
TEXTS: Final[Json] = {"type": "array", "items": TEXT}
SHAPE: Final[Json] = {"type": "array", "items": {"type": "integer"}}
ANY: Final[Json] = {"type": "object"}
NUMBERS: Final[Json] = {
    "type": "array",
    "items": {"anyOf": [{"type": kind} for kind in ("number", "string", "boolean")]},
}


def shaped(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None) -> Json:
    """An object."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": [*required],
    }


TENSOR: Final = {"name": TEXT, "shape": SHAPE, "datatype": TEXT}
ABOUT: Final[Json] = {"type": "array", "items": shaped(TENSOR)}
INPUT: Final = shaped(
    {**TENSOR, "datatype": {**TEXT, "enum": [*DATATYPES]}, "data": NUMBERS}, {"parameters": ANY}
)
ASKED: Final = shaped(
    {"inputs": {"type": "array", "items": INPUT}},
    {
        "id": TEXT,
        "parameters": ANY,
        "outputs": {"type": "array", "items": shaped({"name": TEXT}, {"parameters": ANY})},
    },
)
ANSWERED: Final = shaped(
    {
        "model_name": TEXT,
        "outputs": {"type": "array", "items": shaped({**TENSOR, "data": {"type": "array"}})},
    },
    {"model_version": TEXT, "id": TEXT, "parameters": ANY},
)
SERVER: Final = shaped({"name": TEXT, "version": TEXT, "extensions": TEXTS})
MODEL: Final = shaped(
    {"name": TEXT, "platform": TEXT}, {"versions": TEXTS, "inputs": ABOUT, "outputs": ABOUT}
)
REFUSED: Final = shaped({"error": TEXT})
READY: Final = shaped({}, {"name": TEXT, "ready": {"type": "boolean"}, "live": {"type": "boolean"}})
REFUSALS: Final = ("400", "401", "404", "405", "413", "415")


def operation(answer: Json, *, body: Json | None = None, key: bool = True) -> Json:
    """One, with its refusals."""
    told = {"200": answer, **dict.fromkeys(REFUSALS, REFUSED)}
    found: Json = {
        "responses": {
            status: {"description": status, "content": {"application/json": {"schema": schema}}}
            for status, schema in told.items()
        },
        "security": [{"key": []}] if key else [],
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def open_inference(names: Sequence[str]) -> Json:
    """The description, for models of these names in any of some versions."""
    model = {"name": "model", "in": "path", "required": True, "schema": {**TEXT, "enum": [*names]}}
    version = {"name": "version", "in": "path", "required": True, "schema": {**TEXT, "enum": ["1", "7", "x"]}}
    paths: Json = {
        "/v2/health/live": {"get": operation(READY, key=False)},
        "/v2/health/ready": {"get": operation(READY, key=False)},
        "/v2": {"get": operation(SERVER)},
    }
    for root, parameters in (
        ("/v2/models/{model}", [model]),
        ("/v2/models/{model}/versions/{version}", [model, version]),
    ):
        paths[root] = {"parameters": parameters, "get": operation(MODEL)}
        paths[f"{root}/ready"] = {"parameters": parameters, "get": operation(READY)}
        paths[f"{root}/infer"] = {"parameters": parameters, "post": operation(ANSWERED, body=ASKED)}
    return {
        "openapi": "3.0.3",
        "info": {"title": "Open Inference Protocol", "version": "2"},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
