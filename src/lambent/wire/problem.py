"""Errors as RFC 9457 problem documents: the shape of every error at our own doors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, LambentError, LoadFailed
from lambent.core.invocation import Outcome, Status
from lambent.wire.api import Problem

CONTENT_TYPE: Final = "application/problem+json"

# How an invocation that did not end well is told at the native door: HTTP status and our code.
OUTCOMES: Final[Mapping[Status, tuple[int, str]]] = {
    Status.FAILED: (500, "user_code_failed"),
    Status.TIMED_OUT: (504, "timed_out"),
    Status.CANCELLED: (499, "cancelled"),
    Status.EXITED: (502, "worker_exited"),
}

_encoder: Final = msgspec.json.Encoder()


def of_error(error: LambentError) -> Problem:
    """What `error` tells the caller. A failed load also shows the user's own exception and stack."""
    kind, trace = (error.kind, error.trace) if isinstance(error, LoadFailed) else ("", ())
    return Problem(
        title=_title(error.code),
        status=error.status,
        code=error.code,
        detail=error.message,
        retryable=error.retryable,
        error_type=kind,
        stack_trace=trace,
    )


def of_outcome(outcome: Outcome) -> Problem:
    """What an invocation that failed in user code tells the caller. The status must not be ok."""
    status, code = OUTCOMES[outcome.status]
    if outcome.head is not None and 400 <= outcome.head.status < 600:  # its own protocol has one for it
        status = outcome.head.status
    if status == CallerFault.status:
        code = CallerFault.code
    error = outcome.error
    return Problem(
        title=_title(code),
        status=status,
        code=code,
        detail=error.error_message if error else "",
        error_type=error.error_type if error else "",
        stack_trace=error.stack_trace if error else (),
    )


def internal() -> Problem:
    """An error of ours that nobody foresaw; what it was is in the server's log, not here."""
    return Problem(
        title="Internal error",
        status=500,
        code="internal",
        detail="the server could not answer this request; its log says why",
    )


def encode(problem: Problem) -> bytes:
    """The document as JSON."""
    return _encoder.encode(problem)


def retry_after(error: LambentError) -> str | None:
    """The value of `Retry-After` in whole seconds, at least 1, or None where the error names no time."""
    return None if error.retry_after_s is None else str(max(1, math.ceil(error.retry_after_s)))


def _title(code: str) -> str:
    return code.replace("_", " ").capitalize()
