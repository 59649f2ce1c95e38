"""JSON lines: found by where they begin, and read when they are taken."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final

from lambent.runtimes.datasets.sources import Batch
from lambent.wire.rows import json_rows


class JsonLines:
    """Implements `sources.Source`. An item without one of the names has None there."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self._folder: Final = folder
        self._files: Final = files
        self._begins: Final = [_begins(folder / file) for file in files]
        ends = [0]
        for begins in self._begins:
            ends.append(ends[-1] + len(begins))
        self._ends: Final = ends
        self.count: Final = ends[-1]
        self.names: Final[Sequence[str]] = tuple(next(self._rows([0]))) if self.count else ()

    @property
    def whole(self) -> Mapping[str, Any]:
        """Every value, in memory."""
        return self.take(range(self.count), self.names)

    def take(self, items: Sequence[int], names: Sequence[str]) -> Batch:
        """The values of these lines, in lists."""
        rows = [*self._rows(items)]
        return {name: [row.get(name) for row in rows] for name in names}

    def key(self, item: int) -> int:
        """By its number: lines that are added come behind."""
        return item

    def _rows(self, items: Sequence[int]) -> Iterator[dict[str, Any]]:
        with ExitStack() as closing:
            files: dict[int, BinaryIO] = {}
            for item in map(int, items):
                number = bisect_right(self._ends, item) - 1
                if number not in files:
                    path = self._folder / self._files[number]
                    files[number] = closing.enter_context(path.open("rb"))
                files[number].seek(self._begins[number][item - self._ends[number]])
                yield from json_rows([files[number].readline()], f"{self._files[number]} (item {item})")


def opened(folder: Path, files: Sequence[str]) -> JsonLines:
    """Reads through the files once, for where their lines begin: eight bytes a line are kept."""
    return JsonLines(folder, files)


def _begins(path: Path) -> array[int]:
    begins = array("Q")
    at = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                begins.append(at)
            at += len(line)
    return begins
