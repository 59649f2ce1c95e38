"""The usage journal as bytes: its records, and the frames that can be told from damage, one after another.

    magic, 16 bytes · then frames: u16 marker · u16 length · u32 CRC-32 of length and payload · payload

Numbers are little-endian. The marker lets a reader find the next whole frame behind an unreadable stretch.
A payload is one `Entry` in MessagePack.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.core.invocation import Status
from lambent.core.spec import Kind, Temperature

MAGIC: Final = b"lambent usage 1\n"
MARKER: Final = b"\xa5\x5a"
HEAD: Final = struct.Struct("<2sHI")
PAYLOAD_BYTES_MAX: Final = 0xFFFF


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="usage"):
    """What one invocation, or one run of a job, used. New fields go to the end, with a default.

    `billed_init_ms` is the load/init that a wake cost, beside `billed_ms`; `temperature` is the revision's
    on arrival.
    """

    invocation: str
    project: str
    deployment: str
    revision: str
    kind: Kind
    status: Status
    started_unix_ms: int
    run_us: int
    billed_ms: int
    billed_init_ms: int
    memory_bytes: int
    memory_used_bytes: int
    cpu_us: int
    temperature: Temperature
    request_bytes: int
    response_bytes: int

    @property
    def cold_start(self) -> bool:
        """Whether an invocation had to wait for a wake. A run of a job always does, and is not counted."""
        return self.kind is not Kind.JOB and self.temperature is not Temperature.HOT


class Torn(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="torn"):
    """Stands in the journal where a torn end was cut off."""

    size_bytes: int


Entry = UsageRecord | Torn


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A whole frame: where it ends, and whether unreadable bytes stand before it."""

    payload: memoryview
    end: int
    after_damage: bool


def framed(payload: bytes) -> bytes:
    """One frame. Raises `ValueError` for a payload over `PAYLOAD_BYTES_MAX`."""
    length = len(payload)
    if length > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a record of {length} bytes is over the maximum of {PAYLOAD_BYTES_MAX}")
    return HEAD.pack(MARKER, length, zlib.crc32(payload, length)) + payload


def frames(content: bytes, start: int) -> Iterator[Frame]:
    """The whole frames from `start` on. What stands behind the last one is incomplete or damaged."""
    view = memoryview(content)
    position, seen = start, start
    while (position := content.find(MARKER, position)) >= 0:
        payload = _payload(view, position)
        if payload is None:
            position += 1
            continue
        end = position + HEAD.size + len(payload)
        yield Frame(payload, end, position > seen)
        position = seen = end


def _payload(view: memoryview, position: int) -> memoryview | None:
    start = position + HEAD.size
    if start > len(view):
        return None
    _, length, checksum = HEAD.unpack_from(view, position)
    payload = view[start : start + length]
    return payload if len(payload) == length and zlib.crc32(payload, length) == checksum else None
