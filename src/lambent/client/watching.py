"""Whether the files of a target have changed: by asking, which works on every file system."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from lambent.client.bundle import pack
from lambent.client.errors import BundleError
from lambent.client.folder import MANIFEST

LOOK_S: Final = 0.05  # between two looks
LOOK_FILE_S: Final = 0.0002  # and so much more for each file: a look takes microseconds for each
RESCAN_S: Final = 1.0  # from one search for files that are new to the next


class Mark(msgspec.Struct, frozen=True):
    """What tells one state of a file from another without reading it. A save by renaming changes `inode`."""

    modified_ns: int
    size_bytes: int
    inode: int


Marks = dict[Path, Mark | None]


class Watch:
    """The files that a deploy of `target` would take along, as they were when it was last worth one."""

    def __init__(self, target: str | Path, *, now_s: float) -> None:
        self._target: Final = str(target)
        self._files: frozenset[Path] = frozenset()
        self._files = self._found()
        self._rescan_s = now_s + RESCAN_S
        self._deployed = self._marks()
        self._pending: Marks | None = None

    @property
    def look_s(self) -> float:
        """How long to wait between two looks."""
        return LOOK_S + LOOK_FILE_S * len(self._files)

    def look(self, now_s: float) -> bool:
        """Whether they have changed, and nobody is writing any more: two looks found the same."""
        if now_s >= self._rescan_s:
            self._files, self._rescan_s = self._found(), now_s + RESCAN_S
        marks = self._marks()
        if marks == self._deployed:
            self._pending = None
            return False
        if marks != self._pending:
            self._pending = marks
            return False
        self._files = self._found()  # what is imported now may not have been before
        self._deployed, self._pending = self._marks(), None
        return True

    def _marks(self) -> Marks:
        return {file: _mark(file) for file in self._files}

    def _found(self) -> frozenset[Path]:
        """All of them; where they make no bundle now, those of before, one of which must be mended."""
        name = self._target
        path = Path(name if Path(name).exists() else name.rpartition(":")[0] or name)
        own = {path / MANIFEST if path.is_dir() else path}
        try:
            return frozenset(own | {one.source for one in pack(name).archive.members})
        except BundleError:
            return frozenset(own | self._files)


def _mark(file: Path) -> Mark | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return Mark(status.st_mtime_ns, status.st_size, status.st_ino)
