"""What the server or the way to it said, as exceptions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, LambentError, PlatformFault
from lambent.wire.api import Problem
from lambent.wire.problem import CONTENT_TYPE as PROBLEM_TYPE
from lambent.wire.typed import from_json

EXCERPT_CHARS_MAX: Final = 200


class AwsError(msgspec.Struct, frozen=True):
    """A refusal as AWS's API words it: in one of two cases."""

    message: str = ""
    Message: str = ""


class NoServer(PlatformFault):
    """Nothing answers where the server should be."""

    code = "no_server"


class BundleError(CallerFault):
    """What was to be deployed cannot be packed: it is missing, unreadable, too big or not valid Python."""

    code = "invalid_target"
    status = 422


class ApiError(LambentError):
    """The server refused or failed. `problem` is what it said; `code` and the others are its own words."""

    def __init__(self, problem: Problem, *, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail or problem.title, retry_after_s=retry_after_s)
        self.problem: Final = problem
        # The server's word goes over the class's: codes may be newer than this client.
        self.code = problem.code  # type: ignore[misc]  # a ClassVar in the root, of this answer here
        self.status = problem.status  # type: ignore[misc]  # as above
        self.retryable = problem.retryable  # type: ignore[misc]  # as above

    @property
    def detail(self) -> str:
        """What happened, in a sentence."""
        return self.message


class FunctionFailed(ApiError):
    """User code failed. `error_type` is its exception's class, `stack_trace` the lines of its stack."""

    @property
    def error_type(self) -> str:
        """The class of the exception, such as `ValueError`, or `Sandbox.Timedout`."""
        return self.problem.error_type

    @property
    def stack_trace(self) -> tuple[str, ...]:
        """The stack as Python prints it, outermost call first; empty where there is none."""
        return self.problem.stack_trace


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The exception for an answer with an error status, whoever wrote it: the server or a proxy before it."""
    problem = _problem(status, headers, body)
    kind = FunctionFailed if problem.error_type else ApiError
    retry_after = headers.get("retry-after", "")
    return kind(problem, retry_after_s=float(retry_after) if retry_after.isdecimal() else None)


def _problem(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    kind = headers.get("x-amzn-errortype", "")
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        if headers.get("content-type", "").startswith(PROBLEM_TYPE):
            return from_json(body, Problem)
        if kind:
            said = from_json(body, AwsError)
            return Problem(title=kind, status=status, code=kind, detail=said.message or said.Message)
    text = " ".join(body[: EXCERPT_CHARS_MAX * 4].decode("utf-8", "replace").split())[:EXCERPT_CHARS_MAX]
    detail = f"status {status} that is not from Lambent: {text or 'an empty answer'}"
    return Problem(title="Unexpected answer", status=status, code="unexpected_answer", detail=detail)
