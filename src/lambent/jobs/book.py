"""Where runs are written down: many to a transaction, and of one that changed twice only how it is now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from lambent.jobs.storing import insist
from lambent.storage.base import Run, Runs
from lambent.storage.groups import Disk, Groups

RUN_BYTES: Final = 1024  # what one takes beside what it says


class Book:
    """Writes runs in the order in which they changed. What `put` returns from is on disk."""

    def __init__(self, runs: Runs, tasks: asyncio.TaskGroup, disk: Disk = asyncio.to_thread) -> None:
        self._runs: Final = runs
        self._disk: Final = disk
        self._groups: Final = Groups[Run, None](self._write, tasks, disk, size_of=_size_bytes)

    def ask(self, run: Run) -> asyncio.Future[None]:
        """Told once it is on disk, or why it is not. Who waits for it may leave: shield it."""
        return self._groups.ask(run)

    async def put(self, run: Run) -> None:
        """Store it as it is. Raises what the store raises."""
        await self.ask(run)

    async def put_new(self, runs: Sequence[Run]) -> None:
        """Store runs that nobody knows yet, all of them or none. Raises what the store raises."""
        await self._disk(lambda: self._runs.put_all(runs))

    async def insist(self, run: Run) -> None:
        """As often as it takes: for what has happened and cannot be refused any more."""
        await insist(lambda: self.put(run), record=f"run {run.id}")

    def _write(self, runs: Sequence[Run]) -> Sequence[None]:
        self._runs.put_all(tuple({run.id: run for run in runs}.values()))
        return [None] * len(runs)


def _size_bytes(run: Run) -> int:
    return RUN_BYTES + len(run.result) + len(run.message)
