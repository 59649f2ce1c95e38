"""One invocation's place in a queue: until it is granted a lease, its time is up, or its client has left."""

from __future__ import annotations

import asyncio
from typing import Final

from lambent.core.batching import Item
from lambent.gateway.presence import ClientLeft
from lambent.gateway.running import Arrival, Seat
from lambent.pool.member import Lease


class Turn:
    """Awaited through `lease`; `end` must be called once it is over, however it ended.

    `number` is its place in the order of arrival, `item` what it is for batches. It waits until `until_s`
    (monotonic): for as long as its deployment holds it, `hold_s`, or, where that is None, until its caller's
    deadline.
    """

    __slots__ = ("_client", "arrival", "hold_s", "item", "lease", "number", "until_s")

    def __init__(
        self, arrival: Arrival, *, number: int, item: Item | None, until_s: float, hold_s: float | None
    ) -> None:
        self.arrival: Final = arrival
        self.number: Final = number
        self.item: Final = item
        self.until_s: Final = until_s
        self.hold_s: Final = hold_s
        self.lease: Final[asyncio.Future[Lease | Seat]] = asyncio.get_running_loop().create_future()
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
        if self._client is not None:
            self._client.forget()

    def _leave(self) -> None:
        self.give_up(ClientLeft())
