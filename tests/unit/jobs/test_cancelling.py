"""Asynchronous invocations that are cancelled: while they wait, while they run, and between two tries."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from lambent.core.errors import Conflict, NotFound
from lambent.core.invocation import Invocation, Outcome
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import TicketState
from tests.support.virtual_time import VirtualClock, run
from tests.unit.jobs.durable import BROKEN, PROJECT, answers, outcome, sleeper, working


def test_one_that_waits_can_be_cancelled_and_one_that_has_ended_cannot(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, sleeper(10)) as house:
            house.deploy(async_running_max=1)
            first, second = await house.accept(), await house.accept()
            await asyncio.sleep(1)
            gone = await house.queue.cancel(PROJECT, second.id)
            assert gone.state is TicketState.CANCELLED
            assert (await house.queue.cancel(PROJECT, second.id)).state is TicketState.CANCELLED
            with pytest.raises(NotFound):
                await house.queue.cancel(PROJECT, "nobody")
            with pytest.raises(NotFound):
                await house.queue.cancel("other", first.id)
            [ended] = await house.ended(first)
            await asyncio.sleep(30)
            assert (await house.find(second)).attempts == 0
            assert ended.state is TicketState.SUCCEEDED
            with pytest.raises(Conflict, match="succeeded"):
                await house.queue.cancel(PROJECT, first.id)

    run(story())


def test_one_that_runs_is_told_so_and_never_tried_again(store: SqlStore) -> None:
    cleaned_up: list[float] = []

    async def invoke(_: Invocation) -> Outcome:
        try:
            await asyncio.sleep(10)
        finally:
            cleaned_up.append(VirtualClock().now_s())
        return outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            house.deploy(async_running_max=1)
            first, second = await house.accept(webhook="http://127.0.0.1:1/x"), await house.accept()
            await asyncio.sleep(1)
            gone = await house.queue.cancel(PROJECT, first.id)
            assert (gone.state, gone.attempts, gone.body) == (TicketState.CANCELLED, 1, b"")
            [ended] = await house.ended(second)  # its place is free at once
            assert ended.state is TicketState.SUCCEEDED
            assert 11 <= VirtualClock().now_s() < 12
            await asyncio.sleep(60)
            assert await house.find(first) == gone
            assert house.outbox.waiting == 0
        assert not store.tickets.shares()

    run(story())
    assert cleaned_up[0] < 2


def test_what_does_not_heed_its_cancellation_keeps_its_place_and_its_result_is_nobodys(
    store: SqlStore,
) -> None:
    running: Counter[bytes] = Counter()

    async def invoke(one: Invocation) -> Outcome:
        running[one.body] += 1
        assert running.total() == 1
        until_s = VirtualClock().now_s() + 5
        while (left_s := until_s - VirtualClock().now_s()) > 0:
            try:
                await asyncio.sleep(left_s)
            except asyncio.CancelledError:
                continue
        running[one.body] -= 1
        return outcome(body=b'"late"')

    async def story() -> None:
        async with working(store, invoke) as house:
            first = await house.accept(body=b"1", order_key="k")
            second = await house.accept(body=b"2", order_key="k")
            await asyncio.sleep(1)
            await house.queue.cancel(PROJECT, first.id)
            [ended] = await house.ended(second)
            found = await house.find(first)
            assert (found.state, found.result) == (TicketState.CANCELLED, b"")
            assert ended.state is TicketState.SUCCEEDED
            assert VirtualClock().now_s() >= 10

    run(story())


def test_one_that_waits_for_its_next_try_can_be_cancelled(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, answers(BROKEN)) as house:
            house.deploy(retry_first_s=1000, retries=1)
            ticket = await house.accept()
            await asyncio.sleep(0.5)
            found = await house.find(ticket)
            assert (found.state, found.attempts) == (TicketState.QUEUED, 1)
            gone = await house.queue.cancel(PROJECT, ticket.id)
            await asyncio.sleep(3000)
            assert await house.find(ticket) == gone
            assert (gone.state, gone.attempts) == (TicketState.CANCELLED, 1)

    run(story())


@pytest.mark.parametrize("turns", range(30))
def test_a_cancellation_at_any_moment_wins_or_is_told_that_it_came_too_late(
    store: SqlStore, turns: int
) -> None:
    ran: list[str] = []

    async def invoke(one: Invocation) -> Outcome:
        await asyncio.sleep(0)
        ran.append(one.id)
        return outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            ticket = await house.accept()
            for _ in range(turns):
                await asyncio.sleep(0)
            try:
                await house.queue.cancel(PROJECT, ticket.id)
                cancelled = True
            except Conflict:
                cancelled = False
            await asyncio.sleep(10)
            assert cancelled or ran
            state = (await house.find(ticket)).state
            assert state is (TicketState.CANCELLED if cancelled else TicketState.SUCCEEDED)
            assert len(ran) <= 1
        assert not store.tickets.shares()

    run(story())
