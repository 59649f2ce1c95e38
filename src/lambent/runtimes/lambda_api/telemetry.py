"""The frames in which AWS Lambda's runtimes write their log, so that what is logged at once stays whole.

    u32 type · u32 length · u64 microseconds · message (all big-endian)

The type is 0xA55A and what tells the level and the form. Older runtimes use types 1 and 2, which have no time
(aws-lambda-nodejs-runtime-interface-client, `LogPatch.js`).
"""

from __future__ import annotations

import struct
from typing import Final

HEAD: Final = struct.Struct(">HHI")
TIME_BYTES: Final = 8
MAGIC: Final = 0xA55A
WITHOUT_TIME: Final = frozenset({1, 2})
PIECE_BYTES_MAX: Final = 64 * 1024  # of a message that is longer, so much is passed on at once


class Telemetry:
    """Cuts a byte stream into messages. What is no frame is passed on as it is, and all that follows it."""

    def __init__(self) -> None:
        self._buffer: Final = bytearray()
        self._left = 0  # of the message that is being read
        self._plain = False

    def feed(self, chunk: bytes) -> bytes:
        """The text that `chunk` completes; each message ends its line."""
        self._buffer.extend(chunk)
        said = bytearray()
        while self._buffer and self._step(said):
            pass
        return bytes(said)

    def close(self) -> bytes:
        """What is left of a message whose writer has gone."""
        said = bytes(self._buffer) if self._left or self._plain else b""
        self._buffer.clear()
        self._left = 0
        return _line(said) if said else b""

    def _step(self, said: bytearray) -> bool:
        """Take one part of the buffer; False where more has to come first."""
        if self._plain:
            said += self._take(len(self._buffer))
            return True
        if not self._left:
            return self._begin()
        if len(self._buffer) < min(self._left, PIECE_BYTES_MAX):
            return False
        piece = self._take(min(self._left, PIECE_BYTES_MAX))
        self._left -= len(piece)
        said += piece if self._left else _line(piece)
        return True

    def _begin(self) -> bool:
        if len(self._buffer) < HEAD.size:
            return False
        magic, kind, length = HEAD.unpack_from(self._buffer)
        if magic != MAGIC:
            self._plain = True
            return True
        head_bytes = HEAD.size + (0 if kind in WITHOUT_TIME else TIME_BYTES)
        if len(self._buffer) < head_bytes:
            return False
        self._take(head_bytes)
        self._left = length
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _line(text: bytes) -> bytes:
    return text if text.endswith(b"\n") else text + b"\n"
