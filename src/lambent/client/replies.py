"""What an invocation gave back, and how values travel in bodies."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from lambent.client.errors import FunctionFailed
from lambent.client.transport import Answer
from lambent.core.errors import CallerFault, PlatformFault
from lambent.core.invocation import JSON, OCTETS, FunctionError
from lambent.wire.api import Problem
from lambent.wire.typed import from_json

V = TypeVar("V")

STATUS_HEADER: Final = "lambent-status"
# What the platform calls a good end, of an invocation and of its asynchronous record.
GOOD_ENDS: Final = frozenset({"", "ok", "succeeded"})


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an invocation with what the headers say of it.

    `timing_ms` has the parts of the time by name; `temperature` is what the revision's was on arrival.
    """

    body: bytes
    content_type: str
    invocation_id: str
    revision: str
    temperature: str
    billed_ms: int
    timing_ms: dict[str, float]

    @property
    def value(self) -> Any:
        """The result itself: JSON decoded, text as `str`, everything else as `bytes`, None where it is empty.

        Raises `CallerFault` where the body is not what its content type says.
        """
        kind = self.content_type.partition(";")[0].strip().lower()
        try:
            if kind == JSON or kind.endswith("+json"):
                return msgspec.json.decode(self.body) if self.body else None
            return self.body.decode() if kind.startswith("text/") else self.body
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CallerFault(f"the result is not the {kind} that it says it is: {error}") from error


def reply_of(answer: Answer) -> Reply:
    """The result in an answer. Raises `FunctionFailed` where `Lambent-Status` tells of a failure."""
    if answer.headers.get(STATUS_HEADER, "").lower() not in GOOD_ENDS:
        raise _failure(answer.body)
    header = answer.headers.get
    billed = header("lambent-billed-ms", "")
    return Reply(
        body=answer.body,
        content_type=header("content-type", OCTETS),
        invocation_id=header("lambent-invocation-id", ""),
        revision=header("lambent-revision", ""),
        temperature=header("lambent-temperature", ""),
        billed_ms=int(billed) if billed.isdecimal() else 0,
        timing_ms=_timing(header("server-timing", "")),
    )


def encoded(event: object) -> tuple[bytes, str]:
    """A body and its content type: bytes as they are, None as nothing, the rest as JSON, arrays included.

    Raises `CallerFault` for what JSON has no form for.
    """
    if event is None:
        return b"", JSON
    if isinstance(event, bytes | bytearray | memoryview):
        return bytes(event), OCTETS
    try:
        return msgspec.json.encode(event, enc_hook=_plain), JSON
    except (TypeError, ValueError, RecursionError) as error:
        raise CallerFault(f"the event cannot be written as JSON: {error}") from error


def read(body: bytes, kind: type[V]) -> V:
    """The value that an answer of the control API is. Raises `PlatformFault` where it is none."""
    try:
        return from_json(body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PlatformFault(f"the server's answer has no known form; another version? {error}") from error


def _plain(value: object) -> object:
    # Arrays and scalars of numpy, torch and the like, without importing any of them.
    if callable(listed := getattr(value, "tolist", None)):
        return listed()
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _failure(body: bytes) -> FunctionFailed:
    try:
        error = from_json(body, FunctionError)
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = FunctionError(body.decode("utf-8", "replace") or "no reason was given", "Unknown")
    return FunctionFailed(
        Problem(
            title="The function failed",
            status=500,
            code="user_code_failed",
            detail=error.error_message,
            error_type=error.error_type,
            stack_trace=error.stack_trace,
        )
    )


def _timing(header: str) -> dict[str, float]:
    """The durations of a `Server-Timing` header; what has none, or is not a number, is left out."""
    parts: dict[str, float] = {}
    for metric in header.split(","):
        name, *params = (piece.strip() for piece in metric.split(";"))
        for param in params:
            key, _, text = param.partition("=")
            try:
                if name and key.strip().lower() == "dur":
                    parts[name] = float(text.strip(' "'))
            except ValueError:
                continue
    return parts
