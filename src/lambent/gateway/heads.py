"""The head of an answer that user code gave as HTTP: what of it may go onto the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.core.errors import UserFault
from lambent.core.invocation import Head
from lambent.gateway.responses import Header
from lambent.wire.typed import from_json

# Of one connection, not of the message: RFC 9110 section 7.6.1.
HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)
UPGRADE: Final = ("upgrade", 426)  # which must say to what
LENGTH: Final = re.compile(r"[0-9]{1,18}")
# RFC 9110 sections 5.1 and 5.5: a token, and visible characters of one byte, spaces and tabs.
NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
STATUSES: Final = range(200, 600)
TOLD_CHARACTERS_MAX: Final = 100


class BadHead(UserFault):
    """User code answered with a head that HTTP cannot carry."""

    code = "bad_head"
    status = 502


def status_of(head: Head) -> int:
    """Its status. Raises `BadHead` for one that ends no request."""
    if head.status not in STATUSES:
        raise BadHead(f"the answer's status is {head.status}: it must be one of 200 to 599")
    return head.status


def headers_of(head: Head) -> list[Header]:
    """Its headers, without those that are of the connection, or say a length, as we do. Raises `BadHead`."""
    return [
        encoded(name, value)
        for name, value in _lowered(head)
        if (name not in HOP_BY_HOP or (name, head.status) == UPGRADE) and name != "content-length"
    ]


def length_of(head: Head) -> int | None:
    """How long the answer is, where its head says so."""
    said = [value.strip() for name, value in _lowered(head) if name == "content-length"]
    return int(said[0]) if said and LENGTH.fullmatch(said[0]) else None


def trailers_of(piece: bytes) -> list[Header]:
    """What a worker says behind a body; nothing where HTTP cannot carry it, for the answer is out by then."""
    try:
        return [encoded(name.lower(), value) for name, value in from_json(piece, list[tuple[str, str]])]
    except (msgspec.DecodeError, BadHead):
        return []


def encoded(name: str, value: str) -> Header:
    """One header in bytes. Raises `BadHead` where no header may hold what it holds."""
    if NAME.fullmatch(name) is None or VALUE.fullmatch(value) is None:
        told = f"{name}: {value}"[:TOLD_CHARACTERS_MAX]
        raise BadHead(f"the answer's header {told!r} holds a character that no header may hold")
    return name.encode("latin-1"), value.encode("latin-1")


def _lowered(head: Head) -> Iterator[tuple[str, str]]:
    return ((name.lower(), value) for name, value in head.headers)
