"""The durable queue of asynchronous invocations: on disk before the caller hears yes, run at least once.

A ticket is stored queued, marked running while it is tried, and ends as succeeded, dead or cancelled. At
start, what was running is queued again: the server stopped before it knew the outcome.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from weakref import WeakValueDictionary

from lambent.clock import Clock, SteadyClock
from lambent.core.deferral import Terms
from lambent.core.errors import Conflict, LambentError, NotFound
from lambent.core.invocation import Invocation, called_as_text, new_id
from lambent.core.tracing import trace_as_text, trace_from, trace_id_of
from lambent.jobs import endings
from lambent.jobs.attempts import Attempts, Invoke
from lambent.jobs.commits import Commits
from lambent.jobs.destinations import follow_of, letters_of
from lambent.jobs.lanes import Lane, Lanes
from lambent.pool.handlings import Handlings
from lambent.pool.routes import Routes
from lambent.storage.groups import Disk
from lambent.storage.tickets import OPEN, Change, DeadLetters, Ticket, Tickets, TicketState

IDLE_S: Final = 1.0
FORGET_EVERY_S: Final = 60.0
RESULTS_BYTES_MAX: Final = 1 << 30
# So much may come on top of `RESULTS_BYTES_MAX` before somebody looks.
RESULTS_BYTES_SLACK: Final = RESULTS_BYTES_MAX // 8
CANCEL_TRIES_MAX: Final = 10  # it may begin, or come back to wait, in between

log = logging.getLogger(__name__)


class Outbox(Protocol):
    """Who delivers what webhooks are to be told."""

    def admit(self) -> None:
        """Raise `QueueFull` where nothing may be added to what waits."""

    def enter(self) -> None:
        """One more is stored."""


# Told of messages that are stored: the project, the queue, how many, and their bytes.
Arrived = Callable[[str, str, int, int], None]


def nobody_waits(_project: str, _queue: str, _count: int, _size_bytes: int) -> None:
    """There are no queues that anybody looks at."""


class AsyncQueue:
    """Accepts invocations for later and runs them, at most `running_max` at once."""

    def __init__(
        self,
        tickets: Tickets,
        dead_letters: DeadLetters,
        invoke: Invoke,
        routes: Routes,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        running_max: int,
        outbox: Outbox,
        handlings: Handlings,
        arrived: Arrived = nobody_waits,
        disk: Disk = asyncio.to_thread,
    ) -> None:
        self._tickets: Final = tickets
        self._dead_letters: Final = dead_letters
        self._clock: Final = SteadyClock(clock)  # or a jump would make what waits due never, or too old
        self._outbox: Final = outbox
        self._arrived: Final = arrived
        self._disk: Final = disk
        self._commits: Final = Commits(tickets, tasks, disk)
        self._lanes: Final = Lanes()
        self._results_bytes = 0  # since the last look
        self._forget_at_s = self._looked_s = clock.now_s()
        self._poke: Final = asyncio.Event()
        self._ends: Final[WeakValueDictionary[str, asyncio.Event]] = WeakValueDictionary()
        self._attempts: Final = Attempts(
            tickets, self._commits, invoke, self._lanes, routes, self._clock, tasks,
            running_max=running_max, handlings=handlings, disk=disk,
            store=self._store, stir=self._poke.set,
        )  # fmt: skip

    # What the doors ask for.

    async def accept(self, invocation: Invocation, terms: Terms, *, keyed: bool) -> Ticket:
        """Put it on disk and return its ticket. Raises `QueueFull`, `StorageFull`.

        `keyed`: its id comes from an idempotency key, and stands for it from now on.
        """
        lane = self._lanes.of(invocation.project, invocation.deployment)
        self._lanes.admit(lane, len(invocation.body))
        if terms.webhook:
            self._outbox.admit()
        ticket = self._ticket(invocation, terms, keyed=keyed)
        self._lanes.enter(lane, 1, len(ticket.body))

        def settle(made: asyncio.Future[bool]) -> None:
            # Also where the caller has left meanwhile: what counts is what is on disk.
            if made.cancelled() or made.exception() or not made.result():
                self._lanes.leave(lane, len(ticket.body))
            else:
                lane.look = True
                self._poke.set()

        made = self._commits.ask(Change(ticket=ticket, expects=None))
        made.add_done_callback(settle)
        if await asyncio.shield(made):
            return ticket
        return await self._found(ticket.project, ticket.id)

    async def find(self, project: str, ticket: str) -> Ticket | None:
        """A ticket by its id, whatever its state."""
        return await self._disk(lambda: self._tickets.find(project, ticket))

    async def ended(self, project: str, ticket: str, *, wait_s: float) -> Ticket | None:
        """The ticket once it is final, or as it is when `wait_s` have passed."""
        event = self._ends.setdefault(ticket, asyncio.Event())
        found = await self.find(project, ticket)
        if found is None or found.state not in OPEN:
            return found
        try:
            async with asyncio.timeout(wait_s):
                await event.wait()
        except TimeoutError:
            pass
        return await self.find(project, ticket)

    async def cancel(self, project: str, ticket: str) -> Ticket:
        """Let one that has not ended end now: it is never tried again, and what runs of it is told so.

        Raises `NotFound`, and `Conflict` where it has ended.
        """
        found = await self._found(project, ticket)
        for _ in range(CANCEL_TRIES_MAX):
            if found.state is TicketState.CANCELLED:
                return found
            if found.state not in OPEN:
                break
            lane = self._lanes.of(project, found.deployment)
            gone = endings.cancelled(self._attempts.spec(lane), found, now_unix_ms=self._clock.unix_ms())
            made = self._commits.ask(Change(ticket=gone, expects=found.state))
            # Also where the caller has left meanwhile.
            made.add_done_callback(functools.partial(self._cancelled, lane, found, gone))
            if await asyncio.shield(made):
                return gone
            found = await self._found(project, ticket)
        raise Conflict(f"{ticket!r} is {found.state.value}: only one that has not ended can be cancelled")

    async def redrive(self, project: str, deployment: str, ticket: str = "") -> int:
        """Try a dead letter, or all of a deployment's, as if just accepted; returns how many."""
        now_unix_ms = self._clock.unix_ms()
        moved = await self._disk(
            lambda: self._dead_letters.redrive(project, deployment, ticket=ticket, now_unix_ms=now_unix_ms)
        )
        lane = self._lanes.of(project, deployment)
        self._lanes.enter(lane, moved.count, moved.size_bytes)
        lane.dead = max(0, lane.dead - moved.count)
        self._poke.set()
        return moved.count

    async def purge(self, project: str, deployment: str, ticket: str = "") -> int:
        """Forget a dead letter, or all of a deployment's; returns how many."""
        now_unix_ms = self._clock.unix_ms()
        moved = await self._disk(
            lambda: self._dead_letters.purge(project, deployment, ticket=ticket, now_unix_ms=now_unix_ms)
        )
        lane = self._lanes.of(project, deployment)
        lane.dead = max(0, lane.dead - moved.count)
        return moved.count

    def dead(self, project: str) -> Mapping[str, int]:
        """How many dead letters each deployment of a project has, where it has any."""
        return self._lanes.dead(project)

    # Its life.

    async def restore(self) -> None:
        """Take up what an earlier server left; before anything is accepted."""
        now_unix_ms = self._clock.unix_ms()
        again = await self._disk(lambda: self._tickets.restore(now_unix_ms=now_unix_ms))
        if again:
            log.info("tickets_requeued", extra={"count": again})
        self._lanes.restore(await self._disk(self._tickets.shares))

    async def run(self) -> None:
        """Work until cancelled. A store that cannot be used now is tried again."""
        while True:
            self._poke.clear()
            try:
                await self._forget()
                self._tick()
                await self._attempts.start_due()
            except LambentError as error:
                log.warning("queue_stands", extra={"reason": error.message})
            await self._rest()

    def pause(self) -> None:
        """Start nothing more. For good: the server is about to stop."""
        self._attempts.pause()

    async def settle(self) -> None:
        """Give what has run a moment to be stored, so that the next server does not run it once more."""
        await self._attempts.settle()

    async def _forget(self) -> None:
        now_s = self._clock.now_s()
        if now_s < self._forget_at_s and self._results_bytes < RESULTS_BYTES_SLACK:
            return
        self._forget_at_s = now_s + FORGET_EVERY_S
        self._results_bytes = 0
        now_unix_ms, forgotten = self._clock.unix_ms(), 0
        while gone := await self._disk(
            lambda: self._tickets.forget(now_unix_ms=now_unix_ms, results_bytes_max=RESULTS_BYTES_MAX)
        ):
            forgotten += gone
        if forgotten:
            self._lanes.recount_dead(await self._disk(self._tickets.shares))

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(IDLE_S if self._lanes.open else FORGET_EVERY_S):
                await self._poke.wait()
        except TimeoutError:
            return

    def _tick(self) -> None:
        """Time makes things due that nobody pokes for."""
        now_s = self._clock.now_s()
        if now_s - self._looked_s >= IDLE_S:
            self._looked_s = now_s
            self._lanes.look_everywhere()

    # The end of a try.

    async def _store(self, lane: Lane, before: Ticket, after: Ticket, *, expects: TicketState) -> None:
        now_unix_ms = self._clock.unix_ms()
        delivery = endings.delivery_of(after, f"msg_{new_id()}", now_unix_ms=now_unix_ms)
        spec = self._attempts.spec_for(lane, before)
        follow = follow_of(spec, before, after, now_unix_ms=now_unix_ms)
        letters = letters_of(spec, before, after, now_unix_ms=now_unix_ms)
        change = Change(ticket=after, expects=expects, delivery=delivery, follow=follow, letters=letters)
        made = await self._commits.insist(change)
        if made and after.state is not TicketState.QUEUED:
            self._left(lane, before, after)
            if delivery is not None:
                self._outbox.enter()
            for letter in letters:
                self._arrived(letter.project, letter.queue, 1, letter.message.size_bytes)
            if follow is not None:
                # Over the lane's bound, if need be: it tells of something that has happened.
                self._lanes.enter(self._lanes.of(follow.project, follow.deployment), 1, len(follow.body))
                self._poke.set()

    def _cancelled(self, lane: Lane, before: Ticket, after: Ticket, made: asyncio.Future[bool]) -> None:
        if not made.cancelled() and not made.exception() and made.result():
            self._left(lane, before, after)
            self._attempts.cancel(after.id)

    def _left(self, lane: Lane, before: Ticket, after: Ticket) -> None:
        if after.state is TicketState.DEAD:
            lane.dead += 1
            log.warning(
                "invocation_dead",
                extra={
                    "invocation": after.id,
                    "trace": trace_id_of(after.id, trace_from(after.trace)),
                    "deployment": after.deployment,
                    "reason": after.error,
                },
            )
        self._lanes.leave(lane, len(before.body))
        self._results_bytes += len(after.result)
        if event := self._ends.get(after.id):
            event.set()

    async def _found(self, project: str, ticket: str) -> Ticket:
        found = await self.find(project, ticket)
        if found is None:
            raise NotFound(f"there is no asynchronous invocation {ticket!r}")
        return found

    def _ticket(self, invocation: Invocation, terms: Terms, *, keyed: bool) -> Ticket:
        now_unix_ms = self._clock.unix_ms()
        due_unix_ms = now_unix_ms + int(terms.delay_s * 1e3)
        return Ticket(
            id=invocation.id,
            project=invocation.project,
            deployment=invocation.deployment,
            body=invocation.body,
            content_type=invocation.content_type,
            state=TicketState.QUEUED,
            due_unix_ms=due_unix_ms,
            created_unix_ms=now_unix_ms,
            client_context=invocation.client_context,
            trace=trace_as_text(invocation.trace),
            called=called_as_text(invocation.called),
            alias=invocation.alias,
            sticky=invocation.sticky,
            order_key=terms.order_key,
            webhook=terms.webhook,
            webhook_reach=terms.reach,
            face=terms.face,
            body_hash=hashlib.sha256(invocation.body).digest(),
            keyed=keyed,
            queued_unix_ms=due_unix_ms,
        )
