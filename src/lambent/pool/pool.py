"""The workers of every revision: leases on their slots, wakes, and how many there are.

A *crew* is the workers of one revision. Whoever wants a slot and gets none says `demand`, and hears
`slots_changed` when it is worth asking again; waking never waits for a tick.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.core.autoscaling import policy_for
from lambent.core.errors import Conflict, LambentError, PlatformFault
from lambent.core.lifecycle import Event, Instruction
from lambent.core.retrying import RetryPolicy, next_delay_s
from lambent.core.spec import Temperature
from lambent.core.waking import parts_of, waited_aside_s
from lambent.engines.base import Engine, Primed, Worker
from lambent.pool.crew import Crew
from lambent.pool.former import Former
from lambent.pool.member import Lease, Member
from lambent.pool.routes import Route, Routes
from lambent.pool.traffic import Traffic
from lambent.pool.wakes import Wakes, Witness
from lambent.wire.api import WakeView
from lambent.wire.frames import Stop

STOP_GRACE_S: Final = 10.0
WAKE_RETRY: Final = RetryPolicy(
    attempts_max=1_000_000, first_s=0.5, factor=2.0, cap_s=60.0, age_max_s=float("inf")
)

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who waits for slots: the dispatcher."""

    def slots_changed(self, revision: str) -> None:
        """A slot became free, or a worker is gone."""

    def wake_failed(self, revision: str, error: LambentError) -> None:
        """A wake ended without a worker."""


class Pool:
    """Every crew of this node."""

    def __init__(
        self,
        engine: Engine,
        routes: Routes,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        witness: Witness | None = None,
    ) -> None:
        self.engine: Final = engine
        self.wakes: Final = Wakes(routes, witness)
        self._routes = routes
        self._clock = clock
        self.now_s: Final = clock.now_s
        self._tasks = tasks
        self._listener: Listener | None = None
        self._press: Callable[[Crew], None] | None = None
        self.stirs = 0  # rises whenever a worker comes or goes, or a route changes
        self._crews: Final[dict[str, Crew]] = {}
        self._traffic: Final[dict[tuple[str, str], Traffic]] = {}
        self._former: Final = Former()
        for route in routes.live():
            self._rerouted(None, route)
        routes.subscribe(self._rerouted)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` from now on. There is one."""
        self._listener = listener

    def on_pressure(self, press: Callable[[Crew], None]) -> None:
        """Hear of crews whose workers leave somebody waiting: once, until their `pressed` is taken back."""
        self._press = press

    # What the request path asks.

    def lease(self, revision: str, *, ahead: int = 0) -> Lease | None:
        """A slot of an idle worker, the one used last, or None. Never waits.

        Where all are busy, up to `ahead` calls may be sent to one ahead of their turn, unless what it runs
        takes long.
        """
        crew = self._crews.get(revision)
        if crew is None:
            return None
        if crew.idle:
            return _idle(crew)
        least: Member | None = None
        for member in crew.members if ahead or crew.plan.concurrency > 1 else ():
            behind = 0 if ahead and member.is_overdue else ahead
            if member.takes(behind) and (least is None or member.leases < least.leases):
                least = member
        return Lease(least) if least else None

    def lease_alone(self, revision: str) -> Lease | None:
        """A slot of an idle worker that gets no other call meanwhile, or None. Never waits."""
        crew = self._crews.get(revision)
        if crew is None or not crew.idle:
            return None
        lease = _idle(crew)
        lease.member.alone = True
        return lease

    def idle(self, revision: str) -> int:
        """How many workers have nothing to do."""
        crew = self._crews.get(revision)
        return len(crew.idle) if crew else 0

    def workers_may(self, revision: str) -> int:
        """How many workers it can come to have, by what is known of room and cores; 1 at least."""
        crew = self._crews.get(revision)
        return max(1, crew.workers_may) if crew else 1

    def awake_s(self, revision: str) -> float:
        """Since when (monotonic) the revision has had a worker; of the last time, where it has none now."""
        crew = self._crews.get(revision)
        return crew.awake_s if crew else 0.0

    def demand(self, revision: str) -> None:
        """Somebody waits: wake the first worker now, have the autoscaler look soon whether it takes more."""
        crew = self._crews.get(revision)
        if crew is None or crew.pressed:
            return
        workers = len(crew.members) + crew.starting
        if not workers:
            self._wake(crew)
        elif workers < crew.policy.workers_max and self._press and not crew.cut:
            crew.pressed = True
            self._press(crew)

    def temperature(self, revision: str) -> Temperature:
        """How ready the revision is on this node."""
        crew = self._crews.get(revision)
        return Temperature.HOT if crew is not None and crew.members else self.engine.temperature(revision)

    def traffic(self, project: str, name: str) -> Traffic:
        """The traffic of a lane, made on first use. A deployment's own has its name."""
        key = (project, name)
        if (traffic := self._traffic.get(key)) is None:
            traffic = self._traffic[key] = Traffic(self._clock.now_s())
        return traffic

    def first_call(self, lease: Lease, *, arrived_s: float, started_s: float, run_us: int) -> None:
        """The first call of a worker has run: with it, what its wake was made of is known in full."""
        if (wake := lease.wake) is None:
            return
        ready_s = lease.member.ready_s
        waited_s = waited_aside_s(
            arrived_s=arrived_s,
            started_s=started_s,
            began_s=ready_s - wake.total_ms / 1e3,
            ready_s=ready_s,
        )
        self.wakes.ran(lease.plan, wake, queue_ms=waited_s * 1e3, first_run_ms=run_us / 1e3)

    # What the autoscaler and the operator ask.

    def crews(self) -> Iterable[Crew]:
        """Every crew, those of retired revisions included while they drain."""
        return tuple(self._crews.values())

    def crew(self, revision: str) -> Crew | None:
        """The crew of one revision."""
        return self._crews.get(revision)

    def former(self) -> Iterable[Route]:
        """The revisions before the active ones that are kept loaded, so that a rollback need not load."""
        return self._former.all()

    def resize(self, crew: Crew, workers: int) -> None:
        """Start or stop workers until there are `workers`. Only idle ones are stopped, longest idle first."""
        have = len(crew.members) + crew.starting
        if workers > have and self._clock.now_s() >= crew.wake_not_before_s:
            for _ in range(workers - have):
                self._wake(crew)
        for _ in range(min(have - workers, len(crew.idle))):
            crew.idle[0].tell(Event.STOP_ASKED)

    def give_back(self, crew: Crew, workers: int) -> None:
        """Let workers over so many go, those with the fewest calls first, when they have finished them."""
        surplus = len(crew.members) + crew.starting - workers
        if surplus > 0:
            for member in sorted(crew.members, key=lambda one: one.leases)[:surplus]:
                member.tell(Event.STOP_ASKED)

    def cut_off(self) -> None:
        """End every worker now, whatever it runs."""
        for crew in self._crews.values():
            for member in (*crew.members, *crew.leaving):
                member.tell(Event.KILL_ASKED)

    async def chill(self, revision: str, to: Temperature) -> None:
        """Let a revision without workers cool down; one that was kept for a rollback is let go."""
        crew = self._crews.get(revision)
        if crew is not None and crew.retired:
            self._let_go_of(self._former.drop(crew.plan))
        elif crew is None or crew.empty:
            await self.engine.chill(revision, to)

    def let_go(self, crew: Crew) -> None:
        """Stop the idle workers of a crew, for the memory that they take."""
        crew.let_go = True
        for member in tuple(crew.idle):
            member.tell(Event.STOP_ASKED)

    async def empty(self, revision: str) -> None:
        """Stop a revision's workers as they become idle. Raises `Conflict` where one stays busy for long."""
        crew = self._crews.get(revision)
        if crew is None:
            return
        self.let_go(crew)
        crew.rests = True
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await crew.emptied.wait()
        except TimeoutError:
            crew.rests = False
            raise Conflict(
                f"{crew.plan.deployment!r} is in use: it was still running or starting {_count(crew)} after "
                f"{STOP_GRACE_S:g} s; chill it when its calls have ended"
            ) from None

    # Workers come and go.

    def _wake(self, crew: Crew) -> None:
        self.stirs += 1
        crew.let_go = crew.rests = False
        crew.starting += 1
        crew.emptied.clear()
        self._tasks.create_task(self._bring_up(crew), name=f"wake {crew.plan.deployment}")

    async def _bring_up(self, crew: Crew) -> None:
        revision = crew.plan.revision
        started_s, came_from = self._clock.now_s(), self.engine.temperature(revision)
        try:
            started = await self._start(crew)
        finally:
            self.stirs += 1
            crew.starting -= 1
        if isinstance(started, LambentError):
            self._wake_failed(crew, started)
            await self._bury(crew)
            return
        primed, worker = started
        came_colder = came_from in (Temperature.COLD, Temperature.WARM)
        wake = WakeView(
            at_unix_ms=self._clock.unix_ms(),
            temperature=came_from,
            total_ms=(self._clock.now_s() - started_s) * 1e3,
            parts_ms=parts_of(primed.parts_ms if came_colder else {}, worker.parts_ms),
            number=crew.plan.number,
        )
        crew.woke(wake)
        self._join(crew, worker, self.wakes.woke(crew.plan, wake))

    async def _start(self, crew: Crew) -> tuple[Primed, Worker] | LambentError:
        try:
            return await self.engine.prime(crew.plan), await self.engine.start(crew.plan)
        except LambentError as error:
            return error
        except Exception as error:
            log.exception("wake_crashed", extra={"deployment": crew.plan.deployment})
            return PlatformFault(f"no worker could be started: {error}")

    def _join(self, crew: Crew, worker: Worker, wake: WakeView) -> None:
        member = Member(self, crew.plan, worker, wake)
        if not crew.members:
            crew.awake_s = self._clock.now_s()
        crew.members.add(member)
        self._tasks.create_task(self._see_off(crew, member), name=f"watch {worker.worker_id}")
        member.tell(Event.LOADED)
        if crew.retired:
            member.tell(Event.STOP_ASKED)

    async def _see_off(self, crew: Crew, member: Member) -> None:
        end = await member.worker.exited()
        member.tell(Event.EXITED)
        self.stirs += 1
        crew.leaving.discard(member)
        crew.empty_since_s = self._clock.now_s()
        crew.check_emptied()
        log.debug("worker_exited", extra={"worker": member.worker.worker_id, "code": end.code})
        if crew.retired and crew.empty:
            await self._bury(crew)
        else:
            self._tell_slots_changed(crew.plan.revision)

    def _wake_failed(self, crew: Crew, error: LambentError) -> None:
        crew.check_emptied()
        delay_s = next_delay_s(WAKE_RETRY, crew.failures, jitter=1.0)
        crew.failed(error, not_before_s=self._clock.now_s() + delay_s)
        log.warning("wake_failed", extra={"deployment": crew.plan.deployment, "reason": error.message})
        if self._listener:
            self._listener.wake_failed(crew.plan.revision, error)

    def apply(self, member: Member, instructions: tuple[Instruction, ...]) -> None:
        """Carry out what a member's lifecycle asks for."""
        crew = self._crews[member.revision]
        for instruction in instructions:
            match instruction:
                case Instruction.OFFER:
                    crew.idle.append(member)
                    self._tell_slots_changed(member.revision)
                    if crew.rests and member in crew.idle:
                        member.tell(Event.STOP_ASKED)  # chilled by hand while it was busy
                case Instruction.WITHDRAW:
                    crew.withdraw(member)
                case Instruction.STOP:
                    member.worker.tell(Stop())
                    asyncio.get_running_loop().call_later(STOP_GRACE_S, member.tell, Event.KILL_ASKED)
                case Instruction.KILL:
                    member.worker.kill()
                case Instruction.REPLACE:
                    self._tell_slots_changed(member.revision)
                case Instruction.RECORD | Instruction.FAIL_WAKE:
                    pass  # `_see_off` writes the exit down; a wake that fails never becomes a member

    def room(self, member: Member) -> None:
        """A busy worker may be sent one more call."""
        self._tell_slots_changed(member.revision)

    def _tell_slots_changed(self, revision: str) -> None:
        if self._listener:
            self._listener.slots_changed(revision)

    # Revisions come and go.

    def _rerouted(self, before: Route | None, after: Route | None) -> None:
        self.stirs += 1
        if after is not None:
            self._former.drop(after.plan)  # it is back: nobody lets go of it
        if before is not None and self._routes.of_revision(before.plan.revision) is None:
            if not before.beside:
                self._let_go_of(self._former.replace(before, keeps=after is not None))
            self._retire(before.plan.revision)
        if before is not None and before.beside and after is None:
            self._traffic.pop(before.lane, None)
        if after is not None and after.invocable and not after.needs_model:
            crew = self._crews.get(after.plan.revision)
            if crew is None:
                crew = Crew(after.plan, policy_for(after.spec), self._clock.now_s())
                self._crews[after.plan.revision] = crew
            if crew.retired:
                crew.retired = crew.rests = False

    def _retire(self, revision: str) -> None:
        crew = self._crews.get(revision)
        if crew is None:
            return
        crew.retired = crew.rests = True
        for member in tuple(crew.members):
            member.tell(Event.STOP_ASKED)
        if crew.empty:
            crew.empty_since_s = self._clock.now_s()
            self._tasks.create_task(self._bury(crew), name=f"retire {crew.plan.deployment}")

    async def _bury(self, crew: Crew) -> None:
        """Forget a crew that is retired and empty, unless it is kept for a rollback."""
        revision = crew.plan.revision
        if not (crew.retired and crew.empty) or self._crews.get(revision) is not crew:
            return
        if self._former.has(crew.plan):
            if self.engine.temperature(revision) is Temperature.PRIMED:
                return
            self._former.drop(crew.plan)
        del self._crews[revision]
        await self.engine.chill(revision, Temperature.COLD)

    def _let_go_of(self, former: Route | None) -> None:
        """It is kept no longer."""
        if former is None:
            return
        self._traffic.pop(former.lane, None)
        crew = self._crews.get(former.plan.revision)
        if crew is not None and crew.retired and crew.empty:
            self._tasks.create_task(self._bury(crew), name=f"retire {crew.plan.deployment}")


def _count(crew: Crew) -> str:
    workers = len(crew.members) + len(crew.leaving) + crew.starting
    return "1 worker" if workers == 1 else f"{workers} workers"


def _idle(crew: Crew) -> Lease:
    member = crew.idle.pop()
    member.tell(Event.LEASED)
    return Lease(member)
