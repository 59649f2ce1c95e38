"""A model that is unloaded while it is in use finishes its calls, and nobody waits for that."""

from __future__ import annotations

import asyncio

from lambent.core.invocation import Status
from lambent.core.spec import Temperature
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.protocols.open_inference.models import UNLOAD_S, Models, Runs
from tests.support.node import PROJECT, Node, node
from tests.support.virtual_time import VirtualClock, run

RUN_S = 15.0


async def slow(body: bytes, _: Scene) -> bytes:
    await asyncio.sleep(RUN_S)
    return body


def models_of(n: Node) -> Models:
    return Models(n.routes, n.pool, lambda *_: Runs())


def test_one_in_use_is_answered_at_once_and_its_workers_end_with_their_calls() -> None:
    async def story() -> None:
        async with node(lambda _: Program(run=slow)) as n:
            n.deploy()
            models = models_of(n)
            call = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(3)
            await models.unload(models.find(PROJECT, "f"))
            assert VirtualClock().now_s() == 3 + UNLOAD_S
            assert not call.done()
            assert (await call).status is Status.OK
            await asyncio.sleep(1)
            assert n.workers() == 0

    run(story())


def test_who_waits_when_it_is_unloaded_is_answered() -> None:
    async def story() -> None:
        async with node(lambda _: Program(run=slow)) as n:
            n.deploy(workers_max=1)
            models = models_of(n)
            calls = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(3)]
            await asyncio.sleep(3)
            await models.unload(models.find(PROJECT, "f"))
            assert {outcome.status for outcome in await asyncio.gather(*calls)} == {Status.OK}

    run(story())


def test_one_that_nobody_uses_is_cold_when_that_is_said() -> None:
    async def story() -> None:
        async with node(lambda _: Program()) as n:
            n.deploy()
            models = models_of(n)
            await n.dispatcher.invoke(n.invocation())
            await models.unload(models.find(PROJECT, "f"))
            assert n.pool.temperature("f-1") is Temperature.COLD

    run(story())
