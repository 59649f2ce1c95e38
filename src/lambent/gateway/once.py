"""Work under a name is done once: who asks meanwhile waits along, who asks later gets the same answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
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


class Once(Generic[T]):
    """A table of answers. An exception is told to those who wait, and forgotten."""

    def __init__(self, clock: Clock, *, size_bytes: Callable[[T], int], bounds: Bounds | None = None) -> None:
        self._clock: Final = clock
        self._size_bytes: Final = size_bytes
        self._bounds: Final = bounds or Bounds()
        self._running: Final[dict[Hashable, asyncio.Future[T]]] = {}
        self._kept: Final[OrderedDict[Hashable, tuple[float, T]]] = OrderedDict()
        self._kept_bytes = 0

    async def run(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The answer of `work`, or of the same work before."""
        self._expire()
        if (found := self._kept.get(name)) is not None:
            return found[1]
        if (running := self._running.get(name)) is not None:
            return await asyncio.shield(running)
        return await self._first(name, work)

    async def _first(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        # The first asker runs the work itself, not in a task: that costs little where nobody asks twice.
        told = self._running[name] = asyncio.get_running_loop().create_future()
        try:
            answer = await work()
        except BaseException as error:
            _tell_failure(told, error)
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


def _tell_failure(told: asyncio.Future[T], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        told.cancel()
        return
    told.set_exception(error)
    told.exception()  # seen: whether anybody else waited is not the future's business
