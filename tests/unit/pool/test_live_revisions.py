"""Several revisions of one deployment at once, on a node without processes and in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from lambent.core.canary import Action, Guard, Verdict
from lambent.core.errors import LoadFailed, NotFound
from lambent.core.invocation import Outcome, Status
from lambent.core.routing import OWN, Split
from lambent.core.spec import Temperature
from lambent.engines.memory_worker import Program, Scene
from lambent.pool.trials import HALF_WINDOW_S, LOOK_S, RETRY_S, Key, Terms
from lambent.wire.process import RevisionPlan
from tests.support.node import PROJECT, Node, node
from tests.support.virtual_time import run

PROD = {"prod": Split(revision="a")}
TERMS = Terms(revision="a", candidate="b", guard=Guard(max_error_rate=0.05), began_unix_ms=0)
KEY: Key = (PROJECT, "f", OWN)


def program(plan: RevisionPlan) -> Program:
    """`a…` answers after a second, `b…` fails, `x…` does not load, others answer at once."""

    async def slow(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(1)
        return body

    async def failing(body: bytes, _: Scene) -> bytes:
        raise ValueError(body)

    async def unloadable() -> None:
        raise LoadFailed("no such file")

    match plan.revision[0]:
        case "a":
            return Program(run=slow)
        case "b":
            return Program(run=failing)
        case "x":
            return Program(load=unloadable)
    return Program()


async def invoke(n: Node, alias: str = OWN, sticky: str = "") -> Outcome:
    return await n.dispatcher.invoke(n.invocation(alias=alias, sticky=sticky))


def test_an_alias_and_the_name_are_answered_by_their_own_workers_at_once() -> None:
    async def story() -> None:
        async with node(program) as n:
            n.arrange("c", PROD, "a")
            outcomes = await asyncio.gather(invoke(n, "prod"), invoke(n), invoke(n, "prod"), invoke(n))
            assert [one.revision for one in outcomes] == ["a", "c", "a", "c"]
            assert n.workers("a") >= 1
            assert n.workers("c") >= 1
            with pytest.raises(NotFound, match="no alias 'live'"):
                await invoke(n, "live")

    run(story())


def test_each_live_revision_has_its_own_traffic_and_loses_its_workers_when_nobody_asks() -> None:
    async def story() -> None:
        async with node(program) as n:
            n.arrange("c", PROD, "a", keep_alive_s=2)
            await asyncio.gather(*(invoke(n, "prod") for _ in range(8)))
            assert n.workers("a") > n.workers("c") == 0
            for _ in range(10):
                await invoke(n)
                await asyncio.sleep(0.5)
            assert n.workers("a") == 0  # its keep-alive has passed, whatever the other is asked
            assert n.workers("c") == 1
            assert n.pool.temperature("a") is Temperature.PRIMED

    run(story())


def test_who_waits_under_an_alias_is_not_answered_by_a_revision_that_is_deployed_meanwhile() -> None:
    async def story() -> None:
        async with node(program) as n:
            n.arrange("a", PROD, workers_max=1)
            waiting = [asyncio.create_task(invoke(n, alias)) for alias in ("prod", OWN, "prod", OWN)]
            await asyncio.sleep(3)  # one of them has begun
            assert n.dispatcher.queued(PROJECT, "f") == 4 - sum(one.done() for one in waiting) - 1
            n.arrange("c", PROD, "a", workers_max=1)
            assert n.dispatcher.queued(PROJECT, "f") > 0
            revisions = [one.revision for one in await asyncio.gather(*waiting)]
            assert (revisions[0], revisions[2], revisions[3]) == ("a", "a", "c")
            assert n.dispatcher.queued(PROJECT, "f") == 0
            assert [n.pool.traffic(*route.lane).present for route in n.routes.live()] == [0, 0]

    run(story())


def test_who_waits_for_a_candidate_that_goes_back_is_answered_by_the_revision_beside_it() -> None:
    async def story() -> None:
        async with node(program) as n:
            everybody = {OWN: Split(revision="c", candidate="a", percent=100)}
            n.arrange("c", everybody, "a", workers_max=1)
            waiting = [asyncio.create_task(invoke(n)) for _ in range(4)]
            await asyncio.sleep(3)
            n.arrange("c", {}, workers_max=1)
            found = Counter(one.revision for one in await asyncio.gather(*waiting))
            assert found["c"] >= 1
            assert found["a"] >= 1
            await asyncio.sleep(10)
            assert n.pool.crew("a") is None
            assert n.pool.temperature("a") is Temperature.COLD

    run(story())


def test_who_waits_under_an_alias_that_is_taken_away_is_told_so() -> None:
    async def story() -> None:
        async with node(program) as n:
            n.arrange("c", PROD, "a", workers_max=1)
            waiting = [asyncio.create_task(invoke(n, "prod")) for _ in range(6)]
            await asyncio.sleep(3)
            n.arrange("c", {})
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(one) for one in ended} == {Outcome, NotFound}

    run(story())


def test_a_sticky_caller_gets_one_revision_and_others_both() -> None:
    async def story() -> None:
        async with node() as n:
            n.arrange("c", {OWN: Split(revision="c", candidate="d", percent=50)}, "d")
            assert {(await invoke(n)).revision for _ in range(60)} == {"c", "d"}
            for caller in ("ann", "ben", "zoe"):
                assert len({(await invoke(n, sticky=caller)).revision for _ in range(10)}) == 1

    run(story())


@pytest.mark.parametrize("seed", range(20))
def test_under_arrangements_at_random_each_call_is_answered_by_a_revision_that_was_live(seed: int) -> None:
    dice = random.Random(seed)

    async def story() -> None:
        async with node() as n:
            live: set[str] = set()

            def arrange() -> None:
                active, first, second = (dice.choice("cdefg") for _ in range(3))
                splits = {
                    OWN: Split(revision=active, candidate=first, percent=dice.choice([0, 30, 100])),
                    "prod": Split(revision=second, candidate=active, percent=dice.choice([0, 50])),
                }
                live.update((active, first, second))
                n.arrange(active, splits, *{first, second} - {active}, keep_alive_s=1, workers_max=2)

            async def call() -> Outcome:
                await asyncio.sleep(dice.randrange(40) * 0.25)
                return await invoke(n, dice.choice([OWN, "prod"]), dice.choice(["", "ann"]))

            arrange()
            calls = [asyncio.create_task(call()) for _ in range(100)]
            for _ in range(40):
                await asyncio.sleep(0.25)
                arrange()
            outcomes = await asyncio.gather(*calls)
            assert {one.status for one in outcomes} == {Status.OK}
            assert {one.revision for one in outcomes} <= live
            assert len(n.usage) == 100
            await asyncio.sleep(30)
            now_live = {route.plan.revision for route in n.routes.live()}
            kept = {route.plan.revision for route in n.pool.former()}
            assert {crew.plan.revision for crew in n.pool.crews()} == now_live | kept
            assert all(n.pool.traffic(*route.lane).present == 0 for route in n.routes.live())

    run(story(), tick_s=0.25)


class Court:
    """Remembers verdicts, and carries them out where it is told to."""

    def __init__(self, n: Node) -> None:
        self.pronounced: list[tuple[Key, Verdict]] = []
        n.trials.listen(lambda key, _, verdict: self.pronounced.append((key, verdict)))
        self._judging = asyncio.create_task(n.trials.run())

    def close(self) -> None:
        self._judging.cancel()


def test_a_candidate_that_fails_is_found_out_with_a_few_calls_and_told_until_it_is_gone() -> None:
    async def story() -> None:
        async with node(program) as n:
            n.arrange("c", {OWN: Split(revision="c", candidate="b", percent=50)}, "b")
            terms = Terms(revision="c", candidate="b", guard=TERMS.guard, began_unix_ms=0)
            n.trials.watch(KEY, terms)
            court = Court(n)
            calls = 0
            while not court.pronounced:
                calls += 1
                await invoke(n)
                await asyncio.sleep(LOOK_S)
            assert calls < 40
            [(key, verdict)] = court.pronounced
            assert (key, verdict.action) == (KEY, Action.ROLL_BACK)
            standing = n.trials.standing(KEY)
            assert standing is not None
            assert standing.new.failed == standing.new.calls
            assert standing.old.failed == 0
            await asyncio.sleep(2 * RETRY_S)
            assert len(court.pronounced) > 1
            n.trials.watch(KEY, None)
            told = len(court.pronounced)
            await asyncio.sleep(2 * RETRY_S)
            assert len(court.pronounced) == told
            court.close()

    run(story())


def test_a_candidate_that_does_not_load_is_found_out_too() -> None:
    async def story() -> None:
        async with node(program) as n:
            n.arrange("c", {OWN: Split(revision="c", candidate="x", percent=100)}, "x")
            n.trials.watch(KEY, Terms(revision="c", candidate="x", guard=TERMS.guard, began_unix_ms=0))
            court = Court(n)
            for _ in range(8):
                with pytest.raises(LoadFailed):
                    await invoke(n)
            await asyncio.sleep(2 * LOOK_S)
            assert court.pronounced
            court.close()

    run(story())


def test_what_is_long_past_is_forgotten_on_both_sides() -> None:
    async def story() -> None:
        async with node() as n:
            n.arrange("c", {OWN: Split(revision="c", candidate="d", percent=50)}, "d")
            n.trials.watch(KEY, Terms(revision="c", candidate="d", guard=TERMS.guard, began_unix_ms=0))
            for _ in range(50):
                await invoke(n)
            first = n.trials.standing(KEY)
            assert first is not None
            assert first.old.calls + first.new.calls == 50
            await asyncio.sleep(HALF_WINDOW_S)
            await invoke(n)
            await asyncio.sleep(HALF_WINDOW_S)
            await invoke(n)
            later = n.trials.standing(KEY)
            assert later is not None
            assert later.old.calls + later.new.calls == 2

    run(story())


def test_a_trial_on_equal_terms_goes_on_and_on_other_terms_begins_anew() -> None:
    async def story() -> None:
        async with node() as n:
            n.arrange("c", {OWN: Split(revision="c", candidate="d", percent=50)}, "d")
            terms = Terms(revision="c", candidate="d", guard=TERMS.guard, began_unix_ms=0)
            n.trials.watch(KEY, terms)
            await invoke(n)
            n.trials.watch(KEY, terms)
            assert _calls(n) == 1
            n.trials.watch(
                KEY,
                Terms(revision="c", candidate="d", guard=Guard(max_error_rate=0.1), began_unix_ms=0),
            )
            assert _calls(n) == 0

    run(story())


def _calls(n: Node) -> int:
    standing = n.trials.standing(KEY)
    return standing.old.calls + standing.new.calls if standing else 0
