"""Messages that were given up, moved back to where they came from or elsewhere: one task for each such wish.

A message moves in one transaction, so that it is in one queue at any instant. What a task has done is written
down after each batch: who starts again after a kill may have moved a batch more than it says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from lambent.bindings.queues import Queues
from lambent.clock import Clock
from lambent.core.errors import Conflict, LambentError, NotFound, QueueFull
from lambent.core.invocation import new_id
from lambent.storage.groups import Disk
from lambent.storage.queues import Stuck
from lambent.storage.records import Record, Records
from lambent.wire.typed import from_fields

KIND: Final = "queue.move"
ALL: Final = ""  # the project under which they are kept: names say whose they are
BATCH_MAX: Final = 100
KEPT_MAX: Final = 10  # of a queue
RUNNING_MAX: Final = 100
PAUSE_S: Final = 5.0  # where the store cannot be used

log = logging.getLogger(__name__)


class Status(StrEnum):
    """How a move stands."""

    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of `source` go to `to`, or if that is empty each to the queue that gave it up.

    `per_second` bounds their number, 0 for as fast as it goes; `to_move` is what was there at first, and no
    more moves: what fails anew comes back to the same queue.
    """

    id: str
    project: str
    source: str
    to: str = ""
    per_second: int = 0
    status: Status = Status.RUNNING
    moved: int = 0
    to_move: int = 0
    stuck: Stuck = Stuck.NO
    started_unix_ms: int = 0


class Run:
    """A move under way."""

    def __init__(self, move: Move) -> None:
        self.move = move
        self.cancelled: Final = asyncio.Event()
        self.ended: Final = asyncio.Event()


class Moves:
    """Moves of every project. At most one of a queue runs."""

    def __init__(
        self,
        queues: Queues,
        records: Records,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        disk: Disk = asyncio.to_thread,
    ) -> None:
        self._queues: Final = queues
        self._records: Final = records
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._disk: Final = disk
        self._runs: Final[dict[tuple[str, str], Run]] = {}
        self._starting: Final = asyncio.Lock()

    async def start(self, project: str, source: str, *, to: str = "", per_second: int = 0) -> Move:
        """Begin a move. Raises `NotFound`, `Conflict` where one of the queue runs, `QueueFull`."""
        async with self._starting:
            if (project, source) in self._runs:
                raise Conflict(f"messages of the queue {source!r} are being moved already")
            if len(self._runs) >= RUNNING_MAX:
                raise QueueFull(f"{RUNNING_MAX} moves are under way, the maximum: wait for one to end")
            share = await self._queues.share(project, source)
            move = Move(
                id=new_id(),
                project=project,
                source=source,
                to=to,
                per_second=per_second,
                to_move=share.visible,
                started_unix_ms=self._clock.unix_ms(),
            )
            await self._keep(move)
            for old in (await self.of(project, source))[KEPT_MAX:]:
                await self._forget(_name(old), old.id)
            self._begin(move)
            return move

    async def of(self, project: str, source: str) -> Sequence[Move]:
        """The moves of a queue, newest first. Raises `NotFound`."""
        queue = self._queues.find(project, source)
        if queue is None:
            raise NotFound(f"there is no queue {source!r}")
        records = await self._disk(lambda: self._records.all(ALL, KIND, f"{project}/{source}"))
        found = [move for record in records if (move := _read(record)) is not None]
        run = self._runs.get((project, source))
        mine = [
            run.move if run is not None and run.move.id == move.id else move
            for move in found
            if move.started_unix_ms >= queue.created_unix_ms  # or it was of an earlier queue of that name
        ]
        return sorted(mine, key=lambda move: (move.started_unix_ms, move.id), reverse=True)

    async def cancel(self, project: str, source: str, move_id: str) -> Move:
        """Move nothing more; what was moved. Raises `NotFound`, and `Conflict` where it does not run."""
        for move in await self.of(project, source):
            if move.id == move_id:
                run = self._runs.get((project, source))
                if run is None or run.move.status is not Status.RUNNING:
                    raise Conflict(f"the move {move_id!r} is {move.status}")
                run.move = msgspec.structs.replace(run.move, status=Status.CANCELLING)
                run.cancelled.set()
                await run.ended.wait()
                return run.move
        raise NotFound(f"there is no move {move_id!r}")

    async def restore(self) -> None:
        """Go on with what an earlier server began; forget what was of queues that are gone."""
        for record in await self._disk(lambda: self._records.all(ALL, KIND)):
            move = _read(record)
            if move is None or self._queues.find(move.project, move.source) is None:
                await self._forget(record.name, record.key)
            elif move.status is Status.RUNNING:
                self._begin(move)

    def pause(self) -> None:
        """Move nothing more, and go on when a server starts again. For good: the server is about to stop."""
        for run in self._runs.values():
            run.cancelled.set()

    def _begin(self, move: Move) -> None:
        run = self._runs[move.project, move.source] = Run(move)
        self._tasks.create_task(self._see_through(run), name=f"move {move.id}")

    async def _see_through(self, run: Run) -> None:
        try:
            ended = await self._ended(run)
            run.move = msgspec.structs.replace(run.move, status=ended)
            await self._kept(run.move)
        finally:
            del self._runs[run.move.project, run.move.source]
            run.ended.set()

    async def _ended(self, run: Run) -> Status:
        """Move until there is no more of it; how it ended."""
        while run.move.moved < run.move.to_move:
            move = run.move
            count = min(BATCH_MAX, move.per_second or BATCH_MAX, move.to_move - move.moved)
            await self._wait(run, count / move.per_second if move.per_second else 0.0)
            if run.cancelled.is_set():
                is_theirs = run.move.status is Status.CANCELLING
                return Status.CANCELLED if is_theirs else Status.RUNNING  # a server that stops goes on later
            try:
                moved = await self._queues.move(move.project, move.source, move.to, count)
            except NotFound:
                run.move = msgspec.structs.replace(run.move, stuck=Stuck.NO_QUEUE)
                return Status.FAILED
            except LambentError as error:
                log.warning("move_stands", extra={"queue": move.source, "reason": error.message})
                await self._wait(run, PAUSE_S)
                continue
            run.move = msgspec.structs.replace(
                run.move, moved=move.moved + len(moved.sent), stuck=moved.stuck
            )
            if moved.stuck:
                return Status.FAILED
            if not moved.sent:  # somebody else has received what was left
                break
            await self._kept(run.move)
        return Status.COMPLETED

    async def _wait(self, run: Run, wait_s: float) -> None:
        if wait_s > 0:
            try:
                async with asyncio.timeout(wait_s):
                    await run.cancelled.wait()
            except TimeoutError:
                return

    async def _kept(self, move: Move) -> None:
        try:
            await self._keep(move)
        except LambentError as error:  # it moves on; after a kill it may begin from what it said before
            log.warning("move_not_kept", extra={"queue": move.source, "reason": error.message})

    async def _keep(self, move: Move) -> None:
        record = Record(
            project=ALL,
            kind=KIND,
            name=_name(move),
            key=move.id,
            body=msgspec.to_builtins(move),
            changed_unix_ms=self._clock.unix_ms(),
        )
        await self._disk(lambda: self._records.put(record))

    async def _forget(self, name: str, key: str) -> None:
        await self._disk(lambda: self._records.remove(ALL, KIND, name, key))


def _read(record: Record) -> Move | None:
    try:
        return from_fields(record.body, Move)
    except msgspec.ValidationError as error:  # a newer server may have written it
        log.warning("move_not_read", extra={"record": record.name, "reason": str(error)})
        return None


def _name(move: Move) -> str:
    return f"{move.project}/{move.source}"
