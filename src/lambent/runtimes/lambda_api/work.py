"""One invocation in the hands of a program that polls: handed out, answered in one piece or in many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

# How much of a streaming answer may wait here for its reader before no more is read of it.
BUFFER_BYTES: Final = 256 * 1024


class Event(msgspec.Struct, frozen=True):
    """What the program is given: headers in their lines, and the body."""

    request_id: str
    head: bytes
    body: bytes | bytearray


class Begun(msgspec.Struct, frozen=True):
    """The answer streams, and is of this type."""

    content_type: str


class Ended(msgspec.Struct, frozen=True):
    """How it ended: with a whole answer, of a stream an empty one, or with an error."""

    body: bytes | bytearray = b""
    content_type: str = ""
    error: BaseException | None = None


News = Begun | bytes | Ended


class Work:
    """One invocation, from the side of who waits for it (`next`, `took`) and of who answers it (the rest)."""

    def __init__(self, event: Event) -> None:
        self.event: Final = event
        self._news: Final[asyncio.Queue[News]] = asyncio.Queue()  # bounded by pausing who fills it
        self._buffered_bytes = 0
        self._resume: Callable[[], None] | None = None
        self.answering = False  # an answer has begun to come
        self.ended = False

    async def next(self) -> News:
        """What comes next of its answer; `Ended` is the last."""
        return await self._news.get()

    def took(self, piece: bytes) -> None:
        """A piece is on its way to its reader."""
        self._buffered_bytes -= len(piece)
        if self._resume is not None and self._buffered_bytes < BUFFER_BYTES:
            resume, self._resume = self._resume, None
            resume()

    def begin(self, content_type: str) -> None:
        """The answer streams from here on."""
        self._news.put_nowait(Begun(content_type))

    def write(self, piece: bytes, *, pause: Callable[[], Callable[[], None]]) -> None:
        """The next piece. Where too much waits, calls `pause`, which gives what to call to go on."""
        if self.ended or not piece:
            return
        self._buffered_bytes += len(piece)
        self._news.put_nowait(piece)
        if self._buffered_bytes >= BUFFER_BYTES and self._resume is None:
            self._resume = pause()

    def end(self, how: Ended) -> None:
        """It is over. Only the first end counts."""
        if not self.ended:
            self.ended = True
            self._news.put_nowait(how)
