"""Bodies of V1: JSON with bytes in base64 and with numbers that JSON does not know, both ways."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from lambent.core.invocation import JSON
from lambent.runtimes import payload
from lambent.runtimes.base import Body, Reply
from lambent.runtimes.faults import Fault
from lambent.wire.predict_v1 import Asked, Key, Verb

B64: Final = "b64"
BYTES_SUFFIX: Final = "_bytes"  # of a name whose values are written in base64
DEPTH_MAX: Final = 100


def opened(asked: Asked, body: Body) -> tuple[Key, Any]:
    """What is for the model, with all `{"b64": ...}` in it as bytes, and the key that it lay under."""
    value = _loaded(body)
    key = asked.key
    if key is Key.WHOLE:
        key, value = _taken_apart(asked.verb, value)
    return key, _decoded(value) if b'"b64"' in body else value


def encoded(result: object) -> Reply:
    """A whole answer: what is not a number is written as such, bytes in base64."""
    try:
        reply = payload.encode(result)
    except Fault:
        reply = payload.encode(_encoded_bytes(result))  # bytes in it, or something that nobody can write
    if b"null" not in bytes(reply.body) and b"_bytes" not in bytes(reply.body):
        return reply
    text = json.dumps(_encoded_bytes(result), default=listed, separators=(",", ":"))
    return Reply(text.encode(), JSON)


def written(key: str, result: object) -> Reply:
    """The answer under its key."""
    return encoded({key: result})


def bad(message: str) -> Fault:
    """A request that does not fit the model."""
    return Fault("InvalidArgument", message, status=400)


def _loaded(body: Body) -> Any:
    try:
        return payload.decode(JSON, body)
    except Fault as fault:
        try:
            return json.loads(bytes(body))  # takes NaN and Infinity
        except (ValueError, RecursionError):
            raise bad(f"JSON Parse error: {fault}") from fault


def _taken_apart(verb: Verb, value: object) -> tuple[Key, object]:
    """A body that the door has left whole: numbers that are none, or a context for all examples."""
    if not isinstance(value, dict):
        raise bad("the body is no object")
    wanted = (Key.EXAMPLES,) if verb in (Verb.CLASSIFY, Verb.REGRESS) else (Key.INSTANCES, Key.INPUTS)
    found = [key for key in wanted if key in value]
    if len(found) != 1:
        raise bad(f"expected one of {', '.join(repr(str(key)) for key in wanted)} in the body")
    key = found[0]
    if key is Key.EXAMPLES:
        return key, _with_context(value[key], value.get("context", {}))
    if key is Key.INSTANCES and not (isinstance(value[key], list) and value[key]):
        raise bad("Expecting 'instances' to be an list/array with values")
    return key, value[key]


def _with_context(examples: object, context: object) -> object:
    if not isinstance(examples, list) or not examples or not isinstance(context, dict):
        raise bad("Expecting 'examples' value to be an list/array and 'context' to be an object")
    for one in examples:
        if not isinstance(one, dict):
            raise bad(f"Example must be JSON object but got JSON {type(one).__name__}")
        if both := one.keys() & context.keys():
            raise bad(f"the features {sorted(both)} are in the context and in an example")
    return [{**context, **one} for one in examples]


def _decoded(value: Any, depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        raise bad("the value is nested too deeply")
    if isinstance(value, list):
        return [_decoded(one, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and isinstance(text := value.get(B64), str):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise bad(f"Unable to base64 decode: {error}") from error
    return {name: _decoded(one, depth + 1) for name, one in value.items()}


def as_text(value: Any) -> Any:
    """Bytes as the text that they are: the frameworks that read files know no other strings."""
    if isinstance(value, list):
        return [as_text(one) for one in value] if _holds_bytes(value) else value
    if isinstance(value, dict):
        return {name: as_text(one) for name, one in value.items()}
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise bad(f"the model takes text, and this b64 is not UTF-8: {error}") from error


def _holds_bytes(value: list[Any]) -> bool:
    kinds = {*map(type, value)}
    return bool(kinds & {bytes, dict}) or (list in kinds and any(map(_holds_bytes, filter(_is_list, value))))


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _encoded_bytes(value: Any, name: str = "") -> Any:
    """Bytes, and text under a name that says that it is bytes, as `{"b64": ...}`."""
    if isinstance(value, bytes | bytearray):
        return {B64: base64.b64encode(value).decode()}
    if isinstance(value, str):
        marked = name.endswith(BYTES_SUFFIX)
        return {B64: base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()} if marked else value
    if isinstance(value, Mapping):
        return {key: _encoded_bytes(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded_bytes(one, name) for one in value]
    if getattr(getattr(value, "dtype", None), "kind", "") in ("S", "O", "U"):
        return _encoded_bytes(listed(value), name)
    return value


def listed(value: Any) -> Any:
    """Arrays, tensors and their scalars as lists and numbers."""
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    if callable(numpy := getattr(value, "numpy", None)):
        return numpy().tolist()
    return value
