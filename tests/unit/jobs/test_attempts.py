"""What is marked as running ahead of its turn, and outcomes that wait for the disk: bounded, and not lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from lambent.core.errors import StorageFull
from lambent.core.invocation import Invocation, Outcome
from lambent.jobs.attempts import AHEAD_MAX, UNSTORED_MAX
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import Change, Ticket, TicketState
from tests.support.virtual_time import run
from tests.unit.jobs.durable import BROKEN, House, answers, outcome, sleeper, working


async def states(house: House, tickets: Sequence[Ticket]) -> Counter[TicketState]:
    return Counter([(await house.find(ticket)).state for ticket in tickets])


def test_short_runs_are_marked_ahead_of_their_turn_and_long_ones_are_not(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, sleeper(0.001)) as house:
            house.deploy(async_running_max=1)
            short = [await house.accept() for _ in range(300)]
            await asyncio.sleep(0.05)
            found = await states(house, short)
            assert 1 < found[TicketState.RUNNING] <= 31
            await house.ended(*short)
        async with working(store, sleeper(1)) as house:
            house.deploy(async_running_max=2)
            long = [await house.accept() for _ in range(20)]
            await asyncio.sleep(3.5)
            assert (await states(house, long))[TicketState.RUNNING] == 2

    run(story())


def test_no_more_are_marked_ahead_than_the_maximum(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, sleeper(0.0005)) as house:
            house.deploy(async_running_max=8)
            tickets = [await house.accept() for _ in range(400)]
            most = 0
            while left := (await states(house, tickets))[TicketState.RUNNING]:
                most = max(most, left)
                await asyncio.sleep(0.001)
            # Those that have run, and whose end is being written down, are marked as well.
            assert most <= 8 + AHEAD_MAX + 64

    run(story())


def test_what_was_marked_and_had_no_place_goes_back_when_the_server_stops_and_was_not_tried(
    store: SqlStore,
) -> None:
    ran: Counter[str] = Counter()

    async def invoke(one: Invocation) -> Outcome:
        ran[one.id] += 1
        await asyncio.sleep(0.001)
        return outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            house.deploy(async_running_max=1)
            tickets = [await house.accept() for _ in range(100)]
            await asyncio.sleep(0.02)
            house.queue.pause()
            await house.queue.settle()
            found = [await house.find(ticket) for ticket in tickets]
            assert {one.state for one in found} == {TicketState.SUCCEEDED, TicketState.QUEUED}
            assert all(one.attempts == ran[one.id] for one in found)
        async with working(store, invoke) as house:
            ended = await house.ended(*tickets)
            assert all(one.attempts == ran[one.id] == 1 for one in ended)

    run(story())


def test_one_that_is_marked_and_waits_for_a_place_can_be_cancelled(store: SqlStore) -> None:
    seconds, ran = [0.001] * 40, list[str]()

    async def invoke(one: Invocation) -> Outcome:
        ran.append(one.id)
        await asyncio.sleep(seconds.pop() if seconds else 100)
        return outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            house.deploy(async_running_max=1)
            tickets = [await house.accept() for _ in range(60)]
            await asyncio.sleep(5)
            marked = [
                ticket
                for ticket in tickets
                if (await house.find(ticket)).state is TicketState.RUNNING and ticket.id not in ran
            ]
            assert marked
            gone = await house.queue.cancel(marked[0].project, marked[0].id)
            assert gone.state is TicketState.CANCELLED
            await house.ended(*(ticket for ticket in tickets if ticket.id != gone.id))
            assert gone.id not in ran
            assert await house.find(gone) == gone

    run(story())


def test_of_one_deployment_that_is_busy_with_short_work_another_gets_its_places(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, sleeper(0.001), running_max=4) as house:
            house.deploy("busy", async_running_max=4)
            house.deploy("f", project="quiet", async_running_max=4)
            many = [await house.accept("busy") for _ in range(500)]
            await asyncio.sleep(0.02)
            [ended] = await house.ended(await house.accept(project="quiet"))
            assert ended.state is TicketState.SUCCEEDED
            assert (await states(house, many))[TicketState.QUEUED] > 100

    run(story())


class Broken:
    """The tickets of a store that takes no ends for a while."""

    def __init__(self, store: SqlStore) -> None:
        self._change, self.tickets = store.tickets.change, store.tickets
        self.is_full = False

    def change(self, changes: Sequence[Change]) -> Sequence[bool]:
        if self.is_full and any(one.expects is TicketState.RUNNING for one in changes):
            raise StorageFull("no room left")
        return self._change(changes)


def test_outcomes_that_cannot_be_stored_are_bounded_and_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambent.jobs.attempts.UNSTORED_MAX", 8)
    assert UNSTORED_MAX == 256
    ran: Counter[str] = Counter()
    broken = Broken(store)
    monkeypatch.setattr(store.tickets, "change", broken.change)

    async def invoke(one: Invocation) -> Outcome:
        ran[one.id] += 1
        await asyncio.sleep(0.1)
        return outcome(body=b'"once"')

    async def story() -> None:
        async with working(store, invoke) as house:
            house.deploy(async_running_max=4)
            broken.is_full = True
            tickets = [await house.accept() for _ in range(40)]
            await asyncio.sleep(60)
            assert 8 <= ran.total() <= 8 + 4, "what is over the bound waits"
            broken.is_full = False
            ended = await house.ended(*tickets)
        assert {(one.state, one.attempts, one.result) for one in ended} == {
            (TicketState.SUCCEEDED, 1, b'"once"')
        }
        assert set(ran.values()) == {1}

    run(story())


def test_a_try_that_failed_meanwhile_is_not_made_again_before_its_time(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, answers(BROKEN)) as house:
            house.deploy(retry_first_s=100, retries=1, async_running_max=3)
            tickets = [await house.accept() for _ in range(200)]
            await asyncio.sleep(0.5)
            found = [await house.find(ticket) for ticket in tickets]
            assert {(one.state, one.attempts) for one in found} == {(TicketState.QUEUED, 1)}

    run(story())
