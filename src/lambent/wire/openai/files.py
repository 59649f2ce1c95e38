"""Files as OpenAI's API has them, and the pages in which its lists come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from lambent.wire.multipart import BadForm, fields_of
from lambent.wire.skills import Json
from lambent.wire.speech import Refused

# What a client may upload a file for; nothing but batches and tuning reads them here.
PURPOSES: Final = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
OUTPUT: Final = "batch_output"
PAGE: Final = 20
PAGE_MAX: Final = 10_000
FILE_NAME_CHARACTERS_MAX: Final = 255
KEPT_S_MIN, KEPT_S_MAX = 3600, 30 * 86_400  # the bounds of OpenAI's `expires_after`


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file. After `expires_unix_ms` it is not there any more."""

    id: str
    project: str
    purpose: str
    name: str
    size_bytes: int
    created_unix_ms: int
    expires_unix_ms: int | None = None

    def shown(self) -> Json:
        """`file`."""
        expires = None if self.expires_unix_ms is None else self.expires_unix_ms // 1000
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created_unix_ms // 1000,
            "expires_at": expires,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What a form says. `kept_s` is for how long it is wanted, for ever where it is None."""

    purpose: str
    name: str
    content: bytes
    kept_s: int | None = None


def read_upload(content_type: str, body: bytes) -> Upload:
    """The form of `POST /v1/files`. Raises `Refused`."""
    try:
        fields = {field.name: field for field in fields_of(content_type, body)}
    except BadForm as error:
        raise Refused(f"Invalid form: {error}") from error
    for name in ("file", "purpose"):
        if name not in fields:
            raise Refused(
                f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name
            )
    purpose = fields["purpose"].content.decode("utf-8", "replace")
    check_purpose(purpose)
    seconds = fields.get("expires_after[seconds]")
    return Upload(
        purpose=purpose,
        name=(fields["file"].file_name or "file")[:FILE_NAME_CHARACTERS_MAX],
        content=fields["file"].content,
        kept_s=None if seconds is None else kept_s(seconds.content.decode("utf-8", "replace")),
    )


def check_purpose(purpose: str) -> None:
    """Raise `Refused` for one that is not known."""
    if purpose not in PURPOSES:
        known = ", ".join(f"'{one}'" for one in PURPOSES)
        raise Refused(
            f"'{purpose[:40]}' is not one of [{known}] - 'purpose'", code="invalid_value", param="purpose"
        )


def page(found: Sequence[Json], query: Mapping[str, str]) -> Json:
    """A page of what a list has, by `after` and `limit`. Raises `Refused`."""
    wanted, after = _limit(query.get("limit")), query.get("after")
    if after:
        places = [place for place, one in enumerate(found) if one["id"] == after]
        if not places:
            raise Refused(f"No such object: {after[:80]}", code="invalid_value", param="after")
        found = found[places[0] + 1 :]
    shown: list[Any] = list(found[:wanted])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > wanted,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= PAGE_MAX):
        raise Refused(f"'limit' is a number from 1 to {PAGE_MAX}", code="invalid_value", param="limit")
    return int(text)


def kept_s(text: str) -> int:
    """For how long a file is wanted, as `expires_after` says it. Raises `Refused`."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and KEPT_S_MIN <= int(text) <= KEPT_S_MAX):
        raise Refused(
            f"'expires_after[seconds]' is a number from {KEPT_S_MIN} to {KEPT_S_MAX}",
            code="invalid_value",
            param="expires_after",
        )
    return int(text)
