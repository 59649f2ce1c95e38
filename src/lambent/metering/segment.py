"""The files of the usage journal. What stands in them: `lambent.wire.usage`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from lambent.wire.usage import HEAD, MAGIC, MARKER, PAYLOAD_BYTES_MAX, Frame, framed, frames

__all__ = ["HEAD", "MAGIC", "MARKER", "PAYLOAD_BYTES_MAX", "Frame", "framed", "frames"]

NAME: Final = re.compile(r"(\d{8})-[0-9a-f]{8}\.usage")


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
