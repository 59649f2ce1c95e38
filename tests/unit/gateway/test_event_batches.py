"""A batch of events ends with the client that sent it."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.invocation import Status
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.presence import ClientLeft, Presence
from lambent.gateway.protocols.cloudevents import run_all
from lambent.wire.cloudevents import Event
from tests.support.node import Node, node
from tests.support.virtual_time import VirtualClock, run

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/", "type": "t"})


async def slow(body: bytes, _: Scene) -> bytes:
    await asyncio.sleep(20)
    return body


async def ran(n: Node, client: Presence | None, *, count: int = 3) -> int:
    reply = await run_all(
        n.dispatcher, [n.invocation() for _ in range(count)], [EVENT] * count, client=client
    )
    return reply.status


def test_a_client_that_leaves_cancels_what_runs_and_what_waits_never_does() -> None:
    async def story() -> None:
        async with node(lambda _: Program(run=slow)) as n:
            n.deploy(workers_max=1)
            client = Presence()
            running = asyncio.create_task(ran(n, client))
            await asyncio.sleep(5)
            client.leave()
            with pytest.raises(ClientLeft):
                await running
            assert VirtualClock().now_s() < 6
            assert [one.status for one in n.usage] == [Status.CANCELLED]

    run(story())


@pytest.mark.parametrize("client", [None, Presence()], ids=["unknown", "that stays"])
def test_a_client_that_stays_has_an_answer(client: Presence | None) -> None:
    async def story() -> None:
        async with node(lambda _: Program(run=slow)) as n:
            n.deploy(workers_max=3)
            assert await ran(n, client) == 200
            assert [one.status for one in n.usage] == [Status.OK] * 3
            if client is not None:
                client.leave()  # of the connection that it came on, later
        assert len(n.usage) == 3

    run(story())
