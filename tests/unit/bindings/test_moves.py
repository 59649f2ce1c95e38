"""Moves of messages that were given up, over a real store, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from lambent.bindings.moves import KEPT_MAX, Move, Moves, Status
from lambent.bindings.queues import Draft, Queues, Wish
from lambent.core.errors import Conflict, NotFound
from lambent.core.messages import Message, Order, Terms
from lambent.storage.queues import Queue, Stuck
from lambent.storage.sql import SqlStore
from tests.support.virtual_time import VirtualClock, run
from tests.unit.jobs.durable import PROJECT, here

WORK, DEAD, OTHER = "work", "dead", "other"


@asynccontextmanager
async def opened(store: SqlStore) -> AsyncIterator[tuple[Queues, Moves]]:
    async with asyncio.TaskGroup() as tasks:
        queues = Queues(store.queues, VirtualClock(), tasks, disk=here)
        await queues.restore()
        moves = Moves(queues, store.records, VirtualClock(), tasks, disk=here)
        await moves.restore()
        yield queues, moves
        moves.pause()
        queues.pause()


async def made(queues: Queues, order: Order = Order.LOOSE) -> None:
    await queues.create(Queue(project=PROJECT, name=DEAD, terms=Terms(order=order)))
    given_up = Terms(order=order, dead_letters=DEAD, receives_max=1, visibility_s=1)
    await queues.create(Queue(project=PROJECT, name=WORK, terms=given_up))
    await queues.create(Queue(project=PROJECT, name=OTHER, terms=Terms(order=order)))


async def give_up(queues: Queues, *bodies: str, group: str = "") -> None:
    """Let them come to the dead letters as what fails does."""
    drafts = [
        Draft(Message(id=f"id-{one}", body=one, size_bytes=len(one), group=group, dedup=one))
        for one in bodies
    ]
    await queues.send(PROJECT, WORK, drafts)
    for _ in range(2):
        await received(queues, WORK)
        await asyncio.sleep(2)  # longer than they are hidden


async def received(queues: Queues, name: str) -> Sequence[Message]:
    return await queues.receive(PROJECT, name, Wish(count=10))


async def ended(moves: Moves) -> Move:
    await asyncio.sleep(60)
    return (await moves.of(PROJECT, DEAD))[0]


def test_what_was_given_up_goes_back_to_its_queue_as_a_new_message(store: SqlStore) -> None:
    async def story() -> None:
        async with opened(store) as (queues, moves):
            await made(queues)
            await give_up(queues, "a", "b")
            await moves.start(PROJECT, DEAD)
            move = await ended(moves)
            assert (move.status, move.moved, move.to_move) == (Status.COMPLETED, 2, 2)
            assert not await received(queues, DEAD)
            back = await received(queues, WORK)
            assert {one.body for one in back} == {"a", "b"}
            assert {(one.receives, one.receives_before, one.source) for one in back} == {(1, 0, "")}
            assert not {one.id for one in back} & {"id-a", "id-b"}
            assert queues.find(PROJECT, DEAD) is not None

    run(story())


def test_a_group_keeps_its_order_and_is_not_taken_for_what_was_sent_before(store: SqlStore) -> None:
    async def story() -> None:
        async with opened(store) as (queues, moves):
            await made(queues, Order.KEPT)
            for one in "abc":
                await give_up(queues, one, group="g")
            await moves.start(PROJECT, DEAD)  # within the five minutes for which their keys are known
            assert (await ended(moves)).moved == 3
            assert [one.body for one in await received(queues, WORK)] == ["a", "b", "c"]

    run(story())


def test_what_fails_again_while_it_is_moved_is_not_moved_in_a_circle(store: SqlStore) -> None:
    async def story() -> None:
        async with opened(store) as (queues, moves):
            await made(queues)
            await give_up(queues, *"abcde")
            await moves.start(PROJECT, DEAD, per_second=1)
            move = moves.of(PROJECT, DEAD)
            while (await move)[0].status is Status.RUNNING:
                await received(queues, WORK)  # and never deleted
                await asyncio.sleep(0.5)
                move = moves.of(PROJECT, DEAD)
            assert (await ended(moves)).moved == 5

    run(story())


def test_no_more_are_moved_a_second_than_was_said_and_none_after_a_cancel(store: SqlStore) -> None:
    async def story() -> None:
        async with opened(store) as (queues, moves):
            await made(queues)
            await give_up(queues, *"abcdefgh")
            move = await moves.start(PROJECT, DEAD, to=OTHER, per_second=2)
            await asyncio.sleep(2.5)
            assert (await moves.of(PROJECT, DEAD))[0].moved == 4
            with pytest.raises(Conflict):
                await moves.start(PROJECT, DEAD)
            assert (await moves.cancel(PROJECT, DEAD, move.id)).moved == 4
            await asyncio.sleep(5)
            [cancelled] = await moves.of(PROJECT, DEAD)
            assert (cancelled.status, cancelled.moved) == (Status.CANCELLED, 4)
            assert len(await received(queues, OTHER)) == 4
            with pytest.raises(Conflict):
                await moves.cancel(PROJECT, DEAD, move.id)
            with pytest.raises(NotFound):
                await moves.cancel(PROJECT, DEAD, "none")

    run(story())


def test_a_move_without_anywhere_to_go_fails_and_loses_nothing(store: SqlStore) -> None:
    async def story() -> None:
        async with opened(store) as (queues, moves):
            await made(queues)
            await queues.send(PROJECT, DEAD, [Draft(Message(id="x", body="sent here", size_bytes=9))])
            await moves.start(PROJECT, DEAD)
            assert (await ended(moves)).stuck is Stuck.NO_SOURCE
            await moves.start(PROJECT, DEAD, to=OTHER, per_second=1)
            await queues.remove(PROJECT, OTHER)
            failed = await ended(moves)
            assert (failed.status, failed.stuck) == (Status.FAILED, Stuck.NO_QUEUE)
            [left] = await received(queues, DEAD)
            assert left.body == "sent here"

    run(story())


def test_a_server_that_starts_again_goes_on_with_a_move(store: SqlStore) -> None:
    async def story() -> None:
        async with opened(store) as (queues, moves):
            await made(queues)
            await give_up(queues, *"abc")
            await moves.start(PROJECT, DEAD, per_second=1)
            await asyncio.sleep(1.5)
        async with opened(store) as (queues, moves):
            assert (await ended(moves)).moved == 3
            assert len(await received(queues, WORK)) == 3

    run(story())


def test_the_latest_moves_of_a_queue_are_kept_and_none_of_a_queue_before_it(store: SqlStore) -> None:
    async def story() -> None:
        async with opened(store) as (queues, moves):
            await made(queues)
            for _ in range(KEPT_MAX + 3):
                await moves.start(PROJECT, DEAD)
                await ended(moves)
                await asyncio.sleep(1)
            assert len(await moves.of(PROJECT, DEAD)) == KEPT_MAX
            await queues.remove(PROJECT, DEAD)
            await asyncio.sleep(1)
            await queues.create(Queue(project=PROJECT, name=DEAD))
            assert await moves.of(PROJECT, DEAD) == []

    run(story())
