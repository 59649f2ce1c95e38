"""One batch of requests, seen through: its lines run as asynchronous invocations, a bounded number at a time.

Each line has an idempotency key, so that a server that takes the batch up after another finds the same
ticket; what came of it is in the batch's journal before the ticket may be forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.errors import Conflict, LambentError, NotFound
from lambent.jobs.storing import PAUSE_S
from lambent.storage.batches import BatchStore, Entry, Journal
from lambent.storage.tickets import OPEN, Ticket, TicketState
from lambent.wire.openai.batches import FINAL, Batch, BatchState, Came, Line, LineError, Mistake, read_line
from lambent.wire.openai.files import OUTPUT, StoredFile

IN_FLIGHT_MAX: Final = 32
READ_MAX: Final = 256  # lines at a time
WAIT_S: Final = 60.0
ROUNDS_MAX: Final = 3  # of running a line whose outcome was forgotten before anybody saw it
EXPIRED: Final = LineError(
    code="batch_expired",
    message="This request could not be executed before the completion window expired.",
)
CANCELLED: Final = LineError(
    code="batch_cancelled", message="This request was not executed before the batch was cancelled."
)
FORGOTTEN: Final = LineError(code="result_not_kept", message="The result was not kept long enough.")

log = logging.getLogger(__name__)


class Lines(Protocol):
    """Who knows what the lines of a batch ask."""

    async def accept(self, project: str, line: Line, *, key: str) -> Ticket:
        """The ticket of a line, on disk. Raises `LambentError` for what cannot be asked."""

    def told(self, name: str, line: Line, ticket: Ticket) -> Came:
        """A line whose ticket has ended."""

    def refused(self, name: str, line: Line, error: LambentError) -> Came:
        """A line that was not accepted."""


class Queue(Protocol):
    """The durable queue."""

    async def ended(self, project: str, ticket: str, *, wait_s: float) -> Ticket | None:
        """The ticket once it is final, or as it is when `wait_s` have passed."""

    async def cancel(self, project: str, ticket: str) -> Ticket:
        """Let one end now. Raises `NotFound`, and `Conflict` where it has ended."""

    async def purge(self, project: str, deployment: str, ticket: str = "") -> int:
        """Forget a dead letter."""


class BatchWork:
    """A batch that has not ended. `batch` is how it stands."""

    def __init__(self, batch: Batch, store: BatchStore, lines: Lines, queue: Queue, clock: Clock) -> None:
        self.batch = batch
        self._store: Final = store
        self._lines: Final = lines
        self._queue: Final = queue
        self._clock: Final = clock
        self._why = CANCELLED if batch.is_cancelled else None  # why no more lines are run
        self._in_flight: Final[dict[int, Ticket]] = {}
        self._writing: Final = asyncio.Lock()

    async def run(self) -> None:
        """To its end. Raises `LambentError` where the store cannot be used now: it may be run again."""
        if self.batch.state in FINAL:  # stored, and its folder is there still
            await asyncio.to_thread(self._store.end, self.batch, [])
            return
        if self.batch.state is BatchState.VALIDATING:
            checked = await asyncio.to_thread(self._store.check, self.batch)
            self._alter(total=checked.total, model=checked.model)
            if checked.mistakes:
                await self._end(BatchState.FAILED, [], mistakes=checked.mistakes, total=0)
                return
            if not self.batch.is_cancelled:
                await self._come_to(BatchState.IN_PROGRESS)
        journal = await asyncio.to_thread(self._store.journal, self.batch)
        await self._answer(journal)
        if self.batch.state is BatchState.IN_PROGRESS:
            await self._come_to(BatchState.FINALIZING)
        files = await self._made(journal)
        last = BatchState.EXPIRED if journal.cut else BatchState.COMPLETED
        await self._end(BatchState.CANCELLED if self.batch.is_cancelled else last, files)

    async def fail(self, message: str) -> None:
        """It cannot go on."""
        await self._end(BatchState.FAILED, [], mistakes=(Mistake(code="server_error", message=message),))

    async def cancel(self) -> None:
        """Run no more of its lines. Once this returns it is on disk that it shall end.

        Raises `Conflict` where it has ended, or has all its answers.
        """
        if self.batch.is_cancelled and self.batch.state is BatchState.CANCELLING:
            return
        if self.batch.state not in (BatchState.VALIDATING, BatchState.IN_PROGRESS):
            raise Conflict(f"Cannot cancel a batch with status '{self.batch.state}'.")
        self._alter(is_cancelled=True)
        await self._come_to(BatchState.CANCELLING)
        await self._stop(CANCELLED)

    async def _answer(self, journal: Journal) -> None:
        self._alter(completed=journal.completed, failed=journal.failed)
        if self.batch.state is BatchState.FINALIZING:
            return
        left_s = (self.batch.expires_unix_ms - self._clock.unix_ms()) / 1e3
        if left_s <= 0:
            self._why = self._why or EXPIRED
        seats = asyncio.Semaphore(IN_FLIGHT_MAX)
        rest = self._store.lines(self.batch)
        async with asyncio.TaskGroup() as alarms:
            alarm = alarms.create_task(self._expire(left_s))
            try:
                async with asyncio.TaskGroup() as tasks:
                    while read := await asyncio.to_thread(_some, rest):
                        new = [one for one in read if one[0] not in journal.numbers]
                        for place, (number, text) in enumerate(new):
                            await seats.acquire()
                            if self._why is not None:
                                seats.release()
                                await self._leave_out(journal, new[place:])
                                break
                            tasks.create_task(self._see_through(journal, seats, number, text))
            finally:
                alarm.cancel()

    async def _see_through(
        self, journal: Journal, seats: asyncio.Semaphore, number: int, text: bytes
    ) -> None:
        try:
            line = read_line(text, self.batch.endpoint, number)
            if isinstance(line, Line):
                came, ticket = await self._came(number, line)
                await self._journal(journal, [Entry(number, came)])
                if ticket is not None and ticket.state is TicketState.DEAD:  # the error file has it
                    await self._queue.purge(ticket.project, ticket.deployment, ticket.id)
        finally:
            self._in_flight.pop(number, None)
            seats.release()

    async def _came(self, number: int, line: Line) -> tuple[Came, Ticket | None]:
        name = _name(self.batch, number)
        for turn in range(ROUNDS_MAX):
            try:
                ticket = await self._accepted(line, f"{self.batch.id}:{number}:{turn}")
            except LambentError as error:
                return self._lines.refused(name, line, error), None
            if ticket is None:
                break
            self._in_flight[number] = ticket
            if self._why is not None:
                await self._cancel(ticket)
            ended: Ticket | None = ticket
            while ended is not None and ended.state in OPEN:
                ended = await self._queue.ended(ticket.project, ticket.id, wait_s=WAIT_S)
            if ended is not None and ended.state is TicketState.CANCELLED and self._why is not None:
                break
            if ended is not None and ended.state is not TicketState.FORGOTTEN:
                return self._lines.told(name, line, ended), ended
        return _left_out(name, line.custom_id, self._why or FORGOTTEN), None

    async def _accepted(self, line: Line, key: str) -> Ticket | None:
        """None where no more lines are run. What has no room is asked again."""
        while self._why is None:
            try:
                return await self._lines.accept(self.batch.project, line, key=key)
            except LambentError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(error.retry_after_s or PAUSE_S)
        return None

    async def _leave_out(self, journal: Journal, lines: list[tuple[int, bytes]]) -> None:
        entries = []
        for number, text in lines:
            line = read_line(text, self.batch.endpoint, number)
            if isinstance(line, Line):
                name = _name(self.batch, number)
                entries.append(Entry(number, _left_out(name, line.custom_id, self._why or CANCELLED)))
        await self._journal(journal, entries)

    async def _journal(self, journal: Journal, entries: list[Entry]) -> None:
        """As often as it takes: what has run waits for the store as long as the server lives."""
        while True:
            try:
                await asyncio.to_thread(journal.add, entries)
                break
            except LambentError as error:
                log.warning("batch_stands", extra={"batch": self.batch.id, "reason": error.message})
                await asyncio.sleep(PAUSE_S)
        self._alter(completed=journal.completed, failed=journal.failed)

    async def _expire(self, left_s: float) -> None:
        await asyncio.sleep(max(0.0, left_s))
        await self._stop(EXPIRED)

    async def _stop(self, why: LineError) -> None:
        self._why = self._why or why
        for ticket in list(self._in_flight.values()):
            await self._cancel(ticket)

    async def _cancel(self, ticket: Ticket) -> None:
        with suppress(Conflict, NotFound):
            await self._queue.cancel(ticket.project, ticket.id)

    async def _made(self, journal: Journal) -> list[StoredFile]:
        files = []
        for kind in ("output", "error"):
            name = f"{self.batch.id}_{kind}.jsonl"
            file = StoredFile(
                id=f"file-{self.batch.id.removeprefix('batch_')}-{kind}",
                project=self.batch.project,
                purpose=OUTPUT,
                name=name,
                size_bytes=0,
                created_unix_ms=self._clock.unix_ms(),
            )
            good = kind == "output"
            made = await asyncio.to_thread(self._store.make, self.batch, journal, file, good=good)
            if made is not None:
                self._alter(**{f"{kind}_file": made.id})
                files.append(made)
        return files

    async def _end(self, state: BatchState, files: list[StoredFile], **changes: Any) -> None:
        async with self._writing:
            ended = self._altered(state, **changes)
            await asyncio.to_thread(self._store.end, ended, files)
            self.batch = ended

    async def _come_to(self, state: BatchState) -> None:
        async with self._writing:
            self.batch = self._altered(BatchState.CANCELLING if self.batch.is_cancelled else state)
            await asyncio.to_thread(self._store.put, self.batch)

    def _altered(self, state: BatchState, **changes: Any) -> Batch:
        at = {**self.batch.at, state.value: self._clock.unix_ms() // 1000}
        return msgspec.structs.replace(self.batch, state=state, at=at, **changes)

    def _alter(self, **changes: Any) -> None:
        self.batch = msgspec.structs.replace(self.batch, **changes)


def _some(lines: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return list(islice(lines, READ_MAX))


def _name(batch: Batch, number: int) -> str:
    return f"batch_req_{batch.id.removeprefix('batch_')}_{number}"


def _left_out(name: str, custom_id: str, why: LineError) -> Came:
    return Came(id=name, custom_id=custom_id, response=None, error=why)
