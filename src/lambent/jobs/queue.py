"""The durable queue of asynchronous invocations: on disk before the caller hears yes, run at least once.

A ticket is stored queued, marked running while it is tried, and ends as succeeded, dead or cancelled. At
start, what was running is queued again: the server stopped before it knew the outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec

from lambent.clock import Clock, SteadyClock
from lambent.core.deferral import Terms, running_max
from lambent.core.errors import Conflict, LambentError, NotFound
from lambent.core.invocation import Invocation, Outcome, Status, called_as_text, called_from, new_id
from lambent.core.sharing import places
from lambent.core.spec import DeploymentSpec, Kind
from lambent.core.tracing import trace_as_text, trace_from, trace_id_of
from lambent.jobs import endings
from lambent.jobs.commits import PAUSE_S, Commits, Disk
from lambent.jobs.lanes import Lane, Lanes
from lambent.pool.routes import Routes
from lambent.storage.tickets import OPEN, Change, DeadLetters, Ticket, Tickets, TicketState

IDLE_S: Final = 1.0
FORGET_EVERY_S: Final = 60.0
RESULTS_BYTES_MAX: Final = 1 << 30
# So much may come on top of `RESULTS_BYTES_MAX` before somebody looks.
RESULTS_BYTES_SLACK: Final = RESULTS_BYTES_MAX // 8
SETTLE_S_MAX: Final = 5.0

log = logging.getLogger(__name__)


class Outbox(Protocol):
    """Who delivers what webhooks are to be told."""

    def admit(self) -> None:
        """Raise `QueueFull` where nothing may be added to what waits."""

    def enter(self) -> None:
        """One more is stored."""


class AsyncQueue:
    """Accepts invocations for later and runs them, at most `running_max` at once."""

    def __init__(
        self,
        tickets: Tickets,
        dead_letters: DeadLetters,
        invoke: Callable[[Invocation], Awaitable[Outcome]],
        routes: Routes,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        running_max: int,
        outbox: Outbox,
        disk: Disk = asyncio.to_thread,
    ) -> None:
        self._tickets: Final = tickets
        self._dead_letters: Final = dead_letters
        self._invoke: Final = invoke
        self._routes: Final = routes
        self._clock: Final = SteadyClock(clock)  # or a jump would make what waits due never, or too old
        self._tasks: Final = tasks
        self._running_max: Final = running_max
        self._outbox: Final = outbox
        self._disk: Final = disk
        self._commits: Final = Commits(tickets, tasks, disk)
        self._lanes: Final = Lanes()
        self._running = 0
        self._stopping = False
        self._results_bytes = 0  # since the last look
        self._forget_at_s = self._looked_s = clock.now_s()
        self._poke: Final = asyncio.Event()
        self._ends: Final[WeakValueDictionary[str, asyncio.Event]] = WeakValueDictionary()

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
        """Never run one that waits. Raises `NotFound`, and `Conflict` where it runs or has ended."""
        found = await self._found(project, ticket)
        lane = self._lanes.of(project, found.deployment)
        if found.state is TicketState.QUEUED and ticket not in lane.running:
            now_unix_ms = self._clock.unix_ms()
            gone = endings.cancelled(self._spec(lane), found, now_unix_ms=now_unix_ms)
            if await self._commits.make(Change(ticket=gone, expects=TicketState.QUEUED)):
                self._left(lane, found, gone)
                return gone
            found = await self._found(project, ticket)
        if found.state is TicketState.CANCELLED:
            return found
        raise Conflict(f"{ticket!r} is {found.state.value}: only one that waits can be cancelled")

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
                await self._start_due()
            except LambentError as error:
                log.warning("queue_stands", extra={"reason": error.message})
            await self._rest()

    def pause(self) -> None:
        """Start nothing more. For good: the server is about to stop."""
        self._stopping = True

    async def settle(self) -> None:
        """Give what has run a moment to be stored, so that the next server does not run it once more."""
        try:
            async with asyncio.timeout(SETTLE_S_MAX):
                while self._running:
                    self._poke.clear()
                    await self._poke.wait()
        except TimeoutError:
            log.warning("queue_not_settled", extra={"running": self._running})

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

    async def _start_due(self) -> None:
        projects = len({route.project for route in self._routes.all()})
        for lane in self._lanes.in_turn():
            if self._running >= self._running_max or self._stopping:
                return
            room = min(
                running_max(self._spec(lane)) - len(lane.running),
                places(
                    mine=self._lanes.running(lane.project),
                    all_taken=self._running,
                    places_max=self._running_max,
                    projects=projects,
                ),
            )
            if room > 0:
                await self._start_of(lane, room)

    async def _start_of(self, lane: Lane, room: int) -> None:
        lane.look = False
        # Those that run may be told once more, as long as the store has not heard that they do.
        limit = room + len(lane.running)
        due = await self._disk(
            lambda: self._tickets.due(
                lane.project, lane.deployment, now_unix_ms=self._clock.unix_ms(), limit=limit
            )
        )
        for ticket in due:
            if room and not lane.bars(ticket):
                room -= 1
                self._lanes.began(lane, ticket)
                self._running += 1
                self._tasks.create_task(self._see_through(lane, ticket), name=f"ticket {ticket.id}")
        lane.look = lane.look or len(due) == limit

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

    # One ticket.

    async def _see_through(self, lane: Lane, ticket: Ticket) -> None:
        try:
            spec, now_unix_ms = self._spec(lane), self._clock.unix_ms()
            if expired := endings.too_old(spec, ticket, now_unix_ms=now_unix_ms):
                await self._store(lane, ticket, expired, expects=TicketState.QUEUED)
            elif begun := await self._begun(ticket):
                outcome = await self._attempt(begun)
                if self._cut_off(outcome):
                    return
                now_unix_ms = self._clock.unix_ms()
                after = endings.after_try(
                    spec, begun, outcome, jitter=random.random(), now_unix_ms=now_unix_ms
                )
                # It has run: what came of it waits for the store as long as the server lives, in the place
                # of one that runs, so that at most `running_max` outcomes are held in memory.
                await self._store(lane, ticket, after, expects=TicketState.RUNNING)
        finally:
            self._lanes.ended(lane, ticket)
            self._running -= 1
            lane.look = True
            self._lanes.drop_if_idle(lane)
            self._poke.set()

    def _cut_off(self, outcome: Outcome | LambentError) -> bool:
        """Whether it was we who ended it. It stays marked as running, and the next server takes it up."""
        return self._stopping and isinstance(outcome, Outcome) and outcome.status is Status.EXITED

    async def _begun(self, ticket: Ticket) -> Ticket | None:
        """The ticket, marked as running; None where it was cancelled, or waits on: the store has no room."""
        running = msgspec.structs.replace(ticket, state=TicketState.RUNNING, attempts=ticket.attempts + 1)
        try:
            made = await self._commits.make(Change(ticket=running, expects=TicketState.QUEUED))
        except LambentError as error:
            log.warning("not_begun", extra={"ticket": ticket.id, "reason": error.message})
            await asyncio.sleep(PAUSE_S)
            return None
        return running if made else None

    async def _attempt(self, ticket: Ticket) -> Outcome | LambentError:
        invocation = Invocation(
            id=ticket.id,
            project=ticket.project,
            deployment=ticket.deployment,
            body=ticket.body,
            content_type=ticket.content_type,
            client_context=ticket.client_context,
            trace=trace_from(ticket.trace),
            alias=ticket.alias,
            sticky=ticket.sticky,
            called=called_from(ticket.called),
        )
        try:
            return await self._invoke(invocation)
        except LambentError as error:
            return error

    async def _store(self, lane: Lane, before: Ticket, after: Ticket, *, expects: TicketState) -> None:
        delivery = endings.delivery_of(after, f"msg_{new_id()}", now_unix_ms=self._clock.unix_ms())
        made = await self._commits.insist(Change(ticket=after, expects=expects, delivery=delivery))
        if made and after.state is not TicketState.QUEUED:
            self._left(lane, before, after)
            if delivery is not None:
                self._outbox.enter()

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

    def _spec(self, lane: Lane) -> DeploymentSpec:
        """The deployment's; where it was removed meanwhile, one with the usual settings."""
        route = self._routes.get(lane.project, lane.deployment)
        return route.spec if route else DeploymentSpec(name=lane.deployment, kind=Kind.FUNCTION)

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
            body_hash=hashlib.sha256(invocation.body).digest(),
            keyed=keyed,
            queued_unix_ms=due_unix_ms,
        )
