"""Each policy that a server may run keeps and lets go as it was published, within what all have to honour."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.invocation import Status
from lambent.core.policies.base import PolicyName
from lambent.core.spec import MIB, Keep, Temperature
from lambent.engines.memory_worker import Program, Scene
from tests.support.node import Node, node
from tests.support.virtual_time import run

T = Temperature
ENVIRONMENT, TEMPLATE, WORKER = 20 * MIB, 4 * MIB, 2 * MIB  # of the engine without processes
ROOM_FOR_ONE = ENVIRONMENT + TEMPLATE + WORKER
MINUTE_S = 60.0


def at(n: Node, *temperatures: T) -> set[str]:
    return {r.name for r in n.routes.all() if n.pool.temperature(r.plan.revision) in temperatures}


def ready(n: Node) -> set[str]:
    return at(n, T.PRIMED, T.HOT)


async def call(n: Node, name: str) -> T:
    outcome = await n.dispatcher.invoke(n.invocation(name))
    assert outcome.status is Status.OK
    return outcome.temperature


def takes(seconds: float) -> Program:
    async def answer(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(seconds)
        return body

    return Program(run=answer)


def test_fixed_lets_go_ten_minutes_after_the_last_call() -> None:
    async def story() -> None:
        async with node(policy=PolicyName.FIXED) as n:
            n.deploy("f", keep_alive_s=5)
            await call(n, "f")
            await asyncio.sleep(300)
            assert await call(n, "f") is T.PRIMED
            await asyncio.sleep(598)
            assert ready(n) == {"f"}
            assert n.thermostat.because("f-1") == "its keep-alive has not passed"
            await asyncio.sleep(5)
            assert at(n, T.COLD) == {"f"}
            assert n.thermostat.because("f-1") == "its keep-alive has passed, or has not begun"
            await asyncio.sleep(3600)
            assert at(n, T.COLD) == {"f"}
            assert await call(n, "f") is T.COLD

    run(story())


def test_fixed_counts_from_the_end_of_a_call_and_stops_an_idle_worker_too() -> None:
    async def story() -> None:
        async with node(lambda _: takes(1800), policy=PolicyName.FIXED) as n:
            n.deploy("f", keep_alive_s=3600, timeout_s=2000)
            await call(n, "f")
            await asyncio.sleep(595)
            assert at(n, T.HOT) == {"f"}
            await asyncio.sleep(10)
            assert at(n, T.COLD) == {"f"}

    run(story())


def test_hybrid_lets_go_after_each_call_and_comes_back_before_the_next() -> None:
    async def story() -> None:
        async with node(policy=PolicyName.HYBRID) as n:
            n.deploy("timer", keep_alive_s=5)
            found: list[T] = []
            for _ in range(6):
                found.append(await call(n, "timer"))
                await asyncio.sleep(10 * MINUTE_S)
            # Nothing is known before the first gap: it is kept for four hours.
            assert found == [T.COLD] + [T.PRIMED] * 5
            await call(n, "timer")
            await asyncio.sleep(MINUTE_S)
            assert at(n, T.COLD) == {"timer"}
            await asyncio.sleep(7 * MINUTE_S)
            assert at(n, T.COLD) == {"timer"}
            await asyncio.sleep(1.2 * MINUTE_S)  # 10 minutes less the margin of 10 %: from the 9th on
            assert ready(n) == {"timer"}
            await asyncio.sleep(3.5 * MINUTE_S)
            assert ready(n) == {"timer"}
            await asyncio.sleep(0.8 * MINUTE_S)  # the 11th and 10 %: until the 13th
            assert at(n, T.COLD) == {"timer"}

    run(story())


def test_gdsf_keeps_what_was_called_often_when_room_is_needed_and_never_wakes_ahead() -> None:
    async def story() -> None:
        budget_bytes = ENVIRONMENT + 2 * TEMPLATE + WORKER
        async with node(budget_bytes=budget_bytes, policy=PolicyName.GDSF) as n:
            for name in ("often", "once", "twice"):
                n.deploy(name, keep_alive_s=1)
            for _ in range(6):
                await call(n, "often")
                await asyncio.sleep(10)
            await call(n, "once")
            await asyncio.sleep(3600)
            assert ready(n) == {"often", "once"}  # lazily: nobody needed the room
            assert n.thermostat.because("once-1") == "nobody needs its memory"
            for _ in range(2):
                await call(n, "twice")
                await asyncio.sleep(10)
            # "once" was called later than "often", and less often.
            assert ready(n) == {"often", "twice"}
            assert n.thermostat.because("once-1") == "it comes back when it is called"
            await asyncio.sleep(3600)
            assert ready(n) == {"often", "twice"}
            assert n.thermostat.standing().price == 0

    run(story())


def test_gdsf_grows_old_what_was_popular_once() -> None:
    async def story() -> None:
        budget_bytes = ENVIRONMENT + 2 * TEMPLATE + WORKER
        async with node(budget_bytes=budget_bytes, policy=PolicyName.GDSF) as n:
            names = ["star", *(f"f{number}" for number in range(4))]
            for name in names:
                n.deploy(name, keep_alive_s=1)
            for _ in range(4):
                await call(n, "star")
                await asyncio.sleep(5)
            for _ in range(10):
                for name in names[1:]:
                    await call(n, name)
                    await asyncio.sleep(5)
            assert "star" not in ready(n)

    run(story())


@pytest.mark.parametrize("policy", [PolicyName.FIXED, PolicyName.HYBRID])
def test_the_budget_is_the_last_resort_of_policies_without_one(policy: PolicyName) -> None:
    async def story() -> None:
        async with node(budget_bytes=ROOM_FOR_ONE, policy=policy) as n:
            for name in "abc":
                n.deploy(name, keep_alive_s=1)
                await call(n, name)
                await asyncio.sleep(5)
            assert ready(n) == {"c"}  # called last
            assert sum(facts.pss_bytes for facts in n.engine.census()) <= ROOM_FOR_ONE

    run(story())


@pytest.mark.parametrize("policy", list(PolicyName))
def test_pins_and_running_work_hold_under_every_policy(policy: PolicyName) -> None:
    async def story() -> None:
        async with node(
            lambda plan: takes(1000 if plan.deployment == "slow" else 0),
            budget_bytes=ENVIRONMENT,
            policy=policy,
        ) as n:
            n.deploy("hot", keep=Keep.HOT, keep_alive_s=1)
            n.deploy("primed", keep=Keep.PRIMED, keep_alive_s=1)
            n.deploy("slow", keep_alive_s=1, timeout_s=2000)
            running = asyncio.create_task(call(n, "slow"))
            await asyncio.sleep(900)
            assert at(n, T.HOT) == {"hot", "slow"}
            assert at(n, T.PRIMED) == {"primed"}
            assert n.thermostat.because("primed-1") == "its owner asked for it"
            await running
            # Only hybrid keeps for hours what it knows nothing of.
            await asyncio.sleep(4 * 3600 if policy is PolicyName.HYBRID else 3600)
            assert ready(n) == {"hot", "primed"}
            assert n.thermostat.standing().policy is policy

    run(story(), iterations_max=2_000_000)


@pytest.mark.parametrize("policy", list(PolicyName))
def test_what_is_removed_is_forgotten(policy: PolicyName) -> None:
    async def story() -> None:
        async with node(policy=policy) as n:
            for number in range(5):
                n.deploy(f"f{number}", keep_alive_s=1)
                await call(n, f"f{number}")
            await asyncio.sleep(30)
            for number in range(5):
                n.routes.remove("default", f"f{number}")
            await asyncio.sleep(60)
            assert n.thermostat.memory().arrivals.deployments == ()

    run(story())
