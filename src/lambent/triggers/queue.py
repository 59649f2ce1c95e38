"""One queue that a deployment is invoked for: messages are taken, run in batches, and removed when done.

Nobody waits in a loop: it sleeps until a message is there. A message that its batch did not do is seen again
when the queue's own visibility timeout is over. At least once: what a kill interrupts comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from lambent.bindings.queues import Holder, Queues, Wish
from lambent.clock import Clock
from lambent.core.errors import LambentError, NotFound
from lambent.core.invocation import Called, Invocation, Outcome, Status, new_id
from lambent.core.messages import Message, Receipt
from lambent.core.sources import (
    BATCH_BYTES_MAX,
    Report,
    Source,
    batches_max,
    hidden_s,
    pause_s,
    shown_after_s,
)
from lambent.core.spec import DeploymentSpec
from lambent.pool.reservations import Reservations
from lambent.pool.routes import Routes
from lambent.storage.queues import Queue, Tries
from lambent.wire.aws.eventpatterns import Matches, read_pattern
from lambent.wire.aws.sqs_events import Record, event_of, matchable, record_of, undone

WAIT_S: Final = 3600.0  # then it looks again, and finds nothing either
PAUSE_S: Final = 5.0  # where there is no queue or no deployment

log = logging.getLogger(__name__)


class Invoke(Protocol):
    """Who runs an invocation: the dispatcher."""

    def __call__(self, invocation: Invocation, /) -> Awaitable[Outcome]: ...


class State(StrEnum):
    """What a source does."""

    POLLING = "polling"
    ENDING = "ending"  # it takes nothing more, and what it took still runs
    ENDED = "ended"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that run as one, and when the first of them was taken."""

    queue: Queue
    messages: tuple[Message, ...]
    records: tuple[Record, ...]
    taken_s: float


class Poller:
    """Serves one source until it is told to stop."""

    def __init__(
        self,
        source: Source,
        *,
        queues: Queues,
        routes: Routes,
        reservations: Reservations,
        invoke: Invoke,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`ended` is called once nothing of it runs. Raises `BadPattern`."""
        self.source: Final = source
        self.problem = ""  # of the last batch, in words
        self._queues: Final = queues
        self._routes: Final = routes
        self._reservations: Final = reservations
        self._invoke: Final = invoke
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._ended: Final = ended
        self._patterns: Final[Sequence[Matches]] = [read_pattern(one) for one in source.patterns]
        self._running = 0
        self._refusals = 0
        self._stopping = False
        self._freed: Final = asyncio.Event()
        self._loop: Final = tasks.create_task(self._run(), name=f"source {source.id}")
        self._loop.add_done_callback(lambda _: self._tell())

    @property
    def state(self) -> State:
        """What it does now."""
        if not self._stopping:
            return State.POLLING
        return State.ENDING if self._running or not self._loop.done() else State.ENDED

    def stop(self) -> None:
        """Take nothing more. What was taken runs to its end."""
        self._stopping = True
        self._loop.cancel()

    async def settled(self) -> None:
        """When nothing of it runs."""
        await asyncio.wait([self._loop])
        while self._running:
            self._freed.clear()
            await self._freed.wait()

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except NotFound:  # no queue, or not any more
                self.problem = f"the queue {self.source.queue!r} does not exist"
                await asyncio.sleep(PAUSE_S)
            except LambentError as error:
                self._refused(error.message)
                await asyncio.sleep(pause_s(self._refusals))

    async def _turn(self) -> None:
        spec = self._spec()
        if spec is None:
            self.problem = f"the function {self.source.deployment!r} does not exist"
            await asyncio.sleep(PAUSE_S)
            return
        if self._refusals:
            await asyncio.sleep(pause_s(self._refusals))
        while self._running >= batches_max(self.source, spec):
            self._freed.clear()
            await self._freed.wait()
        if self._refusals and self._running:  # one at a time, until it is taken
            return
        batch = await self._gather(spec)
        if batch is not None:
            self._running += 1
            self._tasks.create_task(self._see_through(batch), name=f"batch of {self.source.id}")

    def _spec(self) -> DeploymentSpec | None:
        route = self._routes.get(self.source.project, self.source.deployment)
        return route.spec if route is not None and route.invocable else None

    # What is taken.

    async def _gather(self, spec: DeploymentSpec) -> Batch | None:
        """The next batch; None where nothing has come that it wants. Who ends gives back what it took."""
        source = self.source
        queue = self._queue()
        visibility_s = hidden_s(source, spec, queue.terms.visibility_s)
        taken: list[Message] = []
        try:
            taken_s = self._clock.now_s()
            until_s = taken_s + WAIT_S
            while (room := source.batch_max - len(taken)) > 0:
                bytes_left = BATCH_BYTES_MAX - sum(one.size_bytes for one in taken)
                wait_s = max(0.0, until_s - self._clock.now_s())
                if bytes_left <= 0 or (taken and not wait_s):
                    break
                wish = Wish(
                    count=room,
                    bytes_max=bytes_left,
                    visibility_s=visibility_s,
                    wait_s=wait_s,
                    holder=Holder.SERVER,
                )
                got = await self._queues.receive(source.project, source.queue, wish)
                if not taken:
                    taken_s = self._clock.now_s()
                    until_s = taken_s + source.window_s
                taken += await self._wanted(queue, got)
                if not got:
                    break
        except BaseException:
            self._give_back(queue, taken)
            raise
        if not taken:
            return None
        records = tuple(record_of(one, _receipt(queue, one), queue.terms, source.arn) for one in taken)
        return Batch(queue=queue, messages=tuple(taken), records=records, taken_s=taken_s)

    def _queue(self) -> Queue:
        queue = self._queues.find(self.source.project, self.source.queue)
        if queue is None:
            raise NotFound(f"there is no queue {self.source.queue!r}")
        return queue

    async def _wanted(self, queue: Queue, got: Sequence[Message]) -> Sequence[Message]:
        """Those that match; the others are removed."""
        if not self._patterns:
            return got
        wanted: list[Message] = []
        others: list[Receipt] = []
        for one in got:
            event = matchable(record_of(one, _receipt(queue, one), queue.terms, self.source.arn))
            if any(matches(event) for matches in self._patterns):
                wanted.append(one)
            else:
                others.append(_receipt(queue, one))
        await self._queues.delete(others)
        return wanted

    def _give_back(self, queue: Queue, taken: Sequence[Message]) -> None:
        """Let others have what was taken, although it is we who end."""
        for one in taken:
            self._tasks.create_task(self._show(queue, one, after_s=0, tries=Tries.TAKEN_BACK))

    # What runs.

    async def _see_through(self, batch: Batch) -> None:
        try:
            await self._done(batch, await self._outcome(batch))
        finally:
            self._running -= 1
            self._freed.set()
            self._tell()

    def _tell(self) -> None:
        if self._loop.done() and not self._running:
            self._ended()

    async def _outcome(self, batch: Batch) -> Outcome | LambentError:
        source = self.source
        invocation = Invocation(
            id=new_id(),
            project=source.project,
            deployment=source.deployment,
            body=event_of(batch.records),
            alias=self._alias(),
            called=Called(source.called_arn, source.version),
        )
        try:
            self._reservations.enter(source.project, source.deployment, invocation.alias)
        except LambentError as error:
            return error
        try:
            return await self._invoke(invocation)
        except LambentError as error:
            return error
        finally:
            self._reservations.leave(source.project, source.deployment, invocation.alias)

    def _alias(self) -> str:
        """A version that is the active revision itself is known by no alias."""
        source = self.source
        is_kept = self._routes.split(source.project, source.deployment, source.alias) is not None
        return source.alias if is_kept or not source.alias.isdecimal() else ""

    async def _done(self, batch: Batch, outcome: Outcome | LambentError) -> None:
        if isinstance(outcome, LambentError) and (outcome.retryable or isinstance(outcome, NotFound)):
            # It never ran: that there was no room is not the messages' fault.
            self._refused(outcome.message)
            for one in batch.messages:
                await self._show(batch.queue, one, after_s=pause_s(self._refusals), tries=Tries.TAKEN_BACK)
            return
        self._refusals = 0
        failed = self._failed(batch, outcome)
        self.problem = "" if not failed else f"{len(failed)} of {len(batch.messages)} messages failed"
        await self._removed(batch, [one for one in batch.messages if one.id not in failed])
        held_s = self._clock.now_s() - batch.taken_s
        after_s = shown_after_s(batch.queue.terms.visibility_s, held_s=held_s)
        for one in batch.messages:
            if one.id in failed:
                await self._show(batch.queue, one, after_s=after_s)

    def _failed(self, batch: Batch, outcome: Outcome | LambentError) -> frozenset[str]:
        ids = [one.id for one in batch.messages]
        if isinstance(outcome, LambentError) or outcome.status is not Status.OK:
            return frozenset(ids)
        return undone(outcome.body, ids) if self.source.report is Report.ITEMS else frozenset()

    async def _removed(self, batch: Batch, done: Sequence[Message]) -> None:
        """They are done: that is written down as often as it takes."""
        receipts = [_receipt(batch.queue, one) for one in done]
        while receipts:
            try:
                await self._queues.delete(receipts)
            except LambentError as error:
                log.warning("not_removed", extra={"queue": batch.queue.name, "reason": error.message})
                await asyncio.sleep(PAUSE_S)
            else:
                return

    async def _show(
        self, queue: Queue, message: Message, *, after_s: float, tries: Tries = Tries.COUNTED
    ) -> None:
        try:
            await self._queues.show(_receipt(queue, message), after_s=after_s, tries=tries)
        except LambentError as error:  # then it is seen when it would have been anyway
            log.warning("not_shown", extra={"queue": queue.name, "reason": error.message})

    def _refused(self, reason: str) -> None:
        self._refusals += 1
        self.problem = reason
        log.info("source_refused", extra={"source": self.source.id, "reason": reason})


def _receipt(queue: Queue, message: Message) -> Receipt:
    return Receipt(queue.id, message.sequence, message.mark)
