"""The file format of the usage journal: frames that can be told from damage, one after another.

    magic, 16 bytes · then frames: u16 marker · u16 length · u32 CRC-32 of length and payload · payload

Numbers are little-endian. The marker lets a reader find the next whole frame behind an unreadable stretch.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

MAGIC: Final = b"lambent usage 1\n"
MARKER: Final = b"\xa5\x5a"
HEAD: Final = struct.Struct("<2sHI")
PAYLOAD_BYTES_MAX: Final = 0xFFFF
NAME: Final = re.compile(r"(\d{8})-[0-9a-f]{8}\.usage")


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


def segments_in(folder: Path) -> list[Path]:
    """The segments of a journal, oldest first."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def number_of(segment: Path) -> int:
    """The number in a segment's name."""
    match = NAME.fullmatch(segment.name)
    return int(match[1]) if match else 0


def new_name(number: int) -> str:
    """A name for a segment. Its random part tells it from its namesake in a journal that was wiped."""
    return f"{number:08}-{os.urandom(4).hex()}.usage"


def _payload(view: memoryview, position: int) -> memoryview | None:
    start = position + HEAD.size
    if start > len(view):
        return None
    _, length, checksum = HEAD.unpack_from(view, position)
    payload = view[start : start + length]
    return payload if len(payload) == length and zlib.crc32(payload, length) == checksum else None
