"""One invocation's place in a queue: until it is granted a lease, its time is up, or its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from lambent.core.errors import HoldExpired
from lambent.core.invocation import PrintTail
from lambent.pool.member import Lease

Watch = Callable[[], "asyncio.Task[None]"]

# Most waits are shorter, and a client that leaves in so short a time costs no more than its own invocation.
WATCH_AFTER_S: Final = 0.05


class ClientLeft(Exception):
    """The client went away while its invocation waited; there is nobody to answer."""


class Turn:
    """Awaited through `lease`; `end` must be called once it is over, however it ended.

    `number` is its place in the order of arrival. `watch` starts a task that ends when the client has left.
    `expired` is said after `rest_s` seconds.
    """

    __slots__ = ("_expired", "_rest_s", "_timer", "_watch", "_watcher", "lease", "number", "print_tail")

    def __init__(
        self, *, number: int, print_tail: PrintTail, rest_s: float, watch: Watch | None, expired: str
    ) -> None:
        self.number: Final = number
        self.print_tail: Final = print_tail
        loop = asyncio.get_running_loop()
        self.lease: Final[asyncio.Future[Lease]] = loop.create_future()
        self._rest_s = rest_s
        self._watch = watch
        self._watcher: asyncio.Task[None] | None = None
        self._expired = expired
        self._timer = loop.call_later(min(rest_s, WATCH_AFTER_S), self._take_longer)

    def granted(self) -> Lease | None:
        """The lease, where it was granted."""
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
        if self._watcher is not None:
            self._watcher.cancel()

    def _take_longer(self) -> None:
        rest_s = self._rest_s - WATCH_AFTER_S
        if rest_s <= 0:
            self._expire()
            return
        self._timer = asyncio.get_running_loop().call_later(rest_s, self._expire)
        if self._watch is not None:
            self._watcher = self._watch()
            self._watcher.add_done_callback(lambda _: self.give_up(ClientLeft()))

    def _expire(self) -> None:
        self.give_up(HoldExpired(self._expired, retry_after_s=1.0))
