"""One invocation's place in a queue: until it is granted a lease, its time is up, or its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from lambent.core.batching import Item
from lambent.core.errors import LambentError
from lambent.gateway.presence import ClientLeft
from lambent.gateway.running import Arrival, Seat
from lambent.pool.member import Lease


class Turn:
    """Awaited through `lease`; `end` must be called once it is over, however it ended.

    `number` is its place in the order of arrival, `item` what it is for batches. `expired` makes what is
    said after `rest_s` seconds.
    """

    __slots__ = ("_client", "_expired", "_timer", "arrival", "item", "lease", "number")

    def __init__(
        self,
        arrival: Arrival,
        *,
        number: int,
        item: Item | None,
        rest_s: float,
        expired: Callable[[], LambentError],
    ) -> None:
        self.arrival: Final = arrival
        self.number: Final = number
        self.item: Final = item
        loop = asyncio.get_running_loop()
        self.lease: Final[asyncio.Future[Lease | Seat]] = loop.create_future()
        self._expired = expired
        self._timer = loop.call_later(rest_s, self._expire)
        self._client = client = arrival.client
        if client is not None:
            client.when_left(self._leave)

    def granted(self) -> Lease | Seat | None:
        """The lease, or the seat in a batch, where it was granted."""
        if self.lease.done() and not self.lease.cancelled() and self.lease.exception() is None:
            return self.lease.result()
        return None

    def give_up(self, error: Exception) -> None:
        """There will be no lease."""
        if not self.lease.done():
            self.lease.set_exception(error)

    def end(self) -> None:
        """Nobody waits any more."""
        self._timer.cancel()
        if self._client is not None:
            self._client.forget()

    def _leave(self) -> None:
        self.give_up(ClientLeft())

    def _expire(self) -> None:
        if not self.lease.done():
            self.give_up(self._expired())
