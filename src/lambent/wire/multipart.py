"""Forms with files, `multipart/form-data` (RFC 7578), out of a body that has arrived."""

from __future__ import annotations

from email.message import EmailMessage
from email.parser import BytesHeaderParser
from typing import Final

import msgspec

PARTS_MAX: Final = 100
HEADERS_BYTES_MAX: Final = 16 * 1024
BOUNDARY_CHARACTERS_MAX: Final = 70


class BadForm(ValueError):
    """A body is no such form."""


class Field(msgspec.Struct, frozen=True):
    """One field: its content, and the name of the file that it is, if it is one."""

    name: str
    content: bytes
    file_name: str = ""
    content_type: str = ""  # empty where it says none


def fields_of(content_type: str, body: bytes) -> list[Field]:
    """The fields in their order. Raises `BadForm`."""
    from email.policy import HTTP  # half a megabyte that a server without forms does not need

    reader = BytesHeaderParser(policy=HTTP)
    said = reader.parsebytes(b"content-type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n")
    boundary = said.get_boundary()
    if said.get_content_type() != "multipart/form-data" or not boundary:
        raise BadForm(f"a form with files has the type multipart/form-data, and this has {content_type!r}")
    if len(boundary) > BOUNDARY_CHARACTERS_MAX:
        raise BadForm("the boundary of the form is too long")
    # The first has no line before it.
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"), PARTS_MAX + 2)
    if len(parts) > PARTS_MAX + 1:  # the last is the end
        raise BadForm(f"the form has more than {PARTS_MAX} parts")
    if not parts or not parts[-1].startswith(b"--"):
        raise BadForm("the form ends in the middle")
    return [_field(reader, part) for part in parts[:-1]]


def _field(reader: BytesHeaderParser[EmailMessage], part: bytes) -> Field:
    head, gap, content = part.partition(b"\r\n\r\n")
    if not gap or len(head) > HEADERS_BYTES_MAX:
        raise BadForm("a part of the form has no end of its headers")
    headers = reader.parsebytes(head.lstrip(b" \t\r\n") + b"\r\n\r\n")
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise BadForm("a part of the form has no name")
    kind = str(headers.get("content-type", ""))
    return Field(name, content, headers.get_filename("") or "", kind)
