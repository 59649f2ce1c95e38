"""Work that was accepted for later, as the APIs of others show it: what all of them have in common.

What was accepted through one of these doors keeps in whose words its client speaks, for webhooks and later
questions.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Any, Final

import msgspec

from lambent.core.invocation import JSON, FunctionError
from lambent.wire.frames import read_error
from lambent.wire.typed import from_json

FAILED: Final = frozenset({"failed", "error"})
CANCELLED: Final = frozenset({"canceled", "cancelled"})


class FaceKind(StrEnum):
    """Whose words."""

    REPLICATE = "replicate"
    RUNPOD = "runpod"


class Face(msgspec.Struct, frozen=True, omit_defaults=True):
    """In whose words work was accepted, and what of the request its answers repeat.

    `wraps`: the deployment speaks HTTP itself, and is asked for `{"input": ...}`, as these APIs ask their own
    programs; its answers have an `output`. `base` is the URL by which the client knows this server.
    """

    kind: FaceKind
    model: str = ""
    version: str = ""
    base: str = ""
    wraps: bool = False


class State(StrEnum):
    """How far it is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    FORGOTTEN = "forgotten"


class Filed(msgspec.Struct, frozen=True, kw_only=True):
    """Work that was accepted. `body` is what was asked; `result` what came of it, or its error."""

    id: str
    deployment: str
    state: str
    face: Face
    body: bytes
    result: bytes
    result_type: str
    error: str
    created_unix_ms: int
    ended_unix_ms: int | None


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: an output, or an error in words; `logs` and `metrics` where its program told them."""

    state: State
    output: Any = None
    error: str | None = None
    is_late: bool = False
    logs: str = ""
    metrics: Any = None


def face_as_text(face: Face | None) -> str:
    """To be kept; empty for none."""
    return "" if face is None else msgspec.json.encode(face).decode()


def face_from(text: str) -> Face | None:
    """What was kept."""
    return from_json(text, Face) if text else None


def input_of(filed: Filed) -> Any:
    """What was asked, `None` where it is not kept any more."""
    try:
        asked = msgspec.json.decode(filed.body) if filed.body else None
    except (msgspec.DecodeError, RecursionError):
        return None
    return asked.get("input") if filed.face.wraps and isinstance(asked, dict) else asked


def came_of(filed: Filed) -> Came:
    """What came of it. A worker is not trusted to have written what it says it wrote."""
    state = State(filed.state)
    if state is State.DEAD and filed.face.wraps and (said := _words(filed)):
        return Came(state=state, error=said)
    if state is State.DEAD:
        error = read_error(filed.result) if filed.result else FunctionError(filed.error, "")
        return Came(
            state=state,
            error=error.error_message or filed.error,
            is_late=error.error_type == "Sandbox.Timedout",
        )
    if state is not State.SUCCEEDED:
        return Came(state=state)
    if filed.error:  # too large to be kept
        return Came(state=State.DEAD, error=filed.error)
    output = _output(filed)
    if filed.face.wraps and isinstance(output, dict) and ("output" in output or "error" in output):
        return _unwrapped(output)
    return Came(state=state, output=output)


def _words(filed: Filed) -> str:
    """What a program that serves HTTP says of a request that it refuses; empty where it was not it."""
    said = _output(filed) if filed.result else None
    if not isinstance(said, dict) or "errorType" in said:
        return ""
    why = said.get("error") or said.get("detail") or said
    return why if isinstance(why, str) else msgspec.json.encode(why).decode()


def _unwrapped(answer: dict[str, Any]) -> Came:
    """What Cog's server, or RunPod's for one machine, answers."""
    said = str(answer.get("status", "")).lower()
    error = answer.get("error")
    state = State.CANCELLED if said in CANCELLED else State.SUCCEEDED
    if said in FAILED or (error and answer.get("output") is None):
        state = State.DEAD
    logs = answer.get("logs")
    return Came(
        state=state,
        output=answer.get("output"),
        error=str(error) if error else ("it failed" if state is State.DEAD else None),
        logs=logs if isinstance(logs, str) else "",
        metrics=answer.get("metrics"),
    )


def _output(filed: Filed) -> Any:
    """JSON as it is, text as text, and everything else as a data URL."""
    kind = filed.result_type.partition(";")[0].strip().lower()
    if kind == JSON:
        try:
            return msgspec.json.decode(filed.result) if filed.result else None
        except (msgspec.DecodeError, RecursionError):
            return filed.result.decode("utf-8", "replace")
    if kind.startswith("text/") or kind.endswith(("json-seq", "ndjson", "jsonl")):
        return filed.result.decode("utf-8", "replace")
    return f"data:{kind or 'application/octet-stream'};base64,{base64.b64encode(filed.result).decode()}"
