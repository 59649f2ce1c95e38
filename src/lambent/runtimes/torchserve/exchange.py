"""What a handler is given of a request, and what is answered of its result.

A field of a form is an entry of its name, and so is one of the query; any other body is the entry `body`.
JSON and text are decoded, all else is a `bytearray`, also JSON that is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from lambent.core.invocation import JSON
from lambent.runtimes import payload
from lambent.runtimes.base import Body, Reply
from lambent.runtimes.context import sent_beside
from lambent.runtimes.faults import Fault
from lambent.runtimes.sagemaker.context import RequestProcessor
from lambent.wire.frames import Call
from lambent.wire.multipart import BadForm, fields_of
from lambent.wire.torchserve import QUERY

FORM: Final = "application/x-www-form-urlencoded"
FILES: Final = "multipart/form-data"
TEXT: Final = "text/plain; charset=utf-8"
FIELDS_MAX: Final = 1000


def headers_of(call: Call) -> Mapping[str, str]:
    """What came beside the body."""
    beside = {name: value for name, value in sent_beside(call).items() if not name.startswith(QUERY)}
    return {**beside, "content-type": call.content_type}


def given(call: Call, body: Body) -> dict[str, object]:
    """One request as a handler sees it. Raises `Fault` for a form that cannot be read."""
    named: dict[str, object] = {
        name.removeprefix(QUERY): bytearray(value, "utf-8")
        for name, value in sent_beside(call).items()
        if name.startswith(QUERY)
    }
    kind = _essence(call.content_type)
    if kind == FILES:
        return {**named, **_files(call.content_type, bytes(body))}
    if kind == FORM and body[:1] not in (b"{", b"["):  # curl says so of all that -d sends
        return {**named, **_fields(bytes(body))}
    named["body"] = _value(JSON if kind == FORM else kind, body)
    return named


def reply_of(value: object, asked: RequestProcessor) -> Reply:
    """What a handler has made of one request, with the status and headers that it has set. Raises `Fault`."""
    plain = payload.encode(value.encode() if isinstance(value, str) else value)
    kind = TEXT if isinstance(value, str) else plain.content_type
    return Reply(plain.body, asked.get_response_header("content-type") or kind, asked.head())


def _files(content_type: str, body: bytes) -> dict[str, object]:
    try:
        return {
            one.name: _value(_essence(one.content_type), one.content) for one in fields_of(content_type, body)
        }
    except BadForm as error:
        raise Fault("Lambent.BadForm", str(error), status=400) from error


def _fields(body: bytes) -> dict[str, object]:
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise Fault("Lambent.BadForm", f"the form cannot be read: {error}", status=400) from error
    return {name: bytearray(value, "utf-8") for name, value in fields}


def _value(kind: str, body: Body) -> object:
    if body and (kind == JSON or kind.startswith("text/")):
        try:
            return payload.decode(kind, body)
        except Fault:
            pass  # handlers know what to do with bytes, or say what is wrong with them
    return bytearray(body)


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
