"""What was reserved is given back however a call ends."""

import pytest

from lambent.core.errors import QueueFull
from lambent.core.invocation import Invocation
from lambent.gateway.reserved import Reserved
from lambent.pool.reservations import Reservation, Reservations
from tests.support.virtual_time import run
from tests.unit.gateway.asgi import PROJECT, Invoker, outcome

CALL = Invocation(id="i", project=PROJECT, deployment="f", body=b"")


def test_a_call_that_fails_gives_its_place_back() -> None:
    async def story() -> None:
        invoker, reservations = Invoker(), Reservations()
        reservations.limit(PROJECT, "f", Reservation(calls_max=1))
        reserved = Reserved(invoker, reservations)
        invoker.next = ValueError("x")
        with pytest.raises(ValueError, match="x"):
            await reserved.invoke(CALL)
        invoker.next = outcome()
        assert await reserved.invoke(CALL) == invoker.next
        reservations.enter(PROJECT, "f")
        with pytest.raises(QueueFull):
            await reserved.invoke(CALL)

    run(story())
