"""How many of a call's asks are under way at once, and how they end."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from lambent.core.invocation import JSON, Status
from lambent.wire.frames import Ask, Call, Told
from lambent.worker.asks import Asks
from lambent.worker.concurrent_asking import ConcurrentAnswer, ConcurrentCaller
from tests.support.virtual_time import run


def ids(asks: Asks) -> list[int]:
    return [ask.ask_id for ask, _ in asks.due()]


def many(count: int, *, asks_max: int = 3, bytes_max: int = 100, size: int = 1) -> Asks:
    asks = Asks(asks_max=asks_max, bytes_max=bytes_max)
    for number in range(1, count + 1):
        asks.add(Ask(1, number, "other"), bytes(size))
    return asks


def test_those_beyond_the_maximum_wait_for_the_end_of_others_in_their_order() -> None:
    asks = many(5)
    assert ids(asks) == [1, 2, 3]
    assert ids(asks) == []
    asks.ended(2)
    assert ids(asks) == [4]
    asks.ended(99)  # of nobody
    assert ids(asks) == []


def test_bodies_are_bounded_together_and_one_that_is_larger_goes_alone() -> None:
    asks = many(3, size=60)
    assert ids(asks) == [1]
    asks.ended(1)
    assert ids(asks) == [2]
    huge = many(1, size=500)
    huge.add(Ask(1, 2, "other"), b"")
    assert ids(huge) == [1]
    huge.ended(1)
    assert ids(huge) == [2]


def test_one_that_nobody_wants_and_that_was_not_sent_is_never_sent() -> None:
    asks = many(5)
    assert ids(asks) == [1, 2, 3]
    assert asks.forget(1)
    assert not asks.forget(4)
    assert not asks.forget(4)
    assert ids(asks) == []  # the first is under way until the server says that it has ended
    asks.ended(1)
    assert ids(asks) == [5]


@given(
    st.lists(st.integers(0, 120), max_size=40),
    st.integers(1, 5),
    st.integers(0, 100),
    st.randoms(use_true_random=False),
)
def test_each_is_sent_once_in_order_and_the_bounds_hold(
    sizes: list[int], asks_max: int, bytes_max: int, chance: random.Random
) -> None:
    asks = Asks(asks_max=asks_max, bytes_max=bytes_max)
    for number, size in enumerate(sizes):
        asks.add(Ask(1, number, "other"), bytes(size))
    sent: list[int] = []
    under_way: list[int] = []
    while True:
        for ask_id in ids(asks):
            sent.append(ask_id)
            under_way.append(ask_id)
        assert len(under_way) <= asks_max
        assert len(under_way) == 1 or sum(sizes[one] for one in under_way) <= bytes_max or not under_way
        if not under_way:
            break
        asks.ended(under_way.pop(chance.randrange(len(under_way))))
    assert sent == list(range(len(sizes)))


def test_an_answer_that_comes_as_user_code_stops_waiting_for_it_is_no_fault() -> None:
    faults: list[dict[str, object]] = []

    async def wait(answer: ConcurrentAnswer) -> None:
        await answer

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        caller = ConcurrentCaller(Call(1, "id", 1000.0), lambda header, body: None)
        waits = asyncio.create_task(wait(caller.ask("other", b"1", JSON, alias="", timeout_s=0)))
        await asyncio.sleep(0)
        waits.cancel()
        caller.hear(Told(1, 1, Status.OK, JSON), b"2")
        await asyncio.wait([waits])
        assert waits.cancelled()
        caller.close()

    run(story())
    assert faults == []
