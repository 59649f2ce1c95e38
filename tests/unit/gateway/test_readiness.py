"""When the server says that it takes new work, and what it asks its store for that."""

from __future__ import annotations

import asyncio
import threading

from lambent.core.errors import StorageBroken
from lambent.gateway.readiness import KEPT_S, Readiness
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import ManualClock
from tests.unit.gateway.asgi import House


def test_a_store_that_cannot_be_read_makes_the_server_unready_until_it_can(house: House) -> None:
    def broken() -> None:
        raise StorageBroken("the database is damaged")

    async def story() -> None:
        house.ping_store = broken
        answer = await house.call("GET", "/readyz", key="")
        assert (answer.status, answer.json()["status"]) == (503, "the database is damaged")
        assert (await house.call("GET", "/livez", key="")).status == 200
        house.ping_store = lambda: None
        house.clock.advance(KEPT_S)
        assert (await house.call("GET", "/readyz", key="")).status == 200

    asyncio.run(story())


def test_the_store_is_asked_once_a_second_however_many_ask() -> None:
    clock, asked = ManualClock(), []
    readiness = Readiness(clock, accepts=lambda: True, ping_store=lambda: asked.append(1))

    async def story() -> None:
        for _ in range(3):
            assert set(await asyncio.gather(*(readiness.trouble() for _ in range(10)))) == {""}
        assert len(asked) == 1
        clock.advance(KEPT_S)
        await readiness.trouble()
        assert len(asked) == 2

    asyncio.run(story())


def test_a_store_that_hangs_takes_one_thread_and_everybody_hears_of_it() -> None:
    clock, asked, goes_on = ManualClock(), [], threading.Event()

    def hang() -> None:
        asked.append(1)
        goes_on.wait(PATIENT_S)

    async def story() -> None:
        readiness = Readiness(clock, accepts=lambda: True, ping_store=hang, answer_s_max=0.01)
        for _ in range(3):
            assert "has not answered" in await readiness.trouble()
        assert len(asked) == 1
        goes_on.set()
        while await readiness.trouble():
            pass

    asyncio.run(story())
