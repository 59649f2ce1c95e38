"""The machine's clock is set while invocations wait: they run when they were to run, and none grows old."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.invocation import Invocation, Outcome, Status
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import TicketState
from tests.support.virtual_time import run
from tests.unit.jobs.durable import outcome, working

DAY_S = 86_400.0
JUMPS_S = [-40 * DAY_S, -3 * 3600.0, 3 * 3600.0, 40 * DAY_S]


@pytest.mark.parametrize("by_s", JUMPS_S)
def test_a_retry_waits_as_long_as_it_would_have(store: SqlStore, by_s: float) -> None:
    tried: list[float] = []

    async def story() -> TicketState:
        failed = asyncio.Event()

        async def fail_once(_: Invocation) -> Outcome:
            tried.append(asyncio.get_running_loop().time())
            failed.set()
            return outcome(Status.FAILED if len(tried) == 1 else Status.OK)

        async with working(store, fail_once) as house:
            house.deploy(retry_first_s=60, workers_max=8)
            ticket = await house.accept()
            await failed.wait()
            await asyncio.sleep(1)
            house.clock.set_wall(by_s)
            [ended] = await house.ended(ticket)
            return ended.state

    assert run(story()) is TicketState.SUCCEEDED
    assert 0 <= tried[1] - tried[0] <= 62


@pytest.mark.parametrize("by_s", JUMPS_S)
def test_what_is_accepted_is_run_though_the_clock_is_set_before_it_is_looked_at(
    store: SqlStore, by_s: float
) -> None:
    async def story() -> tuple[TicketState, float]:
        async def succeed(_: Invocation) -> Outcome:
            return outcome()

        async with working(store, succeed) as house:
            delayed = await house.accept(delay_s=30.0)
            house.clock.set_wall(by_s)
            at_once = await house.accept()
            await house.ended(at_once)
            assert asyncio.get_running_loop().time() < 10
            [ended] = await house.ended(delayed)
            await asyncio.sleep(1200)  # outcomes that are over are forgotten meanwhile
            assert (await house.find(at_once)).state is TicketState.SUCCEEDED
            return ended.state, asyncio.get_running_loop().time()

    state, ended_s = run(story())
    assert state is TicketState.SUCCEEDED
    assert 30 <= ended_s - 1200 <= 40
