"""One log file that stays bounded: it turns over at a size, and one old file is kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 64 * 1024
FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class LogFile:
    """Appends to a file. Not safe for threads: its owner holds a lock."""

    def __init__(self, path: Path, *, size_bytes_max: int) -> None:
        self._path: Final = path
        self._size_bytes_max: Final = size_bytes_max
        self._file: int | None = None
        self._size_bytes = 0

    def append(self, lines: bytes) -> None:
        """Write whole lines. Raises `OSError`; no part of them is left then."""
        file = self._opened()
        if self._size_bytes and self._size_bytes + len(lines) > self._size_bytes_max:
            self.close()
            self._path.replace(old_file(self._path))
            file = self._opened()
        written = os.write(file, lines)
        if written < len(lines):
            os.ftruncate(file, self._size_bytes)
            raise OSError("no room for all of it")
        self._size_bytes += written

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, FLAGS, 0o600)
            self._size_bytes = os.fstat(self._file).st_size
        return self._file


class Snapshot:
    """A log as it is at one moment: what is written or turned over later is not seen. Use it with `with`."""

    def __init__(self, path: Path) -> None:
        self._files: Final = [
            (file, os.fstat(file).st_size)
            for file in (_reading(path), _reading(old_file(path)))
            if file is not None
        ]

    def last_lines(self, count: int) -> list[str]:
        """The last `count` lines, oldest first; reads no more than it takes to find them."""
        blocks: list[bytes] = []
        newlines = 0
        for file, size_bytes in self._files:
            end = size_bytes
            # One newline more than lines: the one in front of the first.
            while end > 0 and newlines <= count:
                start = max(0, end - BLOCK_BYTES)
                blocks.append(os.pread(file, end - start, start))
                newlines += blocks[-1].count(b"\n")
                end = start
        text = b"".join(reversed(blocks)).decode("utf-8", errors="replace")
        return text.split("\n")[:-1][-count:] if count > 0 else []

    def lines_since(self, stamp: str) -> list[str]:
        """Every line from the first that begins with `stamp` or what sorts after it; all for an empty one."""
        blocks: list[bytes] = []
        first = stamp.encode()
        for file, size_bytes in self._files:
            end = size_bytes
            while end > 0 and not _reaches(blocks, first):
                start = max(0, end - BLOCK_BYTES)
                blocks.append(os.pread(file, end - start, start))
                end = start
        lines = b"".join(reversed(blocks)).decode("utf-8", errors="replace").split("\n")[:-1]
        return [line for line in lines if line >= stamp]

    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(size_bytes for _, size_bytes in self._files)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        for file, _size in self._files:
            os.close(file)


def _reaches(blocks: list[bytes], first: bytes) -> bool:
    """Whether the block that was read last has a line from before `first`: those before it are, too."""
    if not blocks or not first:
        return False
    _, newline, line = blocks[-1].partition(b"\n")
    return bool(newline) and line[: len(first)] < first


def old_file(path: Path) -> Path:
    """Where a file goes when it turns over."""
    return path.with_name(f"{path.name}.1")


def _reading(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
