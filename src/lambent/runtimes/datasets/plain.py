"""Files of any kind: each is an item, and its value is its path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lambent.runtimes.datasets.sources import Batch

PATH: Final = "path"


class PlainFiles:
    """Implements `sources.Source`."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self.folder: Final = folder
        self.files: Final = files
        self.count: Final = len(files)
        self.names: Final[Sequence[str]] = (PATH,)

    @property
    def whole(self) -> Mapping[str, Any]:
        """Every path."""
        return self.take(range(self.count), self.names)

    def take(self, items: Sequence[int], names: Sequence[str]) -> Batch:
        """The paths of these files."""
        return {name: [self.folder / self.files[item] for item in items] for name in names}

    def key(self, item: int) -> int:
        """By its path, so that a file which is added moves no other one."""
        return key_of(self.files[item])


def key_of(text: str) -> int:
    """A number of 64 bits for a text, the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def opened(folder: Path, files: Sequence[str]) -> PlainFiles:
    """Nothing is read."""
    return PlainFiles(folder, files)
