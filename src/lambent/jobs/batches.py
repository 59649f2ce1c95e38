"""Batches of requests: taken in, seen through to their ends, told about, and cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from lambent.clock import Clock
from lambent.core.errors import Conflict, LambentError, NotFound, QueueFull, StorageBroken
from lambent.core.invocation import new_id
from lambent.jobs.batch_work import BatchWork, Lines, Queue
from lambent.jobs.storing import PAUSE_S
from lambent.storage.batches import BatchStore
from lambent.wire.openai.batches import Batch, BatchBody, BatchState
from lambent.wire.openai.files import StoredFile

OPEN_MAX: Final = 64  # batches of a project that have not ended

log = logging.getLogger(__name__)


class Batches:
    """The batches of every project."""

    def __init__(
        self, store: BatchStore, lines: Lines, queue: Queue, clock: Clock, tasks: asyncio.TaskGroup
    ) -> None:
        self._store: Final = store
        self._lines: Final = lines
        self._queue: Final = queue
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._open: Final[dict[str, BatchWork]] = {}

    async def restore(self) -> None:
        """Take up what an earlier server left."""
        for batch in await asyncio.to_thread(self._store.unfinished):
            self._start(batch)

    async def begin(self, project: str, body: BatchBody, source: StoredFile) -> Batch:
        """A new one, on disk once this returns; it goes on by itself. Raises `QueueFull`, `StorageFull`."""
        if sum(one.batch.project == project for one in self._open.values()) >= OPEN_MAX:
            raise QueueFull(f"the project has {OPEN_MAX} batches that have not ended", retry_after_s=30.0)
        now_unix_ms = self._clock.unix_ms()
        batch = Batch(
            id="batch_" + new_id().replace("-", ""),
            project=project,
            endpoint=body.endpoint,
            input_file=source.id,
            window=body.completion_window,
            state=BatchState.VALIDATING,
            created_unix_ms=now_unix_ms,
            expires_unix_ms=now_unix_ms + body.window_s() * 1000,
            metadata=body.metadata,
        )
        await asyncio.to_thread(self._store.begin, batch, source)
        self._start(batch)
        return batch

    async def find(self, project: str, batch: str) -> Batch:
        """One as it stands. Raises `NotFound`."""
        work = self._open.get(batch)
        if work is not None and work.batch.project == project:
            return work.batch
        found = await asyncio.to_thread(self._store.find, project, batch)
        if found is None:
            raise NotFound(f"No batch found with id '{batch}'.")
        return found

    async def all(self, project: str) -> Sequence[Batch]:
        """Newest first."""
        found = await asyncio.to_thread(self._store.all, project)
        return [work.batch if (work := self._open.get(one.id)) else one for one in found]

    async def cancel(self, project: str, batch: str) -> Batch:
        """Run no more of its lines. Raises `NotFound`, and `Conflict` where it has ended."""
        found = await self.find(project, batch)
        work = self._open.get(batch)
        if work is None and found.state is not BatchState.CANCELLED:
            raise Conflict(f"Cannot cancel a batch with status '{found.state}'.")
        if work is None:
            return found
        await work.cancel()
        return work.batch

    def _start(self, batch: Batch) -> None:
        work = self._open[batch.id] = BatchWork(batch, self._store, self._lines, self._queue, self._clock)
        self._tasks.create_task(self._see_through(work), name=f"batch {batch.id}")

    async def _see_through(self, work: BatchWork) -> None:
        try:
            while True:
                try:
                    await work.run()
                    break
                except LambentError as error:
                    log.warning("batch_stands", extra={"batch": work.batch.id, "reason": error.message})
                    if not error.retryable or isinstance(error, StorageBroken):
                        await work.fail(error.message)
                        break
                await asyncio.sleep(PAUSE_S)
        except Exception as error:
            log.exception("batch_crashed", extra={"batch": work.batch.id})
            await self._give_up(work, error)
        finally:
            del self._open[work.batch.id]
        log.info("batch_ended", extra={"batch": work.batch.id, "state": work.batch.state.value})

    async def _give_up(self, work: BatchWork, error: Exception) -> None:
        try:
            await work.fail(f"the platform failed: {error}")
        except LambentError as trouble:  # the next server takes it up again
            log.warning("batch_stands", extra={"batch": work.batch.id, "reason": trouble.message})
