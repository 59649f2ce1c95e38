"""The segment that is written: whole frames or nothing, a new file when it is full, mended if it is torn."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from lambent.metering.segment import MAGIC, frames, new_name, number_of, segments_in

APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class SegmentWriter:
    """Writes frames to the last segment of a folder. Not safe for threads: its owner holds a lock."""

    def __init__(self, folder: Path, *, segment_bytes_max: int) -> None:
        self._folder: Final = folder
        self._segment_bytes_max: Final = segment_bytes_max
        self._number = 0
        self._file: int | None = None
        self._size_bytes = 0
        self._retired: list[int] = []

    def resume(self, note: Callable[[int], bytes]) -> int:
        """Go on with the last segment, and say how many bytes at its end were torn.

        They are replaced by the frame that `note` makes of their number, so that the tear is not forgotten
        with the process that found it. What does not look like a segment is left for whoever investigates.
        """
        segments = segments_in(self._folder)
        if not segments:
            return 0
        last = segments[-1]
        self._number = number_of(last)
        content = last.read_bytes()
        if not content.startswith(MAGIC):
            return len(content)
        end = len(MAGIC)
        for frame in frames(content, end):
            end = frame.end
        torn_bytes = len(content) - end
        with suppress(OSError):  # a disk that cannot be mended may still take a new segment
            self._size_bytes = _mend(last, end, note(torn_bytes)) if torn_bytes else end
            self._file = os.open(last, APPEND)
        return torn_bytes

    def write(self, frame: bytes) -> None:
        """Write a frame. Raises `OSError`; nothing of the frame is left then."""
        if self._file is None or self._size_bytes + len(frame) > self._segment_bytes_max:
            self._begin_segment()
        assert self._file is not None
        written = os.write(self._file, frame)
        if written < len(frame):
            self._cut_back()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size_bytes += written

    @property
    def number(self) -> int:
        """That of the current segment; it changes when there is a new file."""
        return self._number

    def open_files(self) -> tuple[list[int], int | None]:
        """Files of full segments, which the caller brings to the disk and closes; and the current one."""
        retired, self._retired = self._retired, []
        return retired, self._file

    def close(self) -> None:
        """Close what is open. A frame that is written later begins a new segment."""
        self._retire()
        for file in self.open_files()[0]:
            os.close(file)

    def _begin_segment(self) -> None:
        path = self._folder / new_name(self._number + 1)
        file = os.open(path, APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if os.write(file, MAGIC) < len(MAGIC):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(file)
            path.unlink()
            raise
        self._retire()
        self._number += 1
        self._file, self._size_bytes = file, len(MAGIC)

    def _cut_back(self) -> None:
        """Take back what a write left that found room for a part only."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, self._size_bytes)
        except OSError:
            self._retire()  # its torn end is counted by its readers; the next frame begins a new segment
            raise

    def _retire(self) -> None:
        if self._file is not None:
            self._retired.append(self._file)
            self._file = None


def _mend(segment: Path, end: int, note: bytes) -> int:
    """Put `note` in the place of what stands behind `end`, and return the segment's new size."""
    file = os.open(segment, os.O_WRONLY | os.O_CLOEXEC)
    try:
        try:
            # Written before the cut: killed in between, the next start finds a tear again, behind the note.
            size_bytes = end + os.pwrite(file, note, end)
        except OSError:
            size_bytes = end
        if size_bytes != end + len(note):
            size_bytes = end
        os.ftruncate(file, size_bytes)
        os.fsync(file)
    finally:
        os.close(file)
    return size_bytes
