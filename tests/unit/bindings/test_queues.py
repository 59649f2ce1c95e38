"""Queues of messages over a real store, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from lambent.bindings.queues import Draft, Limits, Queues, Wish
from lambent.core.errors import Conflict, NotFound, QueueFull
from lambent.core.messages import Message, Order, Receipt, Terms
from lambent.storage.queues import Answer, Ask, Queue, Shown, Tries
from lambent.storage.sql import SqlStore
from tests.support.virtual_time import VirtualClock, run
from tests.unit.jobs.durable import PROJECT, here

Story = Callable[[Queues], Awaitable[None]]
FIFO = Terms(order=Order.KEPT)


@asynccontextmanager
async def opened(store: SqlStore, limits: Limits | None = None) -> AsyncIterator[Queues]:
    async with asyncio.TaskGroup() as tasks:
        queues = Queues(store.queues, VirtualClock(), tasks, limits=limits, disk=here)
        await queues.restore()
        forgetting = tasks.create_task(queues.run())
        yield queues
        forgetting.cancel()
        queues.pause()


def told(store: SqlStore, story: Story, terms: Terms | None = None, limits: Limits | None = None) -> None:
    async def whole() -> None:
        async with opened(store, limits) as queues:
            await queues.create(Queue(project=PROJECT, name="q", terms=terms or Terms()))
            await story(queues)

    run(whole())


async def send(
    queues: Queues, *bodies: str, name: str = "q", delay_s: int | None = None, group: str = ""
) -> None:
    drafts = [
        Draft(Message(id=body, body=body, size_bytes=len(body), group=group), delay_s) for body in bodies
    ]
    await queues.send(PROJECT, name, drafts)


async def receive(queues: Queues, *, count: int = 10, wait_s: float = 0.0, name: str = "q") -> list[Message]:
    return [*await queues.receive(PROJECT, name, Wish(count=count, wait_s=wait_s))]


def receipt(queues: Queues, message: Message) -> Receipt:
    queue = queues.find(PROJECT, "q")
    assert queue is not None
    return Receipt(queue.id, message.sequence, message.mark)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_who_waits_gets_a_message_the_moment_that_it_is_sent(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        waiting = asyncio.ensure_future(receive(queues, wait_s=20))
        await asyncio.sleep(7)
        await send(queues, "a")
        assert [one.body for one in await waiting] == ["a"]
        assert now_s() == 7

    told(store, story)


def test_who_waits_in_vain_has_waited_as_long_as_it_said_and_asked_the_disk_twice(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queues: Queues) -> None:
        assert await receive(queues, wait_s=20) == []
        assert now_s() == 20

    asked: list[Sequence[Ask]] = []
    together = store.queues.together

    def counting(asks: Sequence[Ask]) -> Sequence[Answer]:
        asked.append(asks)
        return together(asks)

    monkeypatch.setattr(store.queues, "together", counting)
    told(store, story)
    assert len(asked) == 2


@pytest.mark.parametrize("how", ["a delay", "a receiver that says nothing"])
def test_who_waits_gets_what_was_hidden_when_its_time_is_over(store: SqlStore, how: str) -> None:
    async def story(queues: Queues) -> None:
        await send(queues, "a", delay_s=5 if how == "a delay" else None)
        if how != "a delay":
            await receive(queues)
        [got] = await receive(queues, wait_s=20)
        assert (got.body, now_s()) == ("a", 5)

    told(store, story, Terms(visibility_s=5))


def test_who_waits_gets_what_somebody_else_took_meanwhile_and_let_go(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        quick, slow = (asyncio.ensure_future(receive(queues, wait_s=20)) for _ in range(2))
        await asyncio.sleep(1)
        await send(queues, "a")
        assert [one.receives for one in await quick] == [1]
        assert [one.receives for one in await slow] == [2]
        assert now_s() == 4

    told(store, story, Terms(visibility_s=3))


def test_each_of_many_who_wait_gets_one_of_a_batch_and_nobody_two(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        waiting = [asyncio.ensure_future(receive(queues, count=1, wait_s=20)) for _ in range(10)]
        await asyncio.sleep(1)
        await send(queues, *"abcdefghij")
        got = await asyncio.gather(*waiting)
        assert sorted(one.body for some in got for one in some) == [*"abcdefghij"]
        assert now_s() == 1

    told(store, story)


def test_who_was_woken_and_left_wakes_the_next(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        leaves = asyncio.ensure_future(receive(queues, wait_s=20))
        stays = asyncio.ensure_future(receive(queues, wait_s=20))
        await asyncio.sleep(1)
        sending = asyncio.ensure_future(send(queues, "a"))
        for _ in range(3):
            await asyncio.sleep(0)
        leaves.cancel()
        await sending
        got = await asyncio.gather(leaves, stays, return_exceptions=True)
        assert any(isinstance(some, list) and some for some in got)

    told(store, story, Terms(visibility_s=2))


def test_what_follows_in_a_group_comes_when_what_is_before_it_is_removed(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        await send(queues, "a", "b", group="g")
        [first] = await receive(queues, count=1)
        waiting = asyncio.ensure_future(receive(queues, wait_s=20))
        await asyncio.sleep(2)
        assert await queues.delete([receipt(queues, first)]) == 1
        assert [one.body for one in await waiting] == ["b"]
        assert now_s() == 2

    told(store, story, FIFO)


def test_what_is_given_back_is_there_at_once_and_was_not_received(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        await send(queues, "a")
        [first] = await receive(queues)
        waiting = asyncio.ensure_future(receive(queues, wait_s=20))
        await asyncio.sleep(1)
        shown = await queues.show(receipt(queues, first), after_s=0, tries=Tries.TAKEN_BACK)
        assert shown is Shown.DONE
        [again] = await waiting
        assert (again.receives, now_s()) == (1, 1)

    told(store, story)


def test_what_was_received_too_often_wakes_who_waits_for_dead_letters(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        await queues.create(Queue(project=PROJECT, name="dead"))
        await send(queues, "a")
        waiting = asyncio.ensure_future(receive(queues, wait_s=20, name="dead"))
        await receive(queues)
        await asyncio.sleep(4)
        assert await receive(queues) == []
        [letter] = await waiting
        assert (letter.source, now_s()) == ("q", 4)

    told(store, story, Terms(visibility_s=3, dead_letters="dead", receives_max=1))


def test_a_queue_takes_as_much_as_it_may_and_more_once_something_is_removed(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        await send(queues, "a", "b")
        with pytest.raises(QueueFull, match="2 messages of at most 2"):
            await send(queues, "c")
        got = await receive(queues)
        await queues.delete([receipt(queues, got[0])])
        await send(queues, "c")
        await queues.purge(PROJECT, "q")
        await send(queues, "d", "e")
        await queues.purge(PROJECT, "q")
        with pytest.raises(QueueFull, match="bytes"):
            await send(queues, "x" * 101)

    told(store, story, limits=Limits(2, 100))


def test_an_older_servers_messages_count_and_are_there(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        await send(queues, "a", "b")
        async with opened(store, Limits(2, 100)) as next_one:
            with pytest.raises(QueueFull):
                await send(next_one, "c")
            assert [one.body for one in await receive(next_one)] == ["a", "b"]

    told(store, story)


def test_who_waits_hears_that_the_queue_is_gone(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        with pytest.raises(Conflict):
            await queues.create(Queue(project=PROJECT, name="q"))
        waiting = asyncio.ensure_future(receive(queues, wait_s=20))
        await asyncio.sleep(1)
        await queues.remove(PROJECT, "q")
        with pytest.raises(NotFound):
            await waiting
        with pytest.raises(NotFound):
            await send(queues, "a")
        assert now_s() == 1

    told(store, story)


def test_what_is_too_old_is_forgotten_and_makes_room(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        await send(queues, "a")
        with pytest.raises(QueueFull):
            await send(queues, "b")
        await asyncio.sleep(150)
        await send(queues, "b")
        assert [one.body for one in await receive(queues)] == ["b"]

    told(store, story, Terms(retention_s=60), Limits(1, 100))


def test_a_server_that_stops_lets_nobody_wait(store: SqlStore) -> None:
    async def story(queues: Queues) -> None:
        waiting = asyncio.ensure_future(receive(queues, wait_s=20))
        await asyncio.sleep(1)
        queues.pause()
        assert await waiting == []
        assert now_s() == 1

    told(store, story)
