"""A node keeps within its budget what saves most, and nobody who calls it notices."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence

import pytest

from lambent.core.errors import LoadFailed
from lambent.core.invocation import Outcome, Status
from lambent.core.policies.base import PolicyName
from lambent.core.spec import MIB, Keep, Temperature
from lambent.engines.base import ProcessFacts
from lambent.engines.memory_worker import Program, Scene
from lambent.pool.arrivals import Arrivals
from lambent.pool.costs import Costs
from lambent.pool.sizes import Sizes
from lambent.pool.survey import Survey
from tests.support.node import Node, node
from tests.support.virtual_time import run

T = Temperature
ENVIRONMENT, TEMPLATE, WORKER = 20 * MIB, 4 * MIB, 2 * MIB  # of the engine without processes


def takes(seconds: float) -> Program:
    async def answer(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(seconds)
        return body

    return Program(run=answer)


def process(role: str, revision: str, size_bytes: int) -> ProcessFacts:
    return ProcessFacts(
        pid=1, role=role, revision=revision, pss_bytes=size_bytes, private_bytes=size_bytes, imports=()
    )


def used_bytes(n: Node) -> int:
    return sum(facts.pss_bytes for facts in n.engine.census())


def at(n: Node, temperature: T) -> set[str]:
    return {r.name for r in n.routes.all() if n.pool.temperature(r.plan.revision) is temperature}


async def zipf(
    n: Node, names: Sequence[str], dice: random.Random, *, calls: int, gap_s: float
) -> list[Outcome]:
    """Calls with exponential gaps, to the k-th name in proportion to 1/k."""
    tasks = []
    for _ in range(calls):
        await asyncio.sleep(dice.expovariate(1 / gap_s))
        [name] = dice.choices(names, [1 / (rank + 1) for rank in range(len(names))])
        tasks.append(asyncio.create_task(n.dispatcher.invoke(n.invocation(name))))
    return await asyncio.gather(*tasks)


def test_fifty_revisions_share_a_budget_for_ten() -> None:
    budget_bytes = ENVIRONMENT + 10 * TEMPLATE + 6 * WORKER
    names = [f"f{number}" for number in range(50)]

    async def story(calls: int) -> tuple[list[int], list[T]]:
        readings: list[int] = []

        async def read() -> None:
            while True:
                await asyncio.sleep(0.25)
                readings.append(used_bytes(n))

        async with node(budget_bytes=budget_bytes) as n:
            for name in names:
                n.deploy(name)
            reading = asyncio.create_task(read())
            outcomes = await zipf(n, names, random.Random(1), calls=calls, gap_s=1.0)
            reading.cancel()
            assert {outcome.status for outcome in outcomes} == {Status.OK}
            return readings, [outcome.temperature for outcome in outcomes]

    readings, found = run(story(1000))
    over = sum(reading > budget_bytes for reading in readings) / len(readings)
    assert over < 0.1
    assert max(readings) <= budget_bytes + 4 * (TEMPLATE + WORKER)
    quick = sum(one in (T.PRIMED, T.HOT) for one in found[300:]) / len(found[300:])
    assert quick > 0.55  # the ten that are called most get 65 % of the calls
    assert run(story(150)) == run(story(150))


def test_a_template_goes_as_soon_as_its_workers_have_left() -> None:
    async def story() -> None:
        async with node(budget_bytes=ENVIRONMENT + TEMPLATE + WORKER) as n:
            for name in ("a", "b"):
                n.deploy(name)
            await n.dispatcher.invoke(n.invocation("a"))
            call = asyncio.create_task(n.dispatcher.invoke(n.invocation("b")))
            seen = []
            for _ in range(300):
                await asyncio.sleep(0.01)
                seen.append(n.pool.temperature("a-1"))
            await call
            assert seen[0] is T.HOT
            assert seen[-1] in (T.WARM, T.COLD)
            assert seen.count(T.PRIMED) <= 5

    run(story())


def test_a_worker_is_not_stopped_for_the_memory_that_one_parked_would_take() -> None:
    async def story() -> None:
        async with node() as n:
            plan = n.deploy().plan
            await n.dispatcher.invoke(n.invocation())
            sizes = Sizes()
            survey = Survey(n.pool, sizes, Costs(), Arrivals(n.pool, PolicyName.ECONOMIC))

            def hot_bytes(worker_bytes: int, **parked: int) -> int:
                alive = {"template": TEMPLATE, "worker": worker_bytes, **parked}
                sizes.learn([process(role, plan.revision, size) for role, size in alive.items()], [plan])
                [one] = survey.look(list(n.routes.all()), n.clock.now_s(), priming="").kept
                return one.facts.hot_bytes

            assert hot_bytes(WORKER) == WORKER
            assert hot_bytes(WORKER, parked=WORKER) == 1
            assert hot_bytes(WORKER + MIB) == 1
            assert hot_bytes(5 * WORKER) == 4 * WORKER

    run(story())


def test_nothing_is_cooled_down_while_memory_is_free() -> None:
    async def story() -> None:
        async with node() as n:
            for number in range(5):
                n.deploy(f"f{number}", keep_alive_s=5)
                await n.dispatcher.invoke(n.invocation(f"f{number}"))
            await asyncio.sleep(2 * 3600)
            assert at(n, T.PRIMED) == {f"f{number}" for number in range(5)}
            assert n.thermostat.because("f0-1") == "nobody needs its memory"
            assert n.thermostat.standing().price == 0

    run(story())


def test_pins_are_honoured_and_said_to_exceed_a_budget_that_is_too_small(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with node(budget_bytes=ENVIRONMENT) as n:
            n.deploy("hot", keep=Keep.HOT, keep_alive_s=5)
            n.deploy("primed", keep=Keep.PRIMED)
            n.deploy("free")
            await asyncio.sleep(60)
            assert (at(n, T.HOT), at(n, T.PRIMED)) == ({"hot"}, {"primed"})
            for name in ("free", "hot", "primed", "free"):
                assert (await n.dispatcher.invoke(n.invocation(name))).status is Status.OK
            await asyncio.sleep(5)
            assert "hot" in at(n, T.HOT)
            assert "primed" in at(n, T.HOT) | at(n, T.PRIMED)
            assert "free" in at(n, T.COLD) | at(n, T.WARM)
            assert n.thermostat.because("primed-1") == "its owner asked for it"
            assert n.thermostat.standing().over_bytes >= 2 * TEMPLATE + WORKER
            assert n.thermostat.standing().largest_bytes == ENVIRONMENT + TEMPLATE

    run(story())
    assert [record.message for record in caplog.records].count("over_budget") <= 2  # in a minute


def test_what_runs_is_never_evicted() -> None:
    async def story() -> None:
        async with node(lambda _: takes(100), budget_bytes=ENVIRONMENT) as n:
            n.deploy("a", timeout_s=200)
            n.deploy("b", timeout_s=200)
            calls = [asyncio.create_task(n.dispatcher.invoke(n.invocation(name))) for name in "ab"]
            await asyncio.sleep(60)
            assert at(n, T.HOT) == {"a", "b"}
            assert [outcome.status for outcome in await asyncio.gather(*calls)] == [Status.OK] * 2
            await asyncio.sleep(10)
            assert at(n, T.HOT) | at(n, T.PRIMED) == set()

    run(story())


@pytest.mark.parametrize("seed", range(20))
def test_no_call_is_lost_while_templates_are_evicted(seed: int) -> None:
    """Room for one of three, and calls on the very ticks at which plans are made."""
    dice = random.Random(seed)

    async def one(n: Node, name: str, at_s: float) -> Outcome:
        await asyncio.sleep(at_s)
        return await n.dispatcher.invoke(n.invocation(name))

    async def story() -> None:
        async with node(lambda _: takes(0.25), budget_bytes=ENVIRONMENT + TEMPLATE + WORKER) as n:
            for name in "abc":
                n.deploy(name, keep_alive_s=1, workers_max=2)
            calls = [
                asyncio.create_task(one(n, dice.choice("abc"), dice.randrange(0, 400) * 0.25))
                for _ in range(150)
            ]
            for number in range(6):
                await asyncio.sleep(dice.randrange(1, 60) * 0.25)
                n.deploy("a", keep_alive_s=1, revision=f"a-{number % 2}")
            outcomes = await asyncio.gather(*calls)
            assert {outcome.status for outcome in outcomes} == {Status.OK}
            assert len(n.usage) == len(outcomes)
            await asyncio.sleep(5)
            assert used_bytes(n) <= ENVIRONMENT + TEMPLATE + WORKER

    run(story(), tick_s=0.25)


def test_a_periodic_call_finds_its_revision_primed_though_others_had_its_room() -> None:
    async def story() -> list[T]:
        # Room for one: "noise" is called in between, so that "timer" has to go, and comes back in time.
        async with node(budget_bytes=ENVIRONMENT + TEMPLATE + WORKER) as n:
            n.deploy("timer", keep_alive_s=1)
            n.deploy("noise", keep_alive_s=1)
            found: list[T] = []
            for _ in range(12):
                found.append((await n.dispatcher.invoke(n.invocation("timer"))).temperature)
                for _ in range(3):
                    await asyncio.sleep(100)
                    await n.dispatcher.invoke(n.invocation("noise"))
                assert n.pool.temperature("timer-1") in (T.COLD, T.WARM)
                await asyncio.sleep(300)
            return found

    found = run(story())
    assert found[0] is T.COLD
    assert found[-5:] == [T.PRIMED] * 5


def test_a_template_goes_after_the_time_that_its_owner_set() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy("brief", keep_alive_s=1, template_keep_s=10)
            await n.dispatcher.invoke(n.invocation("brief"))
            await asyncio.sleep(8)
            assert at(n, T.PRIMED) == {"brief"}
            await asyncio.sleep(5)
            assert at(n, T.WARM) == {"brief"}
            assert n.thermostat.because("brief-1") == "its template_keep_s has passed"
            await asyncio.sleep(3600)
            assert at(n, T.WARM) == {"brief"}

    run(story())


def test_what_was_chilled_by_hand_rests_until_it_is_called() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy()
            await n.dispatcher.invoke(n.invocation())
            await n.pool.empty("f-1")
            await n.pool.chill("f-1", T.WARM)
            await asyncio.sleep(600)
            assert at(n, T.WARM) == {"f"}
            assert (await n.dispatcher.invoke(n.invocation())).temperature is T.WARM

    run(story())


def test_a_load_that_hangs_is_tried_again_ever_more_seldom() -> None:
    tries: list[float] = []

    async def story() -> None:
        async def hang() -> None:
            tries.append(asyncio.get_running_loop().time())
            await asyncio.sleep(100_000)

        async with node(lambda plan: Program(load=hang) if plan.deployment == "bad" else Program()) as n:
            n.deploy("bad", keep=Keep.PRIMED)
            n.deploy("good", keep=Keep.PRIMED)
            await asyncio.sleep(3600)
            assert at(n, T.PRIMED) == {"good"}

    run(story())
    assert 3 <= len(tries) <= 10
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert gaps[-1] > gaps[0]


def test_a_template_that_dies_each_time_is_not_loaded_in_a_loop() -> None:
    loads: list[float] = []

    async def story() -> None:
        async def load() -> None:
            loads.append(asyncio.get_running_loop().time())

        async with node(lambda _: Program(load=load)) as n:
            n.deploy("frail", keep=Keep.PRIMED)
            for _ in range(3600):
                await asyncio.sleep(1)
                if n.pool.temperature("frail-1") is T.PRIMED:
                    n.engine.lose_template("frail-1")
            assert (await n.dispatcher.invoke(n.invocation("frail"))).status is Status.OK

    run(story())
    assert 3 <= len(loads) <= 15


def test_a_load_that_fails_is_told_to_who_calls_and_the_rest_is_served() -> None:
    async def story() -> None:
        async def fail() -> None:
            raise ValueError("no such file")

        async with node(lambda plan: Program(load=fail) if plan.deployment == "bad" else Program()) as n:
            n.deploy("bad", keep=Keep.HOT)
            n.deploy("good")
            await asyncio.sleep(60)
            with pytest.raises(LoadFailed):
                await n.dispatcher.invoke(n.invocation("bad"))
            assert (await n.dispatcher.invoke(n.invocation("good"))).status is Status.OK

    run(story())


def test_a_burst_gets_the_workers_that_there_is_room_for(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        room_for = ENVIRONMENT + TEMPLATE + 3 * WORKER
        async with node(lambda _: takes(1.0), budget_bytes=room_for) as n:
            n.deploy(workers_max=16, hold_s=300)
            assert (await n.dispatcher.invoke(n.invocation())).status is Status.OK
            await asyncio.sleep(3)  # a census has seen what a worker takes
            calls = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(60)]
            most = 0
            while not all(call.done() for call in calls):
                await asyncio.sleep(0.25)
                most = max(most, n.workers())
            assert most == 3
            assert {call.result().status for call in calls} == {Status.OK}

    run(story())
    assert [record.message for record in caplog.records].count("no_room") == 1
