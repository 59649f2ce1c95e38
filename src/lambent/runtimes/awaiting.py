"""Async user code in a worker that is not: one event loop that lives as long as the worker."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio


class _Own(threading.local):
    """What a thread has."""

    runner: asyncio.Runner | None = None


class Awaiter:
    """Waits for what user code returns, where that is an awaitable.

    The loop is made at the first need and never before: a worker that runs sync code does not import
    asyncio, and a template must not hold an event loop, since its forks would share it. Tasks that a call
    leaves behind stand still until the next call, as on Lambda. Each thread that waits has a loop of its own.
    """

    def __init__(self) -> None:
        self._own: Final = _Own()

    def settled(self, value: object) -> object:
        """`value`, or what it comes to. Raises what it raises."""
        return self._run(value) if isinstance(value, Awaitable) else value

    def close(self) -> None:
        """End the loop, if one was made, and what still runs on it."""
        if self._own.runner is not None:
            self._own.runner.close()
            self._own.runner = None

    def _run(self, value: Awaitable[object]) -> object:
        import asyncio

        runner = self._own.runner
        if runner is None:
            runner = self._own.runner = asyncio.Runner()
        started: list[asyncio.Task[object]] = []
        try:
            return runner.run(_await(value, started))
        except BaseException:
            # It came between two steps of the loop: the code itself has not heard of it.
            if started and not started[0].done():
                started[0].cancel()
                runner.get_loop().run_until_complete(asyncio.wait(started))
            raise


async def _await(value: Awaitable[object], started: list[asyncio.Task[object]]) -> object:
    import asyncio

    if (task := asyncio.current_task()) is not None:
        started.append(task)
    return await value
