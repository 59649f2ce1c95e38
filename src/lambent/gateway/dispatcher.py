"""From an accepted invocation to its outcome: admit, wait for a slot, run, meter.

The order of a lane is the order of arrival. An invocation waits here, not at a worker, so that it can go to
whichever revision answers it when its turn comes.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.core.composing import check_depth
from lambent.core.errors import (
    DeadlinePassed,
    Draining,
    LambentError,
    NotFound,
    PlatformFault,
)
from lambent.core.invocation import Invocation, Outcome, PrintTail, Status
from lambent.core.routing import OWN
from lambent.gateway.asking import Asking
from lambent.gateway.batching import Batching
from lambent.gateway.flow import Streams
from lambent.gateway.lane import Lane
from lambent.gateway.presence import Presence
from lambent.gateway.queues import PROJECT_QUEUE_DEPTH_MAX, Queues, Refusals
from lambent.gateway.reports import Reports
from lambent.gateway.running import Arrival, Runner, Seat
from lambent.gateway.stay import Moved, Stay
from lambent.gateway.together import Together
from lambent.gateway.turn import Turn
from lambent.gateway.witness import Witness
from lambent.metering.journal import UsageRecord
from lambent.pool.member import Lease, NotStarted
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes

STARTS_MAX: Final = 10  # workers that may end before they take one and the same invocation
CUT_OFF_S_MAX: Final = 5.0  # until workers that were killed have ended


class ModelMaker(Protocol):
    """Who makes a model where a deployment has none."""

    def ensure(self, route: Route) -> None:
        """Start the training job unless it runs already. It is heard of as a new route, or `model_failed`."""


class Dispatcher:
    """Admits invocations and sees each to its outcome."""

    def __init__(
        self,
        pool: Pool,
        routes: Routes,
        clock: Clock,
        *,
        models: ModelMaker,
        meter: Callable[[UsageRecord], None],
        training_hold_s: float,
        witness: Witness,
        tasks: asyncio.TaskGroup,
        project_queue_depth_max: int = PROJECT_QUEUE_DEPTH_MAX,
        reports: Reports | None = None,
    ) -> None:
        self._pool = pool
        self._routes = routes
        self._clock = clock
        self._models = models
        self._training_hold_s = training_hold_s
        self._lanes: Final[dict[tuple[str, str], Lane]] = {}
        self._by_revision: Final[dict[str, Lane]] = {}
        self._queues: Final = Queues(pool, clock, project_queue_depth_max=project_queue_depth_max)
        self._refusals: Final = Refusals(clock)
        self._witness: Final = witness
        self._runner: Final = Runner(pool, clock, meter, Asking(self.invoke, clock, tasks), reports)
        self._together: Final = Together(pool, self._runner, clock, tasks, look=self._promote)
        self._draining = False
        self._cut_off = False
        self._present = 0
        self._quiet = asyncio.Event()  # of use while it drains
        for route in routes.live():
            self._rerouted(None, route)
        routes.subscribe(self._rerouted)

    async def invoke(
        self, invocation: Invocation, *, client: Presence | None = None, streams: Streams | None = None
    ) -> Outcome:
        """Run it and say how it ended.

        Where `client` leaves, it gives up its place, or user code is told. An answer that streams goes to
        `streams`, or, without it, into the outcome as a whole. Raises NotFound, CallerFault, QueueFull,
        HoldExpired, DeadlinePassed, Draining, LoadFailed, TrainingFailed, ClientLeft.
        """
        if self._draining and (self._cut_off or not invocation.chain):  # what runs may ask for more
            raise Draining(
                "the server is stopping and accepts nothing new; try again in a moment", retry_after_s=1.0
            )
        lane = self._lane(invocation)
        if invocation.chain:
            spec = lane.route.spec
            slots_max = spec.workers_max * spec.concurrency
            check_depth(invocation.chain, spec.name, slots_max=slots_max)
        lease = self._lease(lane, invocation)
        if lease is None and (refused := self._queues.refusal(lane, self._lanes.values())):
            came_s = self._clock.now_s()
            self._witness.refused(invocation, lane.route.plan.revision, refused, since_s=came_s)
            await self._refusals.pause(invocation.project, until_s=invocation.deadline_s or inf)
            raise refused
        arrived_s = self._clock.now_s()
        arrival = Arrival(
            invocation, lane.route.spec.kind, arrived_s,
            self._pool.temperature(lane.route.plan.revision), client, streams,
        )  # fmt: skip
        stay = Stay(lane, arrived_s)
        self._present += 1
        try:
            outcome = await self._see_through(stay, arrival, lease)
        except LambentError as error:
            self._witness.refused(invocation, stay.lane.route.plan.revision, error, since_s=arrived_s)
            raise
        finally:
            stay.end(self._clock.now_s())
            self._present -= 1
            if self._draining and not self._present:
                self._quiet.set()
        self._witness.answered(invocation, outcome)
        return outcome

    async def check_room(self, project: str, name: str) -> None:
        """Raise `QueueFull` where an invocation of a deployment would be refused now.

        So that nobody reads what nobody could take. Where its traffic is split, that is not foreseen.
        """
        lane = self._lanes.get((project, name))
        if lane is None or not lane.waiters or self._routes.split(project, name, OWN) is not None:
            return
        if (refused := self._queues.refusal(lane, self._lanes.values())) is not None:
            await self._refusals.pause(project)
            raise refused

    @property
    def accepting(self) -> bool:
        """Whether new invocations are taken."""
        return not self._draining

    def queued(self, project: str, name: str) -> int:
        """How many invocations of a deployment wait for a slot."""
        found = self._routes.arrangement(project, name)
        live = (found.route, *found.beside) if found else ()
        return sum(len(self._lanes[route.lane].waiters) for route in live)

    async def drain(self, grace_s: float) -> None:
        """Refuse what is new and wait until what was accepted has ended, at most `grace_s`.

        What has not ended then is cut off: it is answered, and metered, like any whose worker ends.
        """
        self._draining = True
        if not self._present:
            self._quiet.set()
        if await self._quiet_within(grace_s):
            return
        self._cut_off = True
        for lane in self._lanes.values():
            self._refuse(lane, _stopped())
        self._pool.cut_off()
        await self._quiet_within(CUT_OFF_S_MAX)

    async def _quiet_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    # What the pool and the model maker say.

    def slots_changed(self, revision: str) -> None:
        """A slot became free, or a worker is gone: hand out what there is, seek more if it is too little."""
        lane = self._by_revision.get(revision)
        if lane is not None and lane.waiters:
            self._promote(lane)

    def wake_failed(self, revision: str, error: LambentError) -> None:
        """No worker will come: everybody who waits for this revision hears why."""
        lane = self._by_revision.get(revision)
        if lane is not None:
            self._refuse(lane, error)

    def model_failed(self, project: str, name: str, error: LambentError) -> None:
        """No model will come."""
        lane = self._lanes.get((project, name))
        if lane is not None and lane.route.needs_model:
            self._refuse(lane, error)

    # One invocation.

    def _lane(self, invocation: Invocation) -> Lane:
        return self._by_revision[self._target(invocation).plan.revision]

    def _target(self, invocation: Invocation) -> Route:
        return self._routes.target(
            invocation.project,
            invocation.deployment,
            alias=invocation.alias,
            key=invocation.sticky or invocation.id,
        )

    async def _see_through(self, stay: Stay, arrival: Arrival, lease: Lease | Seat | None) -> Outcome:
        """Wait for a slot as often as it takes, and run it there."""
        invocation, since_s, starts = arrival.invocation, arrival.arrived_s, 0
        while starts < STARTS_MAX:
            try:
                if lease is None:
                    lease = await self._wait(stay.lane, arrival, number=stay.number, since_s=since_s)
                if isinstance(lease, Lease):
                    return await self._run(stay.lane, lease, arrival)
                return await self._seated(lease, invocation)
            except NotStarted:  # its worker ended before its turn, or before it had read it
                since_s = self._clock.now_s()
                starts += 1
            except Moved:
                pass
            stay.move(self._lane(invocation), self._clock.now_s())
            lease = self._lease(stay.lane, invocation)
        if isinstance(lease, Lease):
            lease.give_back()
        raise PlatformFault(
            f"{STARTS_MAX} workers of {invocation.deployment!r} ended before they took this invocation"
        )

    def _lease(self, lane: Lane, invocation: Invocation) -> Lease | None:
        """Unless somebody waits: who comes now may not pass them."""
        return None if lane.waiters else self._slot(lane, invocation)

    def _slot(self, lane: Lane, invocation: Invocation) -> Lease | None:
        if lane.route.needs_model:
            return None
        if invocation.print_tail is PrintTail.KEPT:  # what other calls print must not get into it
            return self._pool.lease_alone(lane.route.plan.revision)
        plan = lane.route.plan
        # What was sent ahead cannot be answered before its turn, so what has a deadline is not.
        by_turns = plan.concurrency == 1 and lane.batching is None and invocation.deadline_s is None
        return self._pool.lease(plan.revision, ahead=lane.traffic.ahead if by_turns else 0)

    def _run(self, lane: Lane, lease: Lease, arrival: Arrival) -> Awaitable[Outcome]:
        """By itself."""
        if lane.batching is None:
            return self._runner.run(lease, arrival, lane.traffic)
        return self._run_timed(lane, lane.batching, lease, arrival)

    async def _run_timed(self, lane: Lane, batching: Batching, lease: Lease, arrival: Arrival) -> Outcome:
        """By itself, where others may run together: how long it took is told."""
        invocation = arrival.invocation
        sent = batching.began(lease, invocation, 1, self._clock.now_s())
        outcome = await self._runner.run(lease, arrival, lane.traffic)
        if outcome.status is Status.OK and not invocation.more:
            run_s = outcome.timing.run_ms / 1e3
            batching.ended(sent, invocation, 1, run_s=run_s, now_s=self._clock.now_s())
        return outcome

    async def _wait(self, lane: Lane, arrival: Arrival, *, number: int, since_s: float) -> Lease | Seat:
        """Wait as the `number`th that arrived, for as long as the deployment holds, from `since_s` on."""
        if self._cut_off:
            raise _stopped()
        batching, invocation = lane.batching, arrival.invocation
        hold_s = self._training_hold_s if lane.route.needs_model else lane.route.spec.hold_s
        until_s, deadline_s = since_s + hold_s, invocation.deadline_s
        is_short = deadline_s is not None and deadline_s < until_s
        turn = Turn(
            arrival,
            number=number,
            item=batching.item(invocation, arrival.arrived_s) if batching else None,
            until_s=deadline_s if deadline_s is not None and is_short else until_s,
            hold_s=None if is_short else hold_s,
        )
        lane.enqueue(turn)
        self._queues.enter(invocation.project)
        try:
            if batching and len(lane.waiters) == 1:
                self._promote(lane)  # it may go behind what runs, or at a time that must be known
            else:
                self._seek(lane)
            return await turn.lease
        except BaseException:
            self._abandon(lane, turn)
            raise
        finally:
            turn.end()
            self._queues.leave(invocation.project)
            # It holds the error that was raised by it, whose traceback holds this frame: in overload the
            # collector of cycles would have all of these to find, and everybody would wait for it.
            del turn

    def _expired(self, lane: Lane, turn: Turn) -> None:
        if not turn.lease.done():
            turn.give_up(self._queues.too_long(lane, turn))

    async def _seated(self, seat: Seat, invocation: Invocation) -> Outcome:
        """Wait for one that runs in a batch. The batch goes on where this one's time is over."""
        if invocation.deadline_s is None:
            return await seat
        try:
            async with asyncio.timeout(max(0.0, invocation.deadline_s - self._clock.now_s())):
                return await seat
        except TimeoutError:
            raise DeadlinePassed(
                f"{invocation.deployment!r} had begun, and did not answer before the caller's deadline"
            ) from None

    def _abandon(self, lane: Lane, turn: Turn) -> None:
        granted = turn.granted()
        if isinstance(granted, Lease):
            granted.give_back()  # promoted and cancelled in one tick: hand the slot on
        elif granted is not None:
            granted.cancel()  # seated in a batch and cancelled in one tick
        elif turn in lane.waiters:
            lane.waiters.remove(turn)

    # A lane.

    def _promote(self, lane: Lane) -> None:
        if lane.batching is not None and not lane.route.needs_model:
            self._together.promote(lane, lane.batching)
        else:
            self._promote_each(lane)
        if lane.waiters:
            self._seek(lane)

    def _promote_each(self, lane: Lane) -> None:
        while lane.waiters:
            if lane.waiters[0].lease.done():  # expired or left in this tick; its own task hears of it
                lane.waiters.popleft()
                continue
            lease = self._slot(lane, lane.waiters[0].arrival.invocation)
            if lease is None:
                break
            lane.waiters.popleft().lease.set_result(lease)

    def _seek(self, lane: Lane) -> None:
        if lane.route.needs_model:
            self._models.ensure(lane.route)
        else:
            self._pool.demand(lane.route.plan.revision)

    def _refuse(self, lane: Lane, error: LambentError) -> None:
        waiters = list(lane.waiters)
        lane.waiters.clear()
        for turn in waiters:
            turn.give_up(copy.copy(error))  # one each: a raised exception collects its own traceback

    def _rerouted(self, before: Route | None, after: Route | None) -> None:
        if before is not None:
            self._by_revision.pop(before.plan.revision, None)
        if after is None:
            if before is not None and (lane := self._lanes.pop(before.lane, None)):
                if not before.beside:
                    self._refuse(lane, NotFound(f"the deployment {before.name!r} was removed"))
                self._send_away(lane, lane.waiters)
            return
        lane = self._lanes.get(after.lane) or Lane(
            after, self._pool.traffic(*after.lane), self._clock, expired=self._expired
        )
        lane.reroute(after)
        self._lanes[after.lane] = self._by_revision[after.plan.revision] = lane
        if lane.waiters:
            # Who came under an alias waits for what that stands for.
            self._send_away(lane, [turn for turn in lane.waiters if turn.arrival.invocation.alias != OWN])
            self._promote(lane)

    def _send_away(self, lane: Lane, turns: Iterable[Turn]) -> None:
        """Have them look for their lane anew, when all that changes has changed."""
        in_order = tuple(turns)
        gone = set(in_order)
        lane.keep([turn for turn in lane.waiters if turn not in gone])
        for turn in in_order:
            turn.give_up(Moved())


def _stopped() -> Draining:
    return Draining("the server stopped before a worker was free", retry_after_s=1.0)
