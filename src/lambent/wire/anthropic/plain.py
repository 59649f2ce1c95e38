"""Anthropic's words that are no messages: its models, and its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from lambent.wire.skills import Json
from lambent.wire.speech import TOO_MANY, Trouble

TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        TOO_MANY: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
)
LIMIT: Final = 20
LIMIT_DIGITS_MAX: Final = 7


def error_body(trouble: Trouble, request_id: str) -> Json:
    """An error, as a body and as an event."""
    kind = TYPES.get(trouble.status, "api_error" if trouble.status >= 500 else "invalid_request_error")
    error = {"type": kind, "message": trouble.message}
    return {"type": "error", "error": error, "request_id": request_id or None}


def model(name: str, created_at: str) -> Json:
    """One model."""
    return {"type": "model", "id": name, "display_name": name, "created_at": created_at}


def page(models: Sequence[Json], query: Mapping[str, str]) -> Json:
    """Models from `after_id` on or until `before_id`, as many as `limit` says, 20 where it says nothing."""
    names = [one["id"] for one in models]
    said = query.get("limit", "")
    limit = int(said) if said.isdecimal() and len(said) < LIMIT_DIGITS_MAX else LIMIT
    after, before = query.get("after_id"), query.get("before_id")
    if before in names:
        end = names.index(before)
        start = max(0, end - limit)
        found, more = models[start:end], start > 0
    else:
        start = names.index(after) + 1 if after in names else 0
        found, more = models[start : start + limit], start + limit < len(names)
    return {
        "data": list(found),
        "has_more": more,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
    }
