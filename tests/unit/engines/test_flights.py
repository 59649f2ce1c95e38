"""Single flight: shared work, and who may leave it."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.errors import Draining
from lambent.engines.flights import Flights
from tests.support.virtual_time import VirtualClock, run


def test_all_who_ask_while_it_runs_share_one_run_and_the_next_one_begins_anew() -> None:
    async def story() -> None:
        runs = 0

        async def work() -> int:
            nonlocal runs
            runs += 1
            await asyncio.sleep(1)
            return runs

        flights: Flights[str, int] = Flights()
        assert await asyncio.gather(*(flights.join("a", work) for _ in range(3))) == [1, 1, 1]
        assert not flights.flying("a")
        assert await flights.join("a", work) == 2
        assert VirtualClock().now_s() == 2

    run(story())


def test_a_failure_is_shared_and_not_remembered() -> None:
    async def story() -> None:
        async def fail() -> int:
            await asyncio.sleep(1)
            raise ValueError("no")

        async def succeed() -> int:
            return 5

        flights: Flights[str, int] = Flights()
        outcomes = await asyncio.gather(
            flights.join("a", fail), flights.join("a", fail), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]
        assert await flights.join("a", succeed) == 5

    run(story())


def test_work_goes_on_when_one_of_two_has_left_and_ends_with_the_last() -> None:
    async def story() -> None:
        ended: list[float] = []

        async def work() -> int:
            try:
                await asyncio.sleep(5)
            finally:
                ended.append(VirtualClock().now_s())
            return 1

        flights: Flights[str, int] = Flights()
        first, last = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(1)
        assert flights.flying("a")
        last.cancel()
        await asyncio.wait([first, last])
        assert first.cancelled()
        assert last.cancelled()
        await asyncio.sleep(0)
        assert (flights.flying("a"), ended) == (False, [2])

    run(story())


def test_who_comes_while_abandoned_work_cleans_up_waits_for_that_and_begins_anew() -> None:
    async def story() -> None:
        told: list[str] = []

        async def work() -> int:
            told.append("begins")
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                await asyncio.sleep(3)
                told.append("is clean")
                raise
            return 7

        flights: Flights[str, int] = Flights()
        leaver = asyncio.create_task(flights.join("a", work))
        await asyncio.sleep(1)
        leaver.cancel()
        await asyncio.sleep(1)
        assert await asyncio.gather(*(flights.join("a", work) for _ in range(2))) == [7, 7]
        assert told == ["begins", "is clean", "begins"]

    run(story())


def test_work_that_was_begun_for_nobody_goes_on_whoever_leaves_and_its_failure_disturbs_nobody() -> None:
    async def story() -> None:
        done: list[str] = []

        async def work() -> int:
            await asyncio.sleep(5)
            done.append("whole")
            raise ValueError("nobody hears this")

        flights: Flights[str, int] = Flights()
        flights.begin("a", work)
        asking = asyncio.create_task(flights.join("a", work))
        await asyncio.sleep(1)
        asking.cancel()
        await asyncio.wait([asking])
        assert flights.flying("a")
        await asyncio.sleep(10)
        assert done == ["whole"]

    run(story())


def test_closing_ends_the_work_and_tells_those_who_wait() -> None:
    async def story() -> None:
        async def work() -> int:
            await asyncio.Event().wait()
            return 1

        flights: Flights[str, int] = Flights()
        asking = asyncio.create_task(flights.join("a", work))
        await asyncio.sleep(1)
        await flights.close()
        with pytest.raises(Draining):
            await asking
        with pytest.raises(Draining):
            await flights.join("a", work)

    run(story())
