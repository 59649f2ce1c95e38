"""What runs leave behind while they run: curves, saved files, and a log that others may follow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from lambent.core.series import Batch
from lambent.jobs.curves import CurveFiles, Curves
from lambent.storage.base import Run

MIB: Final = 1 << 20
NAMED_MAX: Final = 3


class Records(CurveFiles, Protocol):
    """Where it is kept. Blocks."""

    def artifacts_dir(self, run: str) -> Path:
        """The folder for what a run saves."""

    def trim(self, run: str, *, bytes_max: int) -> Sequence[str]:
        """Keep what it has saved within a bound; the paths of what had to go."""


class RunLogs(Protocol):
    """Who knows which runs may still print."""

    def begin_run(self, project: str, run: str) -> None:
        """It may print from now on."""

    def end_run(self, project: str, run: str) -> None:
        """It will print no more."""


class Recorder:
    """Keeps what runs leave behind, each within its bounds."""

    def __init__(self, curves: Curves, records: Records, logs: RunLogs, *, saved_bytes_max: int) -> None:
        self._curves: Final = curves
        self._records: Final = records
        self._logs: Final = logs
        self._saved_bytes_max: Final = saved_bytes_max

    def enter(self, run: Run) -> None:
        """It is there, and waits for its turn."""
        self._logs.begin_run(run.project, run.id)

    def leave(self, run: Run) -> None:
        """It is over, and whoever follows its log has seen all of it."""
        self._logs.end_run(run.project, run.id)

    async def begin(self, run: Run) -> str:
        """A worker begins with it; where that may save files."""
        await self._curves.begin(run.id)
        return str(self._records.artifacts_dir(run.id))

    def hear(self, run: Run, batches: Mapping[str, Batch]) -> None:
        """Its worker has logged this."""
        self._curves.hear(run.id, batches)

    async def rest(self, run: Run) -> str:
        """Its worker is gone: all that it logged is kept. A sentence where it has saved too much."""
        await self._curves.end(run.id)
        gone = await asyncio.to_thread(self._trimmed, run.id)
        if not gone:
            return ""
        named = ", ".join(gone[:NAMED_MAX]) + (
            f" and {len(gone) - NAMED_MAX} more" if gone[NAMED_MAX:] else ""
        )
        most = f"{self._saved_bytes_max / MIB:,.0f} MiB"
        return f"it saved more than {most}, and what came last was removed: {named}"

    def _trimmed(self, run: str) -> Sequence[str]:
        return self._records.trim(run, bytes_max=self._saved_bytes_max)
