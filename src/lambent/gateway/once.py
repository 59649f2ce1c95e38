"""Work under a name is done once: who asks meanwhile waits along, who asks later gets the same answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from enum import Enum
from typing import Final, Generic, TypeVar

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import Outcome

T = TypeVar("T")

OUTCOME_BYTES: Final = 2048  # what one takes beside its body and its log


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long an answer is kept, and how many of them, in number and in bytes."""

    keep_s: float = 300.0
    entries_max: int = 10_000
    size_bytes_max: int = 64 * 1024 * 1024


class Left(Enum):
    """In place of an answer: who asked first was cancelled, and the work with him."""

    UNDONE = "undone"


class Once(Generic[T]):
    """A table of answers. An exception is told to those who wait, and forgotten.

    Where the first asker is cancelled, one of those who wait does the work in his place.
    """

    def __init__(self, clock: Clock, *, size_bytes: Callable[[T], int], bounds: Bounds | None = None) -> None:
        self._clock: Final = clock
        self._size_bytes: Final = size_bytes
        self._bounds: Final = bounds or Bounds()
        self._running: Final[dict[Hashable, asyncio.Future[T | Left]]] = {}
        self._kept: Final[OrderedDict[Hashable, tuple[float, T]]] = OrderedDict()
        self._kept_bytes = 0

    async def run(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The answer of `work`, or of the same work before."""
        self._expire()
        if (found := self._kept.get(name)) is not None:
            return found[1]
        while (running := self._running.get(name)) is not None:
            if (answer := await asyncio.shield(running)) is not Left.UNDONE:
                return answer
        return await self._first(name, work)

    async def _first(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        # The first asker runs the work itself, not in a task: that costs little where nobody asks twice.
        told: asyncio.Future[T | Left] = asyncio.get_running_loop().create_future()
        self._running[name] = told
        try:
            answer = await work()
        except Exception as error:
            told.set_exception(error)
            told.exception()  # seen: whether anybody else waited is not the future's business
            raise
        except BaseException:
            told.set_result(Left.UNDONE)
            raise
        finally:
            del self._running[name]
        told.set_result(answer)
        self._store(name, answer)
        return answer

    def _store(self, name: Hashable, answer: T) -> None:
        self._kept[name] = (self._clock.now_s() + self._bounds.keep_s, answer)
        self._kept_bytes += self._size_bytes(answer)
        while len(self._kept) > self._bounds.entries_max or self._kept_bytes > self._bounds.size_bytes_max:
            self._drop_oldest()

    def _expire(self) -> None:
        now_s = self._clock.now_s()
        while self._kept and next(iter(self._kept.values()))[0] <= now_s:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, (_, answer) = self._kept.popitem(last=False)
        self._kept_bytes -= self._size_bytes(answer)


def size_of(outcome: Outcome) -> int:
    """About the bytes that an outcome takes while it is kept."""
    return len(outcome.body) + len(outcome.log_tail) + OUTCOME_BYTES
