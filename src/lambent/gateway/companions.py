"""Tasks beside one request: none outlives it, and what ends one of them is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")


class Companions:
    """Entered around all that a request waits for; whoever answers it may start tasks in its midst.

    At the end those that still run are cancelled and awaited, and an error of one is raised, unless the
    request fails by itself. A `TaskGroup` would wait for all of them, and raise groups of what the doors
    tell apart; it also costs more than most requests, which start none.
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: Final[list[asyncio.Task[Any]]] = []

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run it beside the request."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._tasks:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        failures = [task.exception() for task in self._tasks if not task.cancelled()]
        first = next((failure for failure in failures if failure is not None), None)
        if first is not None and error is None:
            raise first
