"""Data that jobs have transformed, kept for the next run: within a bound, the least recently used goes first.

FOLDER/<project>/<key>/         made by a job's worker, as `runtimes.transforms.keeping` says
FOLDER/<project>/<key>.json     and what lies beside it
FOLDER/<project>/tmp-*/         what a worker is making
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

UNFINISHED: Final = "tmp-"


class _Entry(msgspec.Struct, frozen=True):
    used_ns: int
    home: Path
    size_bytes: int


class TransformCache:
    """What is in it can be made again, so nothing of it is promised."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self._folder: Final = folder
        self._bytes_max: Final = bytes_max

    def open(self) -> None:
        """Remove what workers were making when the last server ended, and what is too much."""
        for unfinished in self._folder.glob(f"*/{UNFINISHED}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        self.prune()

    def of(self, project: str) -> Path:
        """Where a project's runs keep theirs; no other project's do."""
        folder = self._folder / project
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prune(self) -> int:
        """Remove what was not used for longest until the rest is within the bound; how many that were."""
        entries = sorted(self._entries(), key=lambda entry: (entry.used_ns, entry.home.name))
        size_bytes = sum(entry.size_bytes for entry in entries)
        removed = 0
        while entries and size_bytes > self._bytes_max:
            entry = entries.pop(0)
            shutil.rmtree(entry.home, ignore_errors=True)
            for beside in entry.home.parent.glob(f"{entry.home.name}.*"):
                beside.unlink(missing_ok=True)
            size_bytes -= entry.size_bytes
            removed += 1
        return removed

    def _entries(self) -> Iterator[_Entry]:
        for home in self._folder.glob("*/*/"):
            if home.name.startswith(UNFINISHED):
                continue
            try:
                size_bytes = sum(file.stat().st_size for file in os.scandir(home))
                yield _Entry(home.stat().st_mtime_ns, home, size_bytes)
            except OSError:  # gone, or being replaced, this moment
                continue
