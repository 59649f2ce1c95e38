"""Batches as OpenAI's API has them: what is sent, what is kept of one, and the lines of its files."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from lambent.wire.skills import Json
from lambent.wire.speech import Refused
from lambent.wire.typed import from_json

ENDPOINTS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
LINES_MAX: Final = 50_000
ERRORS_MAX: Final = 100  # so many lines are named that are wrong
WINDOW_S_MAX: Final = 30 * 86_400
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
METADATA_MAX: Final = 16
METADATA_NAME_MAX, METADATA_VALUE_MAX = 64, 512


class BatchState(StrEnum):
    """Where a batch is."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


FINAL: Final = frozenset({BatchState.COMPLETED, BatchState.FAILED, BatchState.EXPIRED, BatchState.CANCELLED})


class BatchBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/batches`."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None

    def window_s(self) -> int:
        """How long it may take. Raises `Refused` for what is wrong in any field."""
        if self.endpoint not in ENDPOINTS:
            known = ", ".join(f"'{one}'" for one in ENDPOINTS)
            raise Refused(
                f"Invalid value: '{self.endpoint[:80]}'. Supported values are: {known}.",
                code="invalid_value",
                param="endpoint",
            )
        check_metadata(self.metadata)
        number, unit = self.completion_window[:-1], self.completion_window[-1:]
        known_number = number.isascii() and number.isdigit() and len(number) < 9
        window_s = int(number) * SECONDS.get(unit, 0) if known_number else 0
        if not 1 <= window_s <= WINDOW_S_MAX:
            raise Refused(
                f"Invalid value: '{self.completion_window[:40]}'. It is a time such as '24h' or '30m', of "
                "30 days at most.",
                code="invalid_value",
                param="completion_window",
            )
        return window_s


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong in a batch's file. `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a batch. `at` says when, in Unix seconds, it came to each state."""

    id: str
    project: str
    endpoint: str
    input_file: str
    window: str
    state: BatchState
    created_unix_ms: int
    expires_unix_ms: int
    at: dict[str, int] = {}
    mistakes: tuple[Mistake, ...] = ()
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file: str | None = None
    error_file: str | None = None
    metadata: dict[str, str] | None = None
    model: str | None = None
    is_cancelled: bool = False

    def shown(self) -> Json:
        """`batch`."""
        errors: Any = None
        if self.mistakes:
            errors = {"object": "list", "data": [msgspec.to_builtins(one) for one in self.mistakes]}
        shown = {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": errors,
            "input_file_id": self.input_file,
            "completion_window": self.window,
            "status": self.state.value,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": self.created_unix_ms // 1000,
            "expires_at": self.expires_unix_ms // 1000,
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
        }
        for state in BatchState:
            if state is not BatchState.VALIDATING:
                shown[f"{state.value}_at"] = self.at.get(state.value)
        return shown


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a batch's file; `body` is as it was sent."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """How a line was answered; `body` is JSON."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a line was not answered."""

    code: str
    message: str


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an output file, or of an error file."""

    id: str
    custom_id: str
    response: Answered | None
    error: LineError | None

    @property
    def is_good(self) -> bool:
        """Whether it belongs to the output file."""
        return self.response is not None and self.response.status_code < 400


def read_line(text: bytes, endpoint: str, number: int) -> Line | Mistake:
    """One line as a request, or what is wrong with it."""
    try:
        line = from_json(text, Line)
        body = from_json(line.body, dict)
    except msgspec.ValidationError as error:
        return Mistake(code="invalid_request", message=str(error), line=number)
    except msgspec.DecodeError:
        message = "This line is not parseable as valid JSON."
        return Mistake(code="invalid_json_line", message=message, line=number)
    if line.method != "POST":
        message = f"The method is POST, not '{line.method[:20]}'."
        return Mistake(code="invalid_method", message=message, line=number, param="method")
    if line.url != endpoint:
        message = f"The URL provided for this request does not match the batch endpoint {endpoint}."
        return Mistake(code="mismatched_url", message=message, line=number, param="url")
    if "model" in body and not isinstance(body["model"], str):
        message = "The model is named by a text."
        return Mistake(code="invalid_type", message=message, line=number, param="body.model")
    return line


def check_metadata(metadata: dict[str, str] | None) -> None:
    """Raises `Refused` where it is more than OpenAI keeps."""
    fits = len(metadata or {}) <= METADATA_MAX and all(
        len(name) <= METADATA_NAME_MAX and len(value) <= METADATA_VALUE_MAX
        for name, value in (metadata or {}).items()
    )
    if not fits:
        raise Refused(
            f"'metadata' has at most {METADATA_MAX} names of {METADATA_NAME_MAX} characters with values of "
            f"{METADATA_VALUE_MAX}",
            code="invalid_value",
            param="metadata",
        )
