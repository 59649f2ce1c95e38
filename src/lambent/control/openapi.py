"""OpenAPI 3.1 of the control API, made from the table that its routes are made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from lambent.control.operations import PREFIX, Asked, Operation, Parameter
from lambent.core.invocation import JSON, Role
from lambent.wire.api import Problem
from lambent.wire.problem import CONTENT_TYPE as PROBLEM

IN_PATH: Final = re.compile(r"{(\w+)}")
DESCRIPTION: Final = (
    "What is deployed, what runs, what it used, who may ask. Every request carries a key; "
    "each operation names the least role that a key needs."
)


def describing(operations: Sequence[Operation], *, version: str) -> Operation:
    """The operation that serves the description of `operations` and of itself."""

    async def run(_: Asked) -> Response:
        return Response(encoded, media_type=JSON)

    itself = Operation(
        name="describe",
        method="GET",
        path="/openapi.json",
        role=Role.READ,
        summary="This description",
        run=run,
    )
    encoded = msgspec.json.encode(document([*operations, itself], version=version))
    return itself


def document(operations: Sequence[Operation], *, version: str) -> dict[str, Any]:
    """The whole description as JSON values."""
    types = [each for operation in operations for each in (operation.body, operation.reply) if each]
    schemas, components = msgspec.json.schema_components(
        [*types, Problem], ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(map(str, [*types, Problem]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        item = paths.setdefault(PREFIX + operation.path, {})
        item[operation.method.lower()] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lambent control API", "version": version, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
        "security": [{"bearer": []}, {"apiKey": []}],
    }


def _operation(operation: Operation, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Needs the role `{operation.role.value}`.",
        "tags": [operation.path.split("/")[1]],
        "responses": {
            str(operation.status): _success(operation, schema_of),
            "default": {
                "description": "What went wrong, as RFC 9457 defines it",
                "content": {PROBLEM: {"schema": schema_of[str(Problem)]}},
            },
        },
    }
    if parameters := [*_path_parameters(operation), *map(_query_parameter, operation.query)]:
        described["parameters"] = parameters
    if operation.body:
        described["requestBody"] = _content(JSON, schema_of[str(operation.body)])
    if operation.upload:
        described["requestBody"] = _content(operation.upload, {"type": "string", "format": "binary"})
    return described


def _success(operation: Operation, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    if operation.status == 204:
        return {"description": "Done"}
    schema = schema_of[str(operation.reply)] if operation.reply else {"type": "object"}
    if operation.media != JSON:
        schema = {"type": "string"}
    return {"description": operation.summary, "content": {operation.media: {"schema": schema}}}


def _content(media: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {media: {"schema": schema}}}


def _path_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in IN_PATH.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.meaning,
        "schema": {"type": parameter.kind},
    }
