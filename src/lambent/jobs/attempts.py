"""The tries of asynchronous invocations: read, marked as running on disk, run in a place, their ends stored.

A place is taken for the run alone: writing down that it begins and what came of it would else take most of
the time of a short one. So a few are marked ahead of their turn, as many as will run within `AHEAD_S`, and an
end is written, with others, while the next one runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.deferral import handled, running_max
from lambent.core.errors import LambentError
from lambent.core.invocation import Invocation, Outcome, Status, Trigger, called_from, qualifier_of
from lambent.core.sharing import places
from lambent.core.spec import DeploymentSpec, Kind
from lambent.core.tracing import trace_from
from lambent.jobs import endings
from lambent.jobs.commits import Commits
from lambent.jobs.lanes import Lane, Lanes, Seat, Turn
from lambent.jobs.storing import PAUSE_S
from lambent.pool.handlings import Handlings
from lambent.pool.routes import Routes
from lambent.storage.groups import Disk
from lambent.storage.tickets import Change, Ticket, TicketState

SETTLE_S_MAX: Final = 5.0
# How much work is marked as running before it has a place. A server that is killed cannot tell it from what
# ran: each of these is then counted as tried.
AHEAD_S: Final = 0.03
AHEAD_MAX: Final = 64
TOOK_S_MIN: Final = 0.0005  # nothing takes its place for less
# How many are read at once: what will run soon, of as many bytes.
READ_MAX: Final = 128
READ_AHEAD: Final = 4  # times what is started now
READ_BYTES_MAX: Final = 1 << 20
# Outcomes that wait for the disk. Over it nothing more is begun.
UNSTORED_MAX: Final = 256
UNSTORED_BYTES_MAX: Final = 64 << 20

log = logging.getLogger(__name__)


class Invoke(Protocol):
    """Who runs an invocation."""

    def __call__(self, invocation: Invocation, cancelled: asyncio.Future[None], /) -> Awaitable[Outcome]:
        """How it ended. Once `cancelled` is done nobody wants it any more: user code is told so."""


class Due(Protocol):
    """The tickets' store. Blocks."""

    def due(
        self, project: str, deployment: str, *, now_unix_ms: int, limit: int, bytes_max: int
    ) -> Sequence[Ticket]:
        """Queued tickets whose time has come, longest due first, but those that an order key bars.

        At most `limit`, and none more once their bodies have `bytes_max`.
        """


class Store(Protocol):
    """Who keeps count of what is stored: the queue."""

    async def __call__(self, lane: Lane, before: Ticket, after: Ticket, *, expects: TicketState) -> None:
        """Store it, as often as it takes; nothing where it is in another state by now."""


class Try:
    """A ticket that is seen through. `seat` is told when it has a place; None where it had one at once."""

    __slots__ = ("cancelled", "is_over", "lane", "seat", "ticket")

    def __init__(self, lane: Lane, ticket: Ticket, seat: Seat | None) -> None:
        self.lane: Final = lane
        self.ticket: Final = ticket
        self.seat: Final = seat
        self.cancelled: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self.is_over = False  # what it counted for is given back

    @property
    def has_place(self) -> bool:
        """Whether it may run."""
        return self.seat is None or (self.seat.done() and self.seat.result() is Turn.COME)

    def leave(self) -> None:
        """It will get no place, unless it has one."""
        if self.seat is not None and not self.seat.done():
            self.seat.set_result(Turn.LEAVE)


class Attempts:
    """Starts what is due, at most `running_max` at once, and sees each to the end of its try.

    `stir` is called when something more may be started.
    """

    def __init__(
        self,
        tickets: Due,
        commits: Commits,
        invoke: Invoke,
        lanes: Lanes,
        routes: Routes,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        running_max: int,
        handlings: Handlings,
        disk: Disk,
        store: Store,
        stir: Callable[[], None],
    ) -> None:
        self._tickets: Final = tickets
        self._commits: Final = commits
        self._invoke: Final = invoke
        self._lanes: Final = lanes
        self._routes: Final = routes
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._running_max: Final = running_max
        self._handlings: Final = handlings
        self._disk: Final = disk
        self._store: Final = store
        self._stir: Final = stir
        self._running = 0  # places that are taken
        self._ahead = 0  # marked as running, without a place
        self._unstored = self._unstored_bytes = 0
        self._stopping = False
        self._tries: Final[dict[str, Try]] = {}
        self._settled: Final = asyncio.Event()

    def cancel(self, ticket: str) -> None:
        """It has ended on the disk: user code that runs is told so, what it comes to concerns nobody."""
        one = self._tries.get(ticket)
        if one is not None and not one.cancelled.done():
            one.cancelled.set_result(None)
            one.leave()

    def pause(self) -> None:
        """Start nothing more, for good: what is marked and has no place goes back to the queue."""
        self._stopping = True
        for one in self._tries.values():
            one.leave()

    async def settle(self) -> None:
        """Give what has run a moment to be stored, so that the next server does not run it once more."""
        try:
            async with asyncio.timeout(SETTLE_S_MAX):
                while self._tries:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            log.warning("queue_not_settled", extra={"running": len(self._tries)})

    async def start_due(self) -> None:
        """Start what may be started now."""
        projects = len({route.project for route in self._routes.all()})
        for lane in self._lanes.in_turn():
            if self._stopping or self._unstored >= UNSTORED_MAX or self._unstored_bytes >= UNSTORED_BYTES_MAX:
                return
            room = min(
                running_max(self.spec(lane)) - lane.running,
                places(
                    mine=self._lanes.running(lane.project),
                    all_taken=self._running,
                    places_max=self._running_max,
                    projects=projects,
                ),
            )
            room = self._seat(lane, room)
            if room > 0:
                for ticket in await self._next(lane, room):
                    self._take_place(lane)
                    self._start(Try(lane, ticket, None))
            if (more := self._more_ahead(lane)) > 0:
                for ticket in await self._next(lane, more):
                    lane.ahead += 1
                    self._ahead += 1
                    self._start(Try(lane, ticket, asyncio.get_running_loop().create_future()))

    def spec(self, lane: Lane) -> DeploymentSpec:
        """The deployment's; where it was removed meanwhile, one with the usual settings."""
        route = self._routes.get(lane.project, lane.deployment)
        return route.spec if route else DeploymentSpec(name=lane.deployment, kind=Kind.FUNCTION)

    def spec_for(self, lane: Lane, ticket: Ticket) -> DeploymentSpec:
        """The same, as the alias or version has it under which the ticket was accepted."""
        qualifier = qualifier_of(called_from(ticket.called)) or ticket.alias
        return handled(self.spec(lane), self._handlings.find(lane.project, lane.deployment, qualifier))

    # Places.

    def _seat(self, lane: Lane, room: int) -> int:
        """Give places to those that wait for one; how many are left."""
        while room > 0 and lane.waiting:
            seat = lane.waiting.popleft()
            if not seat.done():
                self._no_longer_ahead(lane)
                self._take_place(lane)
                seat.set_result(Turn.COME)
                room -= 1
        return room

    def _more_ahead(self, lane: Lane) -> int:
        """How many more may be marked before they have a place: as far as they will have one soon."""
        soon = int(AHEAD_S * lane.running / max(lane.took_s, TOOK_S_MIN))
        return min(soon - lane.ahead, AHEAD_MAX - self._ahead)

    def _take_place(self, lane: Lane) -> None:
        self._lanes.began(lane)
        self._running += 1

    def _no_longer_ahead(self, lane: Lane) -> None:
        lane.ahead -= 1
        self._ahead -= 1

    def _give_back(self, one: Try) -> None:
        """What it counted for. Once."""
        if one.is_over:
            return
        one.is_over = True
        if one.has_place:
            self._lanes.ended(one.lane)
            self._running -= 1
        else:
            self._no_longer_ahead(one.lane)
        self._stir()

    # What is due.

    async def _next(self, lane: Lane, count: int) -> Sequence[Ticket]:
        """Up to so many to see through; they are held from now on."""
        found = lane.hold(count)
        if len(found) < count and lane.look:
            try:
                await self._read(lane, count)
            except BaseException:
                lane.let_go(found)
                raise
            found += lane.hold(count - len(found))
        return found

    async def _read(self, lane: Lane, count: int) -> None:
        lane.look = False
        # Those that are held may be told once more: the store had not heard that they run when it was asked.
        held = frozenset(lane.held)
        limit = min(READ_MAX, READ_AHEAD * count) + len(held)
        due = await self._disk(
            lambda: self._tickets.due(
                lane.project,
                lane.deployment,
                now_unix_ms=self._clock.unix_ms(),
                limit=limit,
                bytes_max=READ_BYTES_MAX,
            )
        )
        lane.ready.extend(ticket for ticket in due if ticket.id not in held)
        is_cut = len(due) == limit or sum(len(ticket.body) for ticket in due) >= READ_BYTES_MAX
        lane.look = lane.look or is_cut

    # One try.

    def _start(self, one: Try) -> None:
        self._tries[one.ticket.id] = one
        if self._stopping:  # since it was looked for
            one.leave()
        self._tasks.create_task(self._see_through(one), name=f"ticket {one.ticket.id}")

    async def _see_through(self, one: Try) -> None:
        lane, ticket = one.lane, one.ticket
        try:
            spec, now_unix_ms = self.spec_for(lane, ticket), self._clock.unix_ms()
            if expired := endings.too_old(spec, ticket, now_unix_ms=now_unix_ms):
                self._give_back(one)
                await self._store(lane, ticket, expired, expects=TicketState.QUEUED)
            elif begun := await self._begun(ticket):
                await self._run_and_store(one, begun)
        finally:
            self._give_back(one)
            del lane.held[ticket.id], self._tries[ticket.id]
            lane.look = True
            self._lanes.drop_if_idle(lane)
            self._settled.set()
            self._stir()

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

    async def _run_and_store(self, one: Try, begun: Ticket) -> None:
        if not await self._comes(one):
            if not one.cancelled.done():
                await self._store(one.lane, begun, one.ticket, expects=TicketState.RUNNING)
            return
        began_s = self._clock.now_s()
        outcome = await self._outcome(begun, one.cancelled)
        one.lane.took(self._clock.now_s() - began_s)
        self._give_back(one)
        if one.cancelled.done() or self._cut_off(outcome):
            return
        after = endings.after_try(
            self.spec_for(one.lane, begun), begun, outcome,
            jitter=random.random(), now_unix_ms=self._clock.unix_ms(),
        )  # fmt: skip
        self._unstored += 1
        self._unstored_bytes += len(after.result)
        try:
            # It has run: what came of it waits for the store as long as the server lives.
            await self._store(one.lane, begun, after, expects=TicketState.RUNNING)
        finally:
            self._unstored -= 1
            self._unstored_bytes -= len(after.result)

    async def _comes(self, one: Try) -> bool:
        """Wait for a place; whether it has one and is still wanted."""
        if one.seat is not None and not one.seat.done():
            one.lane.waiting.append(one.seat)
            self._stir()
            await one.seat
        return one.has_place and not one.cancelled.done()

    def _cut_off(self, outcome: Outcome | LambentError) -> bool:
        """Whether it was we who ended it. It stays marked as running, and the next server takes it up."""
        return self._stopping and isinstance(outcome, Outcome) and outcome.status is Status.EXITED

    async def _outcome(self, ticket: Ticket, cancelled: asyncio.Future[None]) -> Outcome | LambentError:
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
            trigger=Trigger.PUBSUB,
        )
        try:
            return await self._invoke(invocation, cancelled)
        except LambentError as error:
            return error
