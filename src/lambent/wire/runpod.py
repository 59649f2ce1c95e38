"""RunPod's serverless API for clients: its paths, what is asked, and jobs as it shows them."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from lambent.wire.faces import Filed, State, came_of

PREFIX: Final = "/runpod/v2/"
PATH: Final = re.compile(
    r"/runpod/v2/(?P<name>[^/]+)/(?P<verb>run|runsync|health|(?:status|stream|status-sync|cancel)/(?P<id>[^/]+))"
)
STATUSES: Final = {
    State.QUEUED: "IN_QUEUE",
    State.RUNNING: "IN_PROGRESS",
    State.SUCCEEDED: "COMPLETED",
    State.DEAD: "FAILED",
    State.CANCELLED: "CANCELLED",
    State.FORGOTTEN: "CANCELLED",
}


class Wanted(msgspec.Struct, frozen=True):
    """The body of `run` and `runsync`. What RunPod has beside (`policy`, `s3Config`) is ignored."""

    input: Any
    webhook: str | None = None


def job(filed: Filed) -> dict[str, Any]:
    """A job as the API shows it."""
    came = came_of(filed)
    shown: dict[str, Any] = {
        "id": filed.id,
        "status": "TIMED_OUT" if came.is_late else STATUSES[came.state],
    }
    if came.state is State.SUCCEEDED:
        shown["output"] = came.output
    if came.error is not None:
        shown["error"] = came.error
    return shown


def pieces_of(output: Any) -> list[dict[str, Any]]:
    """An output as `stream` tells it: a list is what a generator has yielded."""
    return [{"output": one} for one in (output if isinstance(output, list) else [output])]
