"""Errors as a program reports them: JSON that its caller gets as it is, if it says what it must."""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.runtimes.faults import Fault
from lambent.wire.frames import stack_lines
from lambent.wire.typed import from_json

UNNAMED: Final = "Runtime.Unknown"
TEXT_CHARS_MAX: Final = 8 * 1024


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of one. Runtimes add more, each its own, and write stacks each in its way."""

    error_message: str = ""
    error_type: str = ""
    stack_trace: object = ()


def as_payload(body: bytes, error_type: str, request_id: str) -> bytes:
    """`body` itself where it is an object with a type and a message; `error_type` is what the header says."""
    try:
        fields = from_json(body, dict[str, object])
        report = from_json(body, Report)
    except (msgspec.DecodeError, RecursionError):
        text = body.decode("utf-8", "replace")
        return _encoded(
            {"errorMessage": _cut(text), "errorType": error_type or UNNAMED, "requestId": request_id}
        )
    if report.error_type and "errorMessage" in fields:
        return body
    named = {
        "errorMessage": report.error_message or _cut(body.decode()),
        "errorType": report.error_type or error_type or UNNAMED,
    }
    return _encoded({**fields, **named})


def as_fault(body: bytes, error_type: str) -> Fault:
    """The report of a program that cannot be used at all."""
    report = from_json(as_payload(body, error_type, ""), Report)
    return Fault(report.error_type, _cut(report.error_message), stack_lines(report.stack_trace))


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]} … ({len(text)} characters)"
