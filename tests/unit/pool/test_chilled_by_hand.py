"""Who chills a deployment by hand waits for its calls, up to a limit."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.errors import Conflict
from lambent.core.invocation import Status
from lambent.core.spec import Temperature
from lambent.engines.memory_worker import Program, Scene
from lambent.pool.pool import STOP_GRACE_S
from tests.support.node import Node, node
from tests.support.virtual_time import run

T = Temperature


def takes(seconds: float) -> Program:
    async def slow(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(seconds)
        return body

    return Program(run=slow)


async def chilled(n: Node) -> Temperature:
    await n.pool.empty("f-1")
    await n.pool.chill("f-1", T.COLD)
    return n.pool.temperature("f-1")


def test_a_call_that_runs_is_waited_for_and_then_it_is_cold() -> None:
    async def story() -> None:
        async with node(lambda _: takes(STOP_GRACE_S / 2)) as n:
            n.deploy()
            call = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(3)
            assert await chilled(n) is T.COLD
            assert (await call).status is Status.OK

    run(story())


def test_one_that_stays_in_use_keeps_its_workers_and_its_template() -> None:
    async def story() -> None:
        async with node(lambda _: takes(STOP_GRACE_S * 2)) as n:
            n.deploy()
            call = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(3)
            with pytest.raises(Conflict, match=r"'f' is in use: .* 1 worker after 10 s"):
                await chilled(n)
            assert (await call).status is Status.OK
            await asyncio.sleep(1)
            assert n.workers() == 1

    run(story())


def test_who_waits_behind_a_running_call_is_served_before_it_is_chilled() -> None:
    async def story() -> None:
        async with node(lambda _: takes(2.0)) as n:
            n.deploy(workers_max=1)
            calls = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(3)]
            await asyncio.sleep(3)
            assert await chilled(n) is T.COLD
            assert [(await call).status for call in calls] == [Status.OK] * 3
            assert len(n.pool.wakes.of("default", "f").recent()) == 1

    run(story())


def test_a_chilled_deployment_answers_the_next_call() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy()
            await n.dispatcher.invoke(n.invocation())
            assert await chilled(n) is T.COLD
            outcome = await n.dispatcher.invoke(n.invocation())
            assert (outcome.status, outcome.temperature) == (Status.OK, T.COLD)

    run(story())
