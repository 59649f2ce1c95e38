"""The revision before the active one is kept loaded for a while, and costs nobody anything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from lambent.core.invocation import Status
from lambent.core.policies.base import PolicyName
from lambent.core.spec import MIB, Keep, Temperature
from lambent.engines.memory_worker import Program
from lambent.pool.former import KEPT_S
from lambent.wire.process import RevisionPlan
from tests.support.node import Node, node
from tests.support.virtual_time import run

T = Temperature
ENVIRONMENT, TEMPLATE, WORKER = 20 * MIB, 4 * MIB, 2 * MIB  # of the engine without processes


def counting(loads: Counter[str]) -> Callable[[RevisionPlan], Program]:
    def script(plan: RevisionPlan) -> Program:
        async def load() -> None:
            loads[plan.revision] += 1
            await asyncio.sleep(5)

        return Program(load=load)

    return script


async def served(n: Node, name: str = "f") -> str:
    outcome = await n.dispatcher.invoke(n.invocation(name))
    assert outcome.status is Status.OK
    return outcome.revision


def test_going_back_loads_nothing() -> None:
    loads: Counter[str] = Counter()

    async def story() -> None:
        async with node(counting(loads)) as n:
            for revision in ("one", "two"):
                n.deploy(revision=revision)
                assert await served(n) == revision
            await asyncio.sleep(KEPT_S / 2)
            assert (n.workers("one"), n.pool.temperature("one")) == (0, T.PRIMED)
            n.deploy(revision="one")
            began_s = n.clock.now_s()
            assert await served(n) == "one"
            assert n.clock.now_s() - began_s < 1
            n.deploy(revision="two")  # and forth again
            assert await served(n) == "two"
        assert loads == {"one": 1, "two": 1}

    run(story())


def test_it_is_let_go_after_a_while_also_where_nobody_had_called_it_for_long() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy(revision="one")
            await served(n)
            await asyncio.sleep(5000)
            n.deploy(revision="two")
            await served(n)
            await asyncio.sleep(KEPT_S - 5)
            assert n.pool.temperature("one") is T.PRIMED
            await asyncio.sleep(10)
            assert n.pool.temperature("one") is T.COLD
            assert not list(n.pool.former())
            assert {crew.plan.revision for crew in n.pool.crews()} == {"two"}

    run(story())


def test_a_revision_that_is_replaced_while_its_wake_fails_leaves_nothing_behind() -> None:
    async def fail() -> None:
        await asyncio.sleep(5)
        raise RuntimeError("no such weights")

    async def story() -> None:
        async with node(lambda plan: Program(load=fail) if plan.revision == "one" else Program()) as n:
            n.deploy(revision="one")
            waits = asyncio.create_task(served(n))
            await asyncio.sleep(1)
            n.deploy(revision="two")
            assert await waits == "two"
            await asyncio.sleep(10)
            assert {crew.plan.revision for crew in n.pool.crews()} == {"two"}
            assert n.pool.temperature("one") is T.COLD

    run(story())


def test_it_is_the_first_to_go_where_memory_is_short() -> None:
    async def story() -> None:
        async with node(budget_bytes=ENVIRONMENT + 40 * (TEMPLATE + WORKER)) as n:
            for revision in ("one", "two"):
                n.deploy(revision=revision)
                await served(n)
            others = [f"g{number}" for number in range(3)]
            for name in others:
                n.deploy(name)
                await served(n, name)
            await asyncio.sleep(5)
            assert n.pool.temperature("one") is T.PRIMED
            for name in (f"h{number}" for number in range(100)):
                n.deploy(name)
                await served(n, name)
                await asyncio.sleep(3)
                if n.pool.temperature("one") is T.COLD:
                    break
                assert all(n.pool.temperature(f"{name}-1") is not T.COLD for name in others)
            assert n.pool.temperature("one") is T.COLD
            assert n.pool.temperature("two") is not T.COLD

    run(story())


def test_one_is_kept_of_each_deployment_and_none_of_one_that_is_removed() -> None:
    async def story() -> None:
        async with node() as n:
            for revision in ("one", "two", "three"):
                n.deploy(revision=revision)
                await served(n)
            await asyncio.sleep(5)
            assert [n.pool.temperature(one) for one in ("one", "two")] == [T.COLD, T.PRIMED]
            n.routes.remove("default", "f")
            await asyncio.sleep(5)
            assert [n.pool.temperature(one) for one in ("two", "three")] == [T.COLD, T.COLD]
            assert not list(n.pool.crews())

    run(story())


def test_no_worker_and_no_pin_stays_with_it() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy(revision="one", workers_min=2, keep=Keep.HOT)
            await served(n)
            n.deploy(revision="two", workers_min=2, keep=Keep.HOT)
            await asyncio.sleep(30)
            assert (n.workers("one"), n.workers("two")) == (0, 2)
            await asyncio.sleep(KEPT_S)
            assert n.pool.temperature("one") is T.COLD

    run(story())


@pytest.mark.parametrize("policy", [one for one in PolicyName if one is not PolicyName.ECONOMIC])
def test_policies_that_were_published_keep_what_they_say_and_no_more(policy: PolicyName) -> None:
    async def story() -> None:
        async with node(policy=policy) as n:
            for revision in ("one", "two"):
                n.deploy(revision=revision)
                await served(n)
            await asyncio.sleep(KEPT_S + 60)
            assert n.pool.temperature("one") is T.COLD
            assert not list(n.pool.former())

    run(story())
