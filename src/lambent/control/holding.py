"""One change of a deployment at a time, and each to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Names:
    """The names of deployments, each held by one change at a time."""

    def __init__(self) -> None:
        self._locks: Final[WeakValueDictionary[tuple[str, str], asyncio.Lock]] = WeakValueDictionary()

    def busy(self, project: str, name: str) -> bool:
        """Whether somebody changes it now."""
        lock = self._locks.get((project, name))
        return lock is not None and lock.locked()

    @asynccontextmanager
    async def held(self, project: str, names: Iterable[str]) -> AsyncIterator[None]:
        """Nobody else changes these names meanwhile.

        They are taken in one order, so that two deploys cannot wait for each other.
        """
        async with AsyncExitStack() as held:
            for name in sorted(names):
                await held.enter_async_context(self._locks.setdefault((project, name), asyncio.Lock()))
            yield


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to. A cancellation waits for it: disk, routes and templates must not part ways."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # or it would be reported as lost
        raise
