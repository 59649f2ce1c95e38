"""Sample, plan, apply: which revisions stay ready within the memory that there is.

What is worth its memory is for `core/keepalive` to say. Here its facts are gathered, and what it decides is
carried out: revisions that are not in use cool down, one at a time is loaded before it is called. Nothing on
the way of an invocation waits for any of it, and how many workers a revision has is the autoscaler's matter;
only idle ones are stopped here, when others save more with their memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.keepalive import ORDER, Plan, Reason, plan
from lambent.core.policies.base import PolicyName
from lambent.core.policies.prospects import rule_of
from lambent.core.spec import Temperature
from lambent.engines.base import Primed, ProcessFacts
from lambent.pool.arrivals import Arrivals
from lambent.pool.costs import Costs
from lambent.pool.crew import Crew
from lambent.pool.learned import Learned
from lambent.pool.pool import Pool
from lambent.pool.primer import Primer
from lambent.pool.routes import Route, Routes
from lambent.pool.sizes import Sizes, environment_of
from lambent.pool.survey import Kept, Sight, Survey
from lambent.wire.api import WakeView
from lambent.wire.process import RevisionPlan

SAMPLE_S: Final = 0.25  # from one look at the counters to the next
ROOM_S: Final = 0.005  # for which a look at the room is good: one tick of the autoscaler
PLAN_S_MIN: Final = 1.0  # between plans, unless a worker came or went
CENSUS_S: Final = 2.0  # between two readings of all memory while something changes
CENSUS_IDLE_S: Final = 20.0  # and while nothing does
CENSUS_SHARE_MAX: Final = 0.05  # of the time: a census of many processes is slow
CENSUS_IDLE_SHARE_MAX: Final = 0.005  # and while nothing changes: a thousand processes take 0.2 s
TELL_S: Final = 60.0  # from one line about a budget that is exceeded to the next
T = Temperature

BECAUSE: Final[Mapping[Reason, str]] = {
    Reason.PIN: "its owner asked for it",
    Reason.IN_USE: "it is in use",
    Reason.FREE: "nobody needs its memory",
    Reason.WORTH: "it saves more with its memory than others would",
    Reason.PREWAKE: "a call is near",
    Reason.PRICE: "others save more with its memory",
    Reason.UNWANTED: "no call is near",
    Reason.WINDOW: "its keep-alive has not passed",
    Reason.LAPSED: "its keep-alive has passed, or has not begun",
    Reason.UNCALLED: "it comes back when it is called",
    Reason.CROWDED: "what was called later has its room",
    Reason.SETTLED: "it cannot be forked, so nothing lies between warm and hot",
}

log = logging.getLogger(__name__)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the memory stands.

    `over_bytes` is by how much pins and running work alone exceed the budget; `largest_bytes` what the
    largest revision needs alone, with its environment. `price` is in milliseconds of waking saved per second
    and GiB, 0 while memory is free and under a policy that knows none.
    """

    policy: PolicyName
    budget_bytes: int
    used_bytes: int
    over_bytes: int
    largest_bytes: int
    price: float


class Thermostat:
    """Keeps a node's revisions within `budget_bytes`. `census` reads the memory of every process."""

    def __init__(
        self,
        pool: Pool,
        routes: Routes,
        clock: Clock,
        *,
        budget_bytes: int,
        policy: PolicyName = PolicyName.ECONOMIC,
        census: Callable[[], Awaitable[Sequence[ProcessFacts]]],
    ) -> None:
        self._pool: Final = pool
        self._routes: Final = routes
        self._clock: Final = clock
        self._budget_bytes: Final = budget_bytes
        self._policy: Final = policy
        self._census: Final = census
        self._sizes: Final = Sizes()
        self._costs: Final = Costs()
        self._arrivals: Final = Arrivals(pool, policy)
        self._survey: Final = Survey(pool, self._sizes, self._costs, self._arrivals)
        self._primer: Final = Primer(pool, clock, self._primed)
        self._wakes: dict[str, WakeView] = {}  # the last one learned from, by revision
        self._made: Plan | None = None
        self._expired: frozenset[str] = frozenset()
        self._room_bytes, self._room_s = budget_bytes, -inf
        self._largest_bytes = 0
        self._planned_s = self._told_s = -inf
        self._due_s, self._stirs = 0.0, -1

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._measure(), name="census")
            while True:
                await asyncio.sleep(SAMPLE_S)
                await self._tick(tasks)

    def grant(self, revision: str, workers: int) -> int:
        """How many of so many more workers there is room for beside pins and running work."""
        self._look_for_room()
        size_bytes = self._sizes.worker_bytes(revision)
        granted = max(0, min(workers, self._room_bytes // size_bytes))
        self._room_bytes -= granted * size_bytes
        return granted

    def room_bytes(self) -> int:
        """What is free for more workers now."""
        self._look_for_room()
        return max(0, self._room_bytes)

    def worker_bytes(self, revision: str) -> int:
        """What one more worker of it takes beside what it shares."""
        return self._sizes.worker_bytes(revision)

    def _look_for_room(self) -> None:
        """What runs now: a burst comes between two plans, and what it runs on was idle in the last one."""
        if (now_s := self._clock.now_s()) < self._room_s + ROOM_S:
            return
        sight = self._survey.look(self._planned_routes(), now_s, priming=self._primer.priming)
        self._room_bytes = max(0, self._budget_bytes - self._sizes.other_bytes) - sight.held_bytes
        self._room_s = now_s

    def standing(self) -> Standing:
        """How the memory stood when it was last looked at."""
        made = self._made
        priced = made is not None and self._policy is PolicyName.ECONOMIC
        return Standing(
            policy=self._policy,
            budget_bytes=self._budget_bytes,
            used_bytes=self._sizes.used_bytes,
            over_bytes=made.over_bytes if made else 0,
            largest_bytes=self._largest_bytes,
            price=made.price if made and priced else 0.0,
        )

    def because(self, revision: str) -> str:
        """Why a revision is kept as it is, in words; empty before anybody looked."""
        assignment = self._made.assignments.get(revision) if self._made else None
        if assignment is None:
            return ""
        if revision in self._expired:
            return "its template_keep_s has passed"
        return BECAUSE[assignment.reason]

    def memory(self) -> Learned:
        """What has been learned."""
        return Learned(
            arrivals=self._arrivals.memory(self._clock.now_s()),
            sizes=self._sizes.memory(),
            costs=self._costs.memory(),
        )

    def recall(self, learned: Learned, *, unwatched_s: float) -> None:
        """Know what was learned so many seconds ago. Raises `ValueError` for what cannot be.

        To be called before `run`.
        """
        self._arrivals.recall(learned.arrivals, self._clock.now_s(), unwatched_s=unwatched_s)
        self._sizes.recall(learned.sizes)
        self._costs.recall(learned.costs)

    async def _measure(self) -> None:
        """Read all memory: when something has changed, else seldom, and more seldom the longer it takes."""
        stirs, idle_until_s = -1, -inf
        while True:
            pause_s, began_s = CENSUS_S, self._clock.now_s()
            if self._pool.stirs != stirs or began_s >= idle_until_s:
                stirs = self._pool.stirs
                self._learn(await self._census())
                read_s = self._clock.now_s()
                pause_s = max(CENSUS_S, (read_s - began_s) / CENSUS_SHARE_MAX)
                idle_until_s = read_s + max(CENSUS_IDLE_S, (read_s - began_s) / CENSUS_IDLE_SHARE_MAX)
            await asyncio.sleep(pause_s)

    def _learn(self, census: Sequence[ProcessFacts]) -> None:
        routes = self._planned_routes()
        self._sizes.learn(census, [route.plan for route in routes])
        self._due_s = min(self._due_s, self._planned_s + PLAN_S_MIN)
        revisions = frozenset(route.plan.revision for route in routes)
        self._costs.forget(revisions, frozenset(environment_of(route.plan) for route in routes))
        self._primer.forget(revisions)
        self._arrivals.forget(routes)
        self._wakes = {name: wake for name, wake in self._wakes.items() if name in revisions}

    async def _tick(self, tasks: asyncio.TaskGroup) -> None:
        now_s = self._clock.now_s()
        routes = self._planned_routes()
        if self._arrivals.sample(routes, now_s):
            self._due_s = min(self._due_s, self._planned_s + PLAN_S_MIN)
        if now_s < self._due_s and self._stirs == self._pool.stirs:
            return
        self._stirs, self._planned_s = self._pool.stirs, now_s
        sight = self._see(routes, now_s)
        made = self._plan(sight, now_s)
        self._due_s = now_s + max(PLAN_S_MIN, made.look_again_s)
        if await self._cool(sight, made):
            self._due_s = now_s  # what was asked to leave is looked after at the next sample
        elif not sight.starting:
            self._prime(sight, made, tasks)

    def _planned_routes(self) -> Sequence[Route]:
        live = [route for route in self._routes.live() if route.invocable and not route.needs_model]
        return [*live, *self._pool.former()]

    def _see(self, routes: Sequence[Route], now_s: float) -> Sight:
        sight = self._survey.look(routes, now_s, priming=self._primer.priming)
        for one in sight.kept:
            wakes, revision = one.crew.wakes, one.facts.revision
            if wakes and wakes[-1] is not self._wakes.get(revision):
                self._wakes[revision] = wakes[-1]
                self._costs.woke(revision, one.crew.environment, wakes[-1])
                self._primer.settled(revision)
        return sight

    def _plan(self, sight: Sight, now_s: float) -> Plan:
        budget_bytes = max(0, self._budget_bytes - self._sizes.other_bytes)
        rule = rule_of(self._policy, budget_bytes)
        made = plan([one.facts for one in sight.kept], rule, sight.environments, now_s=now_s)
        self._made = made
        self._tell_evicted(sight, made)
        self._expired = frozenset(one.facts.revision for one in sight.kept if one.expired)
        self._room_bytes, self._room_s = budget_bytes - sight.held_bytes, now_s
        self._largest_bytes = sight.largest_bytes
        if made.over_bytes and now_s >= self._told_s + TELL_S:
            self._told_s = now_s
            log.warning(
                "over_budget", extra={"budget_bytes": self._budget_bytes, "over_bytes": made.over_bytes}
            )
        return made

    def _tell_evicted(self, sight: Sight, made: Plan) -> None:
        for one in sight.kept:
            refused = made.assignments[one.facts.revision].reason is Reason.PRICE
            if refused and ORDER[one.facts.temperature] >= ORDER[T.PRIMED]:
                self._arrivals.evicted(*one.route.lane)

    async def _cool(self, sight: Sight, made: Plan) -> bool:
        """Let go of what should be colder. True where workers have to leave before their template can."""
        letting_go: list[asyncio.Task[bool]] = []
        async with asyncio.TaskGroup() as tasks:
            for one in sight.kept:
                revision = one.facts.revision
                to, found = made.assignments[revision].temperature, self._pool.temperature(revision)
                if ORDER[to] >= ORDER[found]:
                    continue
                self._primer.settled(revision)
                if one.crew.empty:
                    # Whether it is still empty, and nothing starts, is looked at again when this runs.
                    tasks.create_task(self._pool.chill(revision, to))
                    continue
                letting_go.append(tasks.create_task(self._let_go(one.crew, to)))
        return any(not task.result() for task in letting_go)

    async def _let_go(self, crew: Crew, to: Temperature) -> bool:
        """Stop idle workers, and cool down as soon as they have left. False where that takes longer."""
        self._pool.let_go(crew)
        if to is T.PRIMED:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAMPLE_S):
                await crew.emptied.wait()
        await self._pool.chill(crew.plan.revision, to)
        return crew.empty

    def _prime(self, sight: Sight, made: Plan, tasks: asyncio.TaskGroup) -> None:
        """Load what should be ready and is not: pins first, then what is worth most."""
        wanted = [one for one in sight.kept if self._to_be_primed(one, made)]
        if wanted:
            first = min(wanted, key=lambda one: _urgency(one, made))
            self._primer.start(first.route.plan, tasks)

    def _to_be_primed(self, one: Kept, made: Plan) -> bool:
        facts, now_s = one.facts, self._clock.now_s()
        return (
            ORDER[made.assignments[facts.revision].temperature] >= ORDER[T.PRIMED]
            and ORDER[self._pool.temperature(facts.revision)] < ORDER[T.PRIMED]
            and facts.primeable
            and not (one.expired or one.crew.rests)
            and now_s >= one.crew.wake_not_before_s
            and self._primer.may(facts.revision, now_s)
        )

    def _primed(self, plan: RevisionPlan, primed: Primed) -> None:
        self._costs.primed(plan.revision, environment_of(plan), primed.parts_ms)
        self._due_s = self._clock.now_s()


def _urgency(one: Kept, made: Plan) -> tuple[int, float, str]:
    return -ORDER[one.facts.pin], -made.assignments[one.facts.revision].worth, one.facts.revision
