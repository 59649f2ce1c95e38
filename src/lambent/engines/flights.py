"""Single flight: work under a key runs once at a time, and all who ask meanwhile share its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar

from lambent.core.errors import Draining

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Shared work by key.

    Who waits may be cancelled without harm to the others: the work goes on. So it has to be bounded in time,
    and what it makes needs an owner other than who asked for it.
    """

    def __init__(self) -> None:
        self._tasks: Final[dict[K, asyncio.Task[V]]] = {}
        self._closed = False

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The outcome of the work under `key`, begun unless it runs. Raises `Draining` after `close`."""
        if self._closed:
            raise Draining("the engine is closed")
        task = self._begun(key, work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Either who asked was cancelled, or the work itself was, by `close`.
            if self._closed and task.cancelled():
                raise Draining("the engine closed while this was under way") from None
            raise

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Do the work under `key`, unless it runs or all is closed; nobody waits for it."""
        if not self._closed:
            self._begun(key, work)

    def flying(self, key: K) -> bool:
        """Whether the work under `key` runs now."""
        return key in self._tasks

    async def close(self) -> None:
        """Cancel all work and wait for its end."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._land(key, done))
        return task

    def _land(self, key: K, task: asyncio.Task[V]) -> None:
        del self._tasks[key]
        # Everybody who waited may have left; a failure is then nobody's, and must not be reported as lost.
        if not task.cancelled():
            task.exception()
