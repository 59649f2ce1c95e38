"""What is kept of a run beside its row: the curves of its metrics, and the files that it wants to keep.

FOLDER/<run>/curves       MessagePack of `Curves`, replaced as a whole
FOLDER/<run>/artifacts/   what the job's code has saved
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import NotFound, StorageBroken, StorageFull
from lambent.core.series import Points
from lambent.core.spec import NAME
from lambent.wire.typed import unpacker

VERSION: Final = 1
FILES_MAX: Final = 10_000  # of a run; there is no list of more

ARTIFACTS: Final = "artifacts"


class Curves(msgspec.Struct, frozen=True):
    """What the file holds."""

    version: int
    curves: dict[str, Points]


class SavedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a run has saved; `path` is below its folder, with slashes."""

    path: str
    size_bytes: int
    unix_ms: int


_CURVES: Final = unpacker(Curves)


class RunRecords:
    """The records below a folder. Methods block, and may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    def put_curves(self, run: str, curves: Mapping[str, Points]) -> None:
        """Keep the curves in the place of what there was. Raises `StorageFull`, and changes nothing then.

        They are in the kernel's hands after it, not on the disk: they outlive the server, whatever ends it.
        """
        folder = self._of(run)
        unfinished = folder / "curves.new"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            unfinished.write_bytes(msgspec.msgpack.encode(Curves(VERSION, dict(curves))))
            unfinished.replace(folder / "curves")
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise StorageFull(f"cannot keep the curves of run {run}: {error.strerror}") from error

    def curves(self, run: str) -> dict[str, Points]:
        """The curves; none where it has logged nothing. Raises `StorageBroken`."""
        try:
            kept = _CURVES.decode((self._of(run) / "curves").read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise StorageBroken(f"the curves of run {run} cannot be read: {error}") from error
        return kept.curves if kept.version == VERSION else {}

    def artifacts_dir(self, run: str) -> Path:
        """The folder for what the run saves; it need not be there."""
        return self._of(run) / ARTIFACTS

    def artifacts(self, run: str) -> list[SavedFile]:
        """The files that it has saved, by path. What is no plain file, such as a link, is none."""
        root = self.artifacts_dir(run)
        found = [
            SavedFile(
                path=str(path.relative_to(root)),
                size_bytes=facts.st_size,
                unix_ms=facts.st_mtime_ns // 1_000_000,
            )
            for path, facts in _files(root)
        ]
        return sorted(found, key=lambda file: file.path)

    def artifact(self, run: str, path: str) -> Path:
        """Where a saved file is. Raises `NotFound`, also for a path that leads out of the folder."""
        root = self.artifacts_dir(run)
        found = root / path
        is_inside = ".." not in Path(path).parts and not Path(path).is_absolute()
        if not is_inside or not found.is_file() or found.resolve() != root.resolve() / path:
            raise NotFound(f"run {run} has saved no file {path!r}; `lambent runs {run}` lists what there is")
        return found

    def trim(self, run: str, *, bytes_max: int) -> tuple[str, ...]:
        """Keep the artifacts within a bound: those saved last go. The answer is their paths."""
        room, gone = bytes_max, []
        for file in sorted(self.artifacts(run), key=lambda file: (file.unix_ms, file.path)):
            room -= file.size_bytes
            if room < 0:
                room += file.size_bytes
                (self.artifacts_dir(run) / file.path).unlink(missing_ok=True)
                gone.append(file.path)
        return tuple(gone)

    def size_bytes(self, run: str) -> int:
        """What its artifacts take."""
        return sum(facts.st_size for _, facts in _files(self.artifacts_dir(run)))

    def remove(self, run: str) -> None:
        """Forget it all. Harmless where there is nothing."""
        shutil.rmtree(self._of(run), ignore_errors=True)

    def _of(self, run: str) -> Path:
        # Names come from outside, and as a path could lead anywhere.
        if not NAME.fullmatch(run):
            raise NotFound(f"there is no run {run!r}; `lambent runs` lists what there is")
        return self._folder / run


def _files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The plain files below a folder, `FILES_MAX` of them at the most."""
    left = FILES_MAX
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if left and path.is_file() and not path.is_symlink():
                left -= 1
                yield path, path.stat()
