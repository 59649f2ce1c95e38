"""The Model Context Protocol over streamable HTTP: JSON-RPC messages, tools, and which revisions are spoken.

After the revisions 2024-11-05 to 2025-11-25, which begin with `initialize`, and 2026-07-28, in
which each request says all about itself in `params._meta` and in headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from lambent.core.tensors import Tensor
from lambent.wire.typed import from_json

HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN: Final = ("2026-07-28",)
VERSION_META: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_META: Final = "io.modelcontextprotocol/clientCapabilities"

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022
# In the newest revision an error has a status of HTTP, too.
STATUSES: Final[Mapping[int, int]] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}

# What an element of a tensor is in JSON; of all other datatypes it is an integer.
ELEMENTS: Final[Mapping[str, str]] = {
    "BOOL": "boolean", "BYTES": "string",
    "FP16": "number", "BF16": "number", "FP32": "number", "FP64": "number",
}  # fmt: skip


class RpcError(Exception):
    """What a request is refused with."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code: Final = code
        self.message: Final = message
        self.data: Final = data


class Message(msgspec.Struct, frozen=True):
    """A request; without an `id`, a notification."""

    jsonrpc: str
    method: str
    id: str | int | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, Any] = {}

    @property
    def is_notification(self) -> bool:
        """Whether nobody waits for an answer."""
        return self.id is msgspec.UNSET


def read(body: bytes) -> Message:
    """The one message of a body. Raises `RpcError`."""
    try:
        message = from_json(body, Message)
    except msgspec.ValidationError as error:
        raise RpcError(INVALID_REQUEST, f"the body is no JSON-RPC request: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RpcError(PARSE_ERROR, f"the body is not JSON: {error}") from error
    if message.jsonrpc != "2.0":
        raise RpcError(INVALID_REQUEST, 'expected "jsonrpc": "2.0"')
    return message


def check_modern(message: Message, version: str, method: str | None) -> None:
    """Raise `RpcError` where a request of a modern revision contradicts its headers, or says too little."""
    meta = message.params.get("_meta")
    if not isinstance(meta, dict) or VERSION_META not in meta or CAPABILITIES_META not in meta:
        raise RpcError(INVALID_PARAMS, f"params._meta has to have {VERSION_META} and {CAPABILITIES_META}")
    if meta[VERSION_META] != version:
        raise RpcError(HEADER_MISMATCH, "mcp-protocol-version is another than that of params._meta")
    if method != message.method:
        raise RpcError(HEADER_MISMATCH, "mcp-method is another than the request's method")


def unsupported(version: str) -> RpcError:
    """A revision that is not spoken here."""
    data = {"supported": [*HANDSHAKE, *MODERN], "requested": version}
    return RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", data)


def result(id_: str | int | msgspec.UnsetType | None, value: Mapping[str, Any]) -> bytes:
    """The answer to a request."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id_, "result": value})


def progress(token: str | int, count: int, message: str) -> bytes:
    """A notification to who has named a token: so many pieces of the result are there."""
    params = {"progressToken": token, "progress": count, "message": message}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def as_event(message: bytes) -> bytes:
    """A message as a server-sent event."""
    return b"event: message\ndata: " + message + b"\n\n"


def error(id_: str | int | msgspec.UnsetType | None, fault: RpcError) -> bytes:
    """The refusal of a request; `null` where its id could not be read."""
    told: dict[str, Any] = {"code": fault.code, "message": fault.message}
    if fault.data is not None:
        told["data"] = fault.data
    named = None if id_ is msgspec.UNSET else id_
    return msgspec.json.encode({"jsonrpc": "2.0", "id": named, "error": told})


def rows_schema(inputs: Sequence[Tensor]) -> Mapping[str, Any]:
    """What the arguments of a model's tool are: a row for each instance, as far as its inputs are known."""
    instances: dict[str, Any] = {"type": "array", "minItems": 1}
    rows = {one.name: _nested(one.datatype, one.shape[1:]) for one in inputs}
    if len(rows) == 1:
        instances["items"] = next(iter(rows.values()))
    elif rows:
        instances["items"] = {"type": "object", "properties": rows, "required": [*rows]}
    return {"type": "object", "properties": {"instances": instances}, "required": ["instances"]}


def _nested(datatype: str, shape: Sequence[int]) -> Mapping[str, Any]:
    """Lists in lists, of the sizes that are known."""
    schema: dict[str, Any] = {"type": ELEMENTS.get(datatype, "integer")}
    for size in reversed(shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema
