"""What a process prints: a pipe that the loop reads in bounded portions, with the end of it kept at hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from lambent.engines.base import TAIL_BYTES

# One portion a turn of the loop, so that a process that prints without end does not starve the others.
PORTION_BYTES: Final = 64 * 1024
# What a pipe holds: after so much, all that was in it when draining began has been read.
DRAIN_BYTES: Final = 64 * 1024


class LogPipe:
    """The reading end of a process's stdout and stderr; `on_chunk` gets everything in order.

    An empty chunk, the last, says that there will be no more.
    """

    def __init__(self, *, on_chunk: Callable[[bytes], None]) -> None:
        reading, self.writing_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)  # the other end blocks: it is the user's stdout
        self._fd: int | None = reading
        self._loop: Final = asyncio.get_running_loop()
        self._on_chunk: Final = on_chunk
        self._tail = b""
        self._loop.add_reader(reading, self._read)

    def begin(self) -> None:
        """Let the tail begin here."""
        self._tail = b""

    def tail(self) -> bytes:
        """The last 4 KiB that were printed since `begin`, up to this very moment."""
        self._drain()
        return self._tail

    def hand_over(self) -> None:
        """The writing end has been given away: close our copy, or the pipe would never end."""
        if self.writing_fd >= 0:
            os.close(self.writing_fd)
            self.writing_fd = -1

    def close(self) -> None:
        """Take what is there and close, whoever else still holds the other end."""
        self.hand_over()
        self._drain()
        self._close()

    def _drain(self) -> None:
        drained_bytes = 0
        while drained_bytes < DRAIN_BYTES and (size_bytes := self._read()) > 0:
            drained_bytes += size_bytes

    def _read(self) -> int:
        """Take one portion; its size is 0 when there is none now, or ever."""
        if self._fd is None:
            return 0
        try:
            chunk = os.read(self._fd, PORTION_BYTES)
        except BlockingIOError:
            return 0
        if not chunk:
            self._close()
            return 0
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        self._on_chunk(chunk)
        return len(chunk)

    def _close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
            self._on_chunk(b"")
