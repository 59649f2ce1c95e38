"""Single flight: work under a key runs once at a time, and all who ask meanwhile share its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar

from lambent.core.errors import Draining

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    """Work under way. `wanted` counts who waits for it; `left`: it was cancelled for want of them."""

    __slots__ = ("left", "task", "wanted")

    def __init__(self, task: asyncio.Task[V]) -> None:
        self.task: Final = task
        self.wanted = 0
        self.left = False


class Flights(Generic[K, V]):
    """Shared work by key.

    Who waits may be cancelled without harm to the others: the work goes on as long as anybody waits for it,
    and is cancelled with the last one who leaves. What it makes needs an owner other than who asked for it.
    """

    def __init__(self) -> None:
        self._flights: Final[dict[K, _Flight[V]]] = {}
        self._closed = False

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The outcome of the work under `key`, begun unless it runs. Raises `Draining` after `close`."""
        while (before := self._flights.get(key)) is not None and before.left:
            await asyncio.wait((before.task,))  # it cleans up, and what begins now must not meet that
        if self._closed:
            raise Draining("the engine is closed")
        flight = self._begun(key, work)
        flight.wanted += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            # Either who asked was cancelled, or the work itself was, by `close`.
            if self._closed and flight.task.cancelled():
                raise Draining("the engine closed while this was under way") from None
            if flight.wanted == 1 and not flight.task.done():
                flight.left = True
                flight.task.cancel()
            raise
        finally:
            flight.wanted -= 1

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Do the work under `key`, unless it runs or all is closed; nobody waits for it."""
        if not self._closed:
            self._begun(key, work).wanted += 1  # until it ends, whoever leaves

    def flying(self, key: K) -> bool:
        """Whether the work under `key` runs now."""
        return key in self._flights

    async def close(self) -> None:
        """Cancel all work and wait for its end."""
        self._closed = True
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> _Flight[V]:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(work()))
            flight.task.add_done_callback(lambda done: self._land(key, done))
        return flight

    def _land(self, key: K, task: asyncio.Task[V]) -> None:
        del self._flights[key]
        # Everybody who waited may have left; a failure is then nobody's, and must not be reported as lost.
        if not task.cancelled():
            task.exception()
