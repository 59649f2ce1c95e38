"""Replicate's HTTP API: its paths, what is asked, and predictions as it shows them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from lambent.wire.faces import Filed, State, came_of, input_of

PREDICTIONS: Final = "/v1/predictions"
PATH: Final = re.compile(
    r"/v1/predictions(?:/(?P<id>[^/]+)(?P<cancel>/cancel)?)?"
    r"|/v1/(?P<family>models|deployments)/(?P<owner>[^/]+)/(?P<name>[^/:]+)"
    r"(?P<what>/predictions|/versions(?:/(?P<version>[^/]+))?)"
    r"|/v1/webhooks/default/(?P<secret>secret)"
)
STATUSES: Final = {
    State.QUEUED: "starting",
    State.RUNNING: "processing",
    State.SUCCEEDED: "succeeded",
    State.DEAD: "failed",
    State.CANCELLED: "canceled",
    State.FORGOTTEN: "canceled",
}


class Wanted(msgspec.Struct, frozen=True):
    """The body of a request for a prediction. Unknown fields, as Replicate's own newer ones, are ignored."""

    input: dict[str, Any]
    version: str | None = None
    webhook: str | None = None
    webhook_completed: str | None = None
    webhook_events_filter: list[str] | None = None
    stream: bool | None = None

    @property
    def completed(self) -> str:
        """Who is told of the end. Of other events nobody is: each is the end, or nothing."""
        events = self.webhook_events_filter
        if self.webhook and (events is None or not events or "completed" in events):
            return self.webhook
        return self.webhook_completed or ""


def prediction(filed: Filed) -> dict[str, Any]:
    """A prediction as the API shows it."""
    came, face = came_of(filed), filed.face
    where = f"{face.base}{PREDICTIONS}/{filed.id}"
    return {
        "id": filed.id,
        "model": face.model,
        "version": face.version,
        "status": STATUSES[came.state],
        "input": input_of(filed),
        "output": came.output,
        "logs": came.logs,
        "error": came.error,
        "metrics": came.metrics if isinstance(came.metrics, dict) else {},
        "created_at": when(filed.created_unix_ms),
        "started_at": None,
        "completed_at": None if filed.ended_unix_ms is None else when(filed.ended_unix_ms),
        "data_removed": filed.state == State.FORGOTTEN,
        "source": "api",
        "urls": {"get": where, "cancel": f"{where}/cancel"},
    }


def version_of(version: str, *, day: str) -> dict[str, Any]:
    """A version, made on a day, as the API shows it: it takes and gives whatever the deployment does."""
    return {
        "id": version,
        "created_at": f"{day}T00:00:00Z",
        "cog_version": "",
        "openapi_schema": {"components": {"schemas": {"Input": {"type": "object"}, "Output": {}}}},
    }


def trouble(status: int, title: str, detail: str) -> dict[str, Any]:
    """An error: RFC 7807."""
    return {"title": title, "detail": detail, "status": status}


def when(unix_ms: int) -> str:
    """A time."""
    return (
        datetime.fromtimestamp(unix_ms / 1e3, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
