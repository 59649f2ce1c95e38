"""The curves of the runs that go on: heard from their workers, kept in memory, and soon after in files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.core.errors import PlatformFault
from lambent.core.series import Batch, Points, Series

WRITE_EVERY_S: Final = 1.0

log = logging.getLogger(__name__)


class CurveFiles(Protocol):
    """Where curves are kept. Blocks."""

    def put_curves(self, run: str, curves: Mapping[str, Points]) -> None:
        """Raises `StorageFull`."""

    def curves(self, run: str) -> Mapping[str, Points]:
        """Raises `StorageBroken`."""


class Curves:
    """The curves of all runs, as far as they go on here; of the others, what is in the files."""

    def __init__(self, files: CurveFiles, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self._files: Final = files
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._books: Final[dict[str, _Book]] = {}

    async def begin(self, run: str) -> None:
        """A worker of the run is about to log."""
        try:
            before = await asyncio.to_thread(self._files.curves, run)
        except PlatformFault as error:
            log.warning("curves_lost", extra={"run": run, "reason": error.message})
            before = {}
        self._books.setdefault(run, _Book(run, Series.of(before)))

    def hear(self, run: str, batches: Mapping[str, Batch]) -> None:
        """What its worker says. Of a run that has not begun nothing is kept."""
        book = self._books.get(run)
        if book is None or not batches:
            return
        book.series.merge(batches, self._clock.unix_ms())
        book.is_written = False
        if book.writing is None:
            book.writing = self._tasks.create_task(self._write_soon(book), name=f"curves of {run}")

    async def end(self, run: str) -> None:
        """Its worker will log no more: what it said is in the file when this returns, if there is room."""
        book = self._books.get(run)
        if book is None:
            return
        book.ending.set()
        if book.writing is not None:
            await asyncio.wait([book.writing])
        self._books.pop(run, None)

    async def points(self, run: str) -> Mapping[str, Points]:
        """All its curves as they are now. Raises `StorageBroken`."""
        book = self._books.get(run)
        return book.series.points() if book else await asyncio.to_thread(self._files.curves, run)

    async def _write_soon(self, book: _Book) -> None:
        """Once, and again each second while there is more; for the last time when the worker has ended."""
        while not book.is_written:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, book.due_s - self._clock.now_s())):
                    await book.ending.wait()
            is_last = book.ending.is_set()
            await self._write(book)
            if is_last:
                break
        book.writing = None

    async def _write(self, book: _Book) -> None:
        book.due_s = self._clock.now_s() + WRITE_EVERY_S
        book.is_written = True
        try:
            await asyncio.to_thread(self._files.put_curves, book.run, book.series.points())
        except PlatformFault as error:
            book.is_written = False
            log.warning("curves_not_kept", extra={"run": book.run, "reason": error.message})


class _Book:
    """The curves of one run, and how far they are written."""

    def __init__(self, run: str, series: Series) -> None:
        self.run: Final = run
        self.series: Final = series
        self.is_written = True
        self.writing: asyncio.Task[None] | None = None
        self.ending: Final = asyncio.Event()
        self.due_s = 0.0
