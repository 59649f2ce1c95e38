"""Holds every answer against the service model that botocore ships: what AWS's own clients expect to read.

`watched(client)` makes a boto3 client raise `AssertionError` for an answer that AWS's model does not allow:
another status code, a member that is unknown or missing, a value of another type or outside of its bounds, an
error that has no name. `note` hears of each operation that was answered well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from botocore.model import OperationModel, Shape, StructureShape

# What AWS answers where its model says something else or nothing.
STATUSES: Final = {
    "DeleteFunction": {200, 204},
    "Invoke": {200, 202, 204},
    "InvokeAsync": {202},
    "InvokeWithResponseStream": {200, 204},
    "InvokeEndpointAsync": {202},
}
# Errors that any operation may answer; the model does not list them with each.
COMMON_ERRORS: Final = {
    "AccessDeniedException": 403,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "RequestEntityTooLargeException": 413,
    "SerializationException": 400,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
# Errors that any operation of one service may answer.
SERVICE_ERRORS: Final = {
    "sqs": {"InvalidParameterValueException": 400, "MissingParameterException": 400},
}
# Statuses that the model does not say, as recorded from AWS.
RECORDED: Final = {("sqs", "ResourceNotFoundException"): 404}
# What the model requires and AWS leaves out (recorded): a function without signatures has none to tell of.
UNSAID: Final = {"GetFunctionCodeSigningConfig": frozenset({"CodeSigningConfigArn", "FunctionName"})}
# Words that its enums do not have and AWS sends (recorded).
RECORDED_WORDS: Final = {"LastUpdateStatusReasonCode": ("Creating",)}
# Errors that AWS sends without a text (recorded).
SPEECHLESS: Final = frozenset({"AccessDeniedException"})
ERROR_MEMBERS: Final = frozenset({"Type", "Message", "message", "__type", "Reason"})
UNCHECKABLE: Final = re.compile(r"\\p\{|\(\?<")  # patterns that Python's `re` does not read as AWS's does

Note = Callable[[str, str], None]


def watched(client: Any, note: Note = lambda service, operation: None) -> Any:
    """The same client, which fails on the first answer that does not fit the model."""

    def look(operation_model: OperationModel, response_dict: dict[str, Any], **_: object) -> None:
        found = list(complaints(operation_model, response_dict))
        said = f"{operation_model.name} answered what AWS does not:\n" + "\n".join(found)
        assert not found, said
        if response_dict["status_code"] < 300:
            note(operation_model.service_model.service_name, operation_model.name)

    client.meta.events.register("before-parse.*.*", look)
    return client


def complaints(operation: OperationModel, answer: dict[str, Any]) -> Iterator[str]:
    """A sentence for each thing that the model does not allow."""
    status, headers = answer["status_code"], answer["headers"]
    if not headers.get("x-amzn-requestid"):
        yield "there is no x-amzn-RequestId"
    if status >= 300:
        yield from _of_error(operation, answer)
        return
    allowed = STATUSES.get(operation.name, {operation.http.get("responseCode", 200)})
    if status not in allowed:
        yield f"status {status} is not {allowed}"
    output = operation.output_shape
    if output is None:
        if answer["body"]:
            yield f"a body where there is none: {answer['body']!r}"
        return
    if operation.has_streaming_output or operation.has_event_stream_output:
        return
    if "payload" in output.serialization or not _in_body(output):
        return
    ignoring = _elsewhere(output) | UNSAID.get(operation.name, frozenset())
    yield from _of_value(output, _members(answer["body"]), operation.name, ignoring=ignoring)


def _of_error(operation: OperationModel, answer: dict[str, Any]) -> Iterator[str]:
    status, headers = answer["status_code"], answer["headers"]
    body = _members(answer["body"]) or {}
    kind = headers.get("x-amzn-errortype") or str(body.get("__type", "")).rpartition("#")[2]
    known = {shape.name: shape.metadata.get("error", {}) for shape in operation.error_shapes}
    if not kind:
        yield f"an error without a type: {status} {answer['body']!r}"
    elif kind in known:
        service = operation.service_model.service_name
        wanted = RECORDED.get((service, kind), known[kind].get("httpStatusCode", 400))
        if status != wanted:
            yield f"{kind} with status {status}, which is {wanted} in the model"
    elif _common(operation).get(kind) != status:
        yield f"{operation.name} knows no {kind} with status {status}: {answer['body']!r}"
    if not (body.get("Message") or body.get("message")) and kind not in SPEECHLESS:
        yield f"{kind} without a message: {answer['body']!r}"
    shape = next((shape for shape in operation.error_shapes if shape.name == kind), None)
    members = ERROR_MEMBERS | (set(shape.members) if isinstance(shape, StructureShape) else set())
    if unknown := body.keys() - members:
        yield f"{kind} has no {sorted(unknown)}"


def _common(operation: OperationModel) -> Mapping[str, int]:
    return COMMON_ERRORS | SERVICE_ERRORS.get(operation.service_model.service_name, {})


def _members(body: bytes) -> Any:
    return json.loads(body) if body else {}


def _in_body(output: StructureShape) -> bool:
    return bool(set(output.members) - _elsewhere(output))


def _elsewhere(output: StructureShape) -> frozenset[str]:
    """Members that travel in headers or in the status line."""
    return frozenset(name for name, shape in output.members.items() if "location" in shape.serialization)


def _of_value(shape: Shape, value: Any, at: str, *, ignoring: frozenset[str] = frozenset()) -> Iterator[str]:
    match shape.type_name:
        case "structure":
            yield from _of_structure(shape, value, at, ignoring)
        case "list":
            yield from _of_list(shape, value, at)
        case "map":
            yield from _of_map(shape, value, at)
        case "string":
            yield from _of_string(shape, value, at)
        case "integer" | "long":
            yield from _of_number(shape, value, at, int)
        case "float" | "double" | "timestamp":
            yield from _of_number(shape, value, at, (int, float))
        case "boolean" if not isinstance(value, bool):
            yield f"{at} is {value!r}, not a boolean"


def _of_structure(shape: Any, value: Any, at: str, ignoring: frozenset[str]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is {value!r}, not a structure"
        return
    names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
    for name, inner in value.items():
        if name not in names:
            yield f"{at} has no member {name}"
        elif inner is not None:
            yield from _of_value(names[name], inner, f"{at}.{name}")
    for name in shape.required_members:
        if name not in ignoring and value.get(shape.members[name].serialization.get("name", name)) is None:
            yield f"{at} lacks {name}"


def _of_list(shape: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{at} is {value!r}, not a list"
        return
    yield from _in_bounds(shape, len(value), f"{at}, by its length,")
    for place, inner in enumerate(value):
        yield from _of_value(shape.member, inner, f"{at}[{place}]")


def _of_map(shape: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is {value!r}, not a map"
        return
    for key, inner in value.items():
        yield from _of_value(shape.key, key, f"{at}'s key")
        yield from _of_value(shape.value, inner, f"{at}[{key}]")


def _of_string(shape: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{at} is {value!r}, not a string"
        return
    if shape.enum and value not in (*shape.enum, *RECORDED_WORDS.get(shape.name, ())):
        yield f"{at} is {value!r}, none of {shape.enum}"
    yield from _in_bounds(shape, len(value), f"{at}, by its length,")
    pattern = shape.metadata.get("pattern", "")
    if pattern and not UNCHECKABLE.search(pattern) and not re.fullmatch(pattern, value, re.DOTALL):
        yield f"{at} is {value!r}, which does not match {pattern}"


def _of_number(shape: Any, value: Any, at: str, kinds: Any) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, kinds):
        yield f"{at} is {value!r}, not of type {shape.type_name}"
        return
    yield from _in_bounds(shape, value, at)


def _in_bounds(shape: Any, size: float, at: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < float(low):
        yield f"{at} is {size}, under {low}"
    if high is not None and size > float(high):
        yield f"{at} is {size}, over {high}"
