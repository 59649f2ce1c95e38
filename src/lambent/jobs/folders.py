"""The folders of runs: there for all slices, and kept of a failed run for its retry."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from lambent.core.slicing import NO_CHECKPOINT, RunState
from lambent.jobs.leaving import Arenas
from lambent.storage.base import Run

# Of runs that are over: those that a retry could take up, the newest.
KEPT_MAX: Final = 20


class Folders:
    """Where runs work. Methods block."""

    def __init__(self, root: Path, arenas: Arenas) -> None:
        self._root: Final = root
        self._arenas: Final = arenas

    def of(self, run: str) -> Path:
        """The folder of a run, which may not be there yet."""
        return self._root / run

    def begin(self, live: Collection[str]) -> None:
        """Remove what an earlier server left of runs that are over. Before any is started."""
        self._arenas.sweep(live)
        self.sweep(live)

    def clear(self, run: Run, live: Collection[str]) -> None:
        """It is over: what nobody will ask for any more goes, and with it the oldest of what is kept."""
        self._arenas.close(run.id)
        if run.state is RunState.SUCCEEDED or run.step == NO_CHECKPOINT:
            shutil.rmtree(self.of(run.id), ignore_errors=True)
        else:
            self.sweep(live)

    def sweep(self, live: Collection[str]) -> None:
        """Remove the oldest of what was kept, but nothing of the runs that are not over."""
        over = [folder for folder in self._folders() if folder.name not in live]
        for folder in sorted(over, key=_changed_s, reverse=True)[KEPT_MAX:]:
            shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return [path for path in self._root.iterdir() if path.is_dir()] if self._root.is_dir() else []


def _changed_s(folder: Path) -> float:
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0
