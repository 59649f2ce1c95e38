"""Uploads as OpenAI's API has them: a large file that comes in parts."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec

from lambent.wire.multipart import BadForm, fields_of
from lambent.wire.openai.files import FILE_NAME_CHARACTERS_MAX, StoredFile, check_purpose, kept_s
from lambent.wire.skills import Json
from lambent.wire.speech import Refused

UPLOAD_BYTES_MAX: Final = 8 * 1024**3
PART_BYTES_MAX: Final = 64 * 1024**2
FORM_BYTES_MAX: Final = 64 * 1024  # around a part
PARTS_MAX: Final = 10_000
OPEN_S: Final = 3600


class UploadState(StrEnum):
    """How far it is. Who comes after its hour finds none; only who waited meanwhile sees it expired."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ExpiresAfter(msgspec.Struct, frozen=True):
    """When the file is not wanted any more."""

    seconds: int
    anchor: Literal["created_at"] = "created_at"


class UploadBody(msgspec.Struct, frozen=True):
    """`POST /v1/uploads`: a file of so many bytes will come."""

    bytes: int
    filename: str
    mime_type: str
    purpose: str
    expires_after: ExpiresAfter | None = None

    def check(self) -> None:
        """Raise `Refused` for what cannot be kept."""
        check_purpose(self.purpose)
        if not 1 <= self.bytes <= UPLOAD_BYTES_MAX:
            raise Refused(
                f"'bytes' is a number from 1 to {UPLOAD_BYTES_MAX}", code="invalid_value", param="bytes"
            )
        if not 1 <= len(self.filename) <= FILE_NAME_CHARACTERS_MAX:
            raise Refused(
                f"'filename' has 1 to {FILE_NAME_CHARACTERS_MAX} characters",
                code="invalid_value",
                param="filename",
            )

    def kept_s(self) -> int | None:
        """For how long the file is wanted, for ever where it is None. Raises `Refused`."""
        return None if self.expires_after is None else kept_s(str(self.expires_after.seconds))


class CompleteBody(msgspec.Struct, frozen=True):
    """`POST /v1/uploads/{id}/complete`: the parts in their order."""

    part_ids: list[str]
    md5: str | None = None


class StoredUpload(msgspec.Struct, frozen=True, kw_only=True):
    """One upload. `file_kept_s` is for how long its file is wanted; `file` is there once it is complete."""

    id: str
    project: str
    purpose: str
    name: str
    size_bytes: int
    created_unix_ms: int
    expires_unix_ms: int
    file_kept_s: int | None = None
    state: UploadState = UploadState.PENDING
    file: StoredFile | None = None

    def shown(self) -> Json:
        """`upload`."""
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.size_bytes,
            "created_at": self.created_unix_ms // 1000,
            "expires_at": self.expires_unix_ms // 1000,
            "filename": self.name,
            "purpose": self.purpose,
            "status": self.state.value,
            "file": None if self.file is None else self.file.shown(),
        }


def shown_part(part: str, upload: StoredUpload, *, created_unix_ms: int) -> Json:
    """`upload.part`."""
    return {
        "id": part,
        "object": "upload.part",
        "created_at": created_unix_ms // 1000,
        "upload_id": upload.id,
    }


def read_part(content_type: str, body: bytes) -> bytes:
    """What the form of `POST /v1/uploads/{id}/parts` brings. Raises `Refused`."""
    try:
        found = [field.content for field in fields_of(content_type, body) if field.name == "data"]
    except BadForm as error:
        raise Refused(f"Invalid form: {error}") from error
    if len(found) != 1:
        raise Refused("Missing required parameter: 'data'.", code="missing_required_parameter", param="data")
    (content,) = found
    if not 1 <= len(content) <= PART_BYTES_MAX:
        raise Refused(f"a part has 1 to {PART_BYTES_MAX} bytes", code="invalid_value", param="data")
    return content
