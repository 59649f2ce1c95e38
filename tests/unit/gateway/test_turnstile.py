"""Arrivals and answers keep step, however many arrive."""

import asyncio

from lambent.gateway.turnstile import BEGIN_PER_TURN, Turnstile
from tests.support.virtual_time import run

CROWD = 5 * BEGIN_PER_TURN + 3


async def begin(turnstile: Turnstile, began: list[int], number: int) -> None:
    """What the gateway does at the beginning of a request."""
    if not turnstile.passes():
        await turnstile.turn()
    began.append(number)


def test_a_crowd_begins_in_order_and_in_groups_so_that_answers_are_heard_between_them() -> None:
    async def story() -> None:
        turnstile, began = Turnstile(), list[int]()
        crowd = [asyncio.create_task(begin(turnstile, began, number)) for number in range(CROWD)]
        seen = []
        while len(began) < CROWD:
            await asyncio.sleep(0)  # a turn of the loop, in which it hears of answers
            seen.append(len(began))
        await asyncio.gather(*crowd)
        assert began == list(range(CROWD))
        assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= BEGIN_PER_TURN

    run(story())


def test_who_comes_while_others_wait_begins_after_them() -> None:
    async def story() -> None:
        turnstile, began = Turnstile(), list[int]()
        crowd = [asyncio.create_task(begin(turnstile, began, number)) for number in range(CROWD)]
        await asyncio.sleep(0)
        late = asyncio.create_task(begin(turnstile, began, CROWD))
        await asyncio.gather(*crowd, late)
        assert began[-1] == CROWD

    run(story())


def test_who_gives_up_takes_nobodys_turn() -> None:
    async def story() -> None:
        turnstile, began = Turnstile(), list[int]()
        crowd = [asyncio.create_task(begin(turnstile, began, number)) for number in range(CROWD)]
        await asyncio.sleep(0)
        for task in crowd[BEGIN_PER_TURN:-1]:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        assert began == [*range(BEGIN_PER_TURN), CROWD - 1]

    run(story())


def test_a_few_requests_now_and_then_wait_for_nothing() -> None:
    async def story() -> None:
        turnstile = Turnstile()
        for _ in range(10):
            assert all(turnstile.passes() for _ in range(BEGIN_PER_TURN))
            assert not turnstile.passes()
            await asyncio.sleep(1)

    run(story())
