"""Arrivals and answers keep step, however many arrive."""

import asyncio
import functools
import itertools

from lambent.gateway.turnstile import BEGIN_PER_TURN, Turnstile
from tests.support.virtual_time import run

CROWD = 5 * BEGIN_PER_TURN + 3


class Crowd:
    """Who came to a turnstile, and who has begun, by number."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.began = list[int]()

    def come(self, *numbers: int) -> None:
        """So many more."""
        for number in numbers:
            self.turnstile.enter(functools.partial(self.began.append, number))


def test_a_crowd_begins_in_order_and_in_groups_so_that_answers_are_heard_between_them() -> None:
    async def story() -> None:
        crowd = Crowd()
        crowd.come(*range(CROWD))
        seen = [len(crowd.began)]
        while len(crowd.began) < CROWD:
            await asyncio.sleep(0)  # a turn of the loop, in which it hears of answers
            seen.append(len(crowd.began))
        assert crowd.began == list(range(CROWD))
        assert max(after - before for before, after in itertools.pairwise([0, *seen])) <= BEGIN_PER_TURN

    run(story())


def test_who_comes_while_others_wait_begins_after_them() -> None:
    async def story() -> None:
        crowd = Crowd()
        crowd.come(*range(CROWD))
        await asyncio.sleep(0)
        crowd.come(CROWD)
        await asyncio.sleep(1)
        assert crowd.began == list(range(CROWD + 1))

    run(story())


def test_a_few_requests_now_and_then_wait_for_nothing() -> None:
    async def story() -> None:
        crowd = Crowd()
        for number in range(10):
            crowd.come(*range(BEGIN_PER_TURN))
            assert len(crowd.began) == (number + 1) * BEGIN_PER_TURN
            await asyncio.sleep(1)

    run(story())
