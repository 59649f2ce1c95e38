"""Forms with files, `multipart/form-data` (RFC 7578), out of a body that has arrived."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from typing import Final

import msgspec

PARTS_MAX: Final = 100
HEADERS_BYTES_MAX: Final = 16 * 1024
BOUNDARY_CHARACTERS_MAX: Final = 70
GAP: Final = b"\r\n\r\n"


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
    places = list(_places(body, b"\r\n--" + boundary.encode("latin-1", "replace")))
    return [_field(reader, body, start, end) for start, end in places]


def _places(body: bytes, mark: bytes) -> Iterator[tuple[int, int]]:
    """Where each part begins and ends. Nothing is copied: a part may be nearly all of the body."""
    # The first has no line before it.
    place = -2 if body.startswith(mark[2:]) else body.find(mark)
    found = 0
    while place != -1:
        start = place + len(mark)
        place = body.find(mark, start)
        if place != -1:
            found += 1
            if found > PARTS_MAX:
                raise BadForm(f"the form has more than {PARTS_MAX} parts")
            yield start, place
        elif body[start : start + 2] == b"--":
            return
    raise BadForm("the form ends in the middle")


def _field(reader: BytesHeaderParser[EmailMessage], body: bytes, start: int, end: int) -> Field:
    gap = body.find(GAP, start, end)
    if gap == -1 or gap - start > HEADERS_BYTES_MAX:
        raise BadForm("a part of the form has no end of its headers")
    headers = reader.parsebytes(body[start:gap].lstrip(b" \t\r\n") + GAP)
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise BadForm("a part of the form has no name")
    kind = str(headers.get("content-type", ""))
    return Field(name, body[gap + len(GAP) : end], headers.get_filename("") or "", kind)
