"""What is kept of asynchronous invocations that have ended, and for how long: dead letters and results."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.invocation import Invocation, Outcome
from lambent.jobs.lanes import DeadLettersFull
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import TicketState
from tests.support.virtual_time import run
from tests.unit.jobs.durable import BROKEN, PROJECT, answers, outcome, working


def test_dead_letters_are_listed_redriven_and_purged(store: SqlStore) -> None:
    mended = False

    async def invoke(_: Invocation) -> Outcome:
        return outcome() if mended else BROKEN

    async def story() -> None:
        nonlocal mended
        async with working(store, invoke) as house:
            house.deploy("other")
            tickets = await house.ended(*[await house.accept(body=b"%d" % n) for n in range(5)])
            await house.ended(await house.accept("other"))
            page = store.dead_letters.page(PROJECT, "f", after="", limit=2)
            assert [letter.id for letter in page] == [ticket.id for ticket in tickets[:2]]
            rest = store.dead_letters.page(PROJECT, "f", after=page[-1].id, limit=10)
            assert [letter.id for letter in rest] == [ticket.id for ticket in tickets[2:]]
            assert {letter.attempts for letter in rest} == {3}

            mended = True
            assert await house.queue.redrive(PROJECT, "f", tickets[0].id) == 1
            [again] = await house.ended(tickets[0])
            assert (again.state, again.attempts, again.error) == (TicketState.SUCCEEDED, 1, "")
            assert await house.queue.purge(PROJECT, "f", tickets[1].id) == 1
            assert (await house.find(tickets[1])).state is TicketState.FORGOTTEN
            assert await house.queue.redrive(PROJECT, "f", tickets[1].id) == 0
            assert await house.queue.redrive(PROJECT, "f") == 3
            assert {t.state for t in await house.ended(*tickets[2:])} == {TicketState.SUCCEEDED}
            assert store.dead_letters.page(PROJECT, "f", after="", limit=10) == []
            assert len(store.dead_letters.page(PROJECT, "other", after="", limit=10)) == 1

    run(story())


def test_who_leaves_dead_letters_lying_is_refused_when_there_are_too_many(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambent.jobs.lanes.DEAD_MAX", 2)

    async def story() -> None:
        async with working(store, answers(BROKEN)) as house:
            await house.ended(await house.accept(), await house.accept())
            with pytest.raises(DeadLettersFull, match="lambent dlq ls f"):
                await house.accept()
        async with working(store, answers(BROKEN)) as house:  # and the next server knows
            with pytest.raises(DeadLettersFull):
                await house.accept()
            await house.queue.purge(PROJECT, "f")
            await house.ended(await house.accept())

    run(story())


def test_an_outcome_is_kept_for_its_time_and_an_idempotency_key_for_a_day(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, answers(outcome(body=b"[1]"))) as house:
            house.deploy(result_keep_s=100)
            keyed, plain = await house.ended(await house.accept(keyed=True), await house.accept())
            assert keyed.result == plain.result == b"[1]"
            await asyncio.sleep(90)
            assert (await house.find(plain)).result == b"[1]"
            await asyncio.sleep(100)
            kept = await house.find(keyed)
            assert (kept.state, kept.result, kept.body_hash) == (TicketState.FORGOTTEN, b"", keyed.body_hash)
            assert await house.queue.find(PROJECT, plain.id) is None
            await asyncio.sleep(86_400)
            assert await house.queue.find(PROJECT, keyed.id) is None

    run(story())


def test_the_oldest_results_go_when_all_together_are_too_large(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambent.jobs.queue.RESULTS_BYTES_MAX", 2500)
    monkeypatch.setattr("lambent.jobs.queue.RESULTS_BYTES_SLACK", 100)

    async def story() -> None:
        async with working(store, answers(outcome(body=b"x" * 1000))) as house:
            tickets = []
            for _ in range(5):
                tickets += await house.ended(await house.accept())
                await asyncio.sleep(2)
            found = [await house.queue.find(PROJECT, ticket.id) for ticket in tickets]
            assert [ticket is not None for ticket in found] == [False, False, False, True, True]

    run(story())
