"""A call's body as the value that user code takes, and what user code returns as a body.

Results are held to what Lambda accepts: JSON's own types and Decimal; beyond that, numpy arrays and scalars
and tensors with `tolist` or `numpy`. msgspec alone would also write sets, dates and nested bytes, each in a
form that surprises somebody, so these are refused as on Lambda.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from lambent.core.invocation import JSON, OCTETS
from lambent.runtimes.base import Body, Reply
from lambent.runtimes.faults import Fault
from lambent.wire.frames import BODY_BYTES_MAX, Form
from lambent.wire.typed import from_json

T = TypeVar("T")

SCALARS: Final = frozenset({str, int, float, bool, type(None), Decimal})
FAMILY: Final = (str, int, float, Decimal, dict, list, tuple)


def decode(content_type: str, body: Body) -> object:
    """JSON as Python values (an empty body is `{}`), text as `str`, all else as `bytes`. Raises `Fault`."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if not kind or kind == JSON or kind.endswith("+json"):
            return _value(body) if body else {}
        return str(body, "utf-8") if kind.startswith("text/") else bytes(body)
    except (ValueError, RecursionError) as error:
        # No code has run, and whoever sent it can mend it.
        message = f"Unable to unmarshal input: {error}"
        raise Fault("Runtime.UnmarshalError", message, status=400) from error


def _value(body: Body) -> object:
    """What is valid JSON and no value for msgspec, `1e999` or half of a surrogate pair, is as on Lambda."""
    try:
        return msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return json.loads(body, parse_constant=_no_constant)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def asked(body: Body, kind: type[T]) -> T:
    """The question that a one-shot runtime is asked. Raises `Fault`."""
    try:
        return from_json(body or b"{}", kind)
    except msgspec.DecodeError as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error


def encode(result: object) -> Reply:
    """`result` as JSON, or as it is where it is bytes. Raises `Fault` where it is neither or is too big."""
    if isinstance(result, bytes | bytearray | memoryview):
        reply = Reply(bytes(result), OCTETS)
    else:
        reply = Reply(_json(result))
    if len(reply.body) > BODY_BYTES_MAX:
        message = f"Response payload size exceeded maximum allowed payload size ({BODY_BYTES_MAX} bytes)."
        raise Fault("Function.ResponseSizeTooLarge", message)
    return reply


def piece(value: object) -> tuple[Form, bytes]:
    """One piece of a streaming answer: bytes and text as they are, all else as JSON. Raises `Fault`."""
    if isinstance(value, bytes | bytearray | memoryview):
        return Form.BYTES, bytes(value)
    if isinstance(value, str):
        return Form.TEXT, value.encode("utf-8", "surrogatepass")
    return Form.JSON, _json(value)


def _json(result: object) -> bytes:
    try:
        body = _encoder.encode(result)
        if _plain(result):
            return body
    except (TypeError, ValueError, RecursionError):
        pass
    # The slow way takes a few things more (subclasses of str and int, odd keys), and where it takes
    # nothing either, its error is the very text that people know from Lambda.
    try:
        return json.dumps(result, default=_foreign, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error


def _plain(result: object) -> bool:
    """Whether `result` holds nothing but what Lambda accepts, and arrays. It was encoded: it has no cycles.

    Costs about a third of the encoding: a list of numbers is looked at by `set(map(type, ...))`.
    """
    values: list[Iterable[object]] = [(result,)]
    while values:
        level = values.pop()
        if {*map(type, level)} <= SCALARS:
            continue
        for value in level:
            if isinstance(value, dict):
                values.append(value.values())
            elif isinstance(value, list | tuple):
                values.append(value)
            elif not (isinstance(value, FAMILY) or value is None or _is_array(value)):
                return False
    return True


def _is_array(value: object) -> bool:
    return callable(getattr(value, "tolist", None)) or callable(getattr(value, "numpy", None))


def _foreign(value: object) -> object:
    """Arrays, tensors and their scalars as lists and numbers, without importing what made them."""
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    if callable(numpy := getattr(value, "numpy", None)):
        return _foreign(numpy())
    if isinstance(value, Decimal):
        return float(value)
    if callable(getattr(value, "get_attributes", None)) and callable(getattr(value, "get_data", None)):
        return _event(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _event(value: Any) -> dict[str, object]:
    """An event of the cloudevents package, 1.x or 2.x, as its JSON."""
    told = {
        name: one.isoformat() if isinstance(one, datetime) else one
        for name, one in dict(value.get_attributes()).items()
    }
    data = value.get_data()
    if isinstance(data, bytes | bytearray):
        return {**told, "data_base64": base64.b64encode(data).decode()}
    return told if data is None else {**told, "data": data}


_encoder: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=_foreign)
