"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lambent.wire.skills import Json
from lambent.wire.speech import OWN_FAULT, TOO_MANY, Trouble

TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        TOO_MANY: "rate_limit_error",
    }
)
# Our words for what theirs has another one for.
CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "not_found": "model_not_found",
        "unauthenticated": "invalid_api_key",
        "queue_full": "rate_limit_exceeded",
        "project_queue_full": "rate_limit_exceeded",
        "project_bodies_full": "rate_limit_exceeded",
        "invalid_request": "",
    }
)


def error_body(trouble: Trouble) -> Json:
    """`{"error": ...}`. What a code does not tell, its type does."""
    server = trouble.status >= OWN_FAULT
    kind = TYPES.get(trouble.status, "server_error" if server else "invalid_request_error")
    code = CODES.get(trouble.code, trouble.code)
    return {
        "error": {
            "message": trouble.message,
            "type": "invalid_request_error" if code in ("model_not_found", "invalid_api_key") else kind,
            "param": trouble.param,
            "code": code or None,
        }
    }
