"""Writes, many to a transaction: waiting for the disk is shared by all who wait at that moment.

While one group is being written the next one gathers, so that the disk alone sets the pace, and one that
comes alone waits for nobody ("group commit": Gray and Reuter, Transaction Processing, 1992, section 10.4).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from lambent.core.errors import LambentError

GROUP_MAX: Final = 256
GROUP_BYTES_MAX: Final = 16 << 20

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

log = logging.getLogger(__name__)


class Disk(Protocol):
    """Who calls what blocks: `asyncio.to_thread` in a server."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


class _Asked(msgspec.Struct, Generic[A, R], frozen=True, eq=False):
    what: A
    size_bytes: int
    done: asyncio.Future[R]


class Groups(Generic[A, R]):
    """Does what it is asked for in the order in which it was asked, a group to a transaction."""

    def __init__(
        self,
        write: Callable[[Sequence[A]], Sequence[R]],
        tasks: asyncio.TaskGroup,
        disk: Disk,
        *,
        size_of: Callable[[A], int],
    ) -> None:
        """`write` does all or nothing, and blocks; `size_of` is in bytes."""
        self._write_all: Final = write
        self._tasks: Final = tasks
        self._disk: Final = disk
        self._size_of: Final = size_of
        self._asked: Final[deque[_Asked[A, R]]] = deque()
        self._writing = False

    def ask(self, what: A) -> asyncio.Future[R]:
        """Told what came of it, or what the store raises. Who waits for it may leave: shield it."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(what, self._size_of(what), done))
        if not self._writing:
            self._writing = True
            self._tasks.create_task(self._write(), name="write a group")
        return done

    async def _write(self) -> None:
        try:
            while self._asked:
                group = self._next_group()
                if not await self._written(group) and len(group) > 1:
                    # What one of them asks for, such as the room for a large body, is not the others' fault.
                    for asked in group:
                        await self._written([asked])
        finally:
            self._writing = False

    def _next_group(self) -> Sequence[_Asked[A, R]]:
        group = [self._asked.popleft()]
        size_bytes = group[0].size_bytes
        while self._asked and len(group) < GROUP_MAX and size_bytes < GROUP_BYTES_MAX:
            group.append(self._asked.popleft())
            size_bytes += group[-1].size_bytes
        return group

    async def _written(self, group: Sequence[_Asked[A, R]]) -> bool:
        """Whether the store took the group. One that stands alone hears why not."""
        try:
            done = await self._disk(lambda: self._write_all([asked.what for asked in group]))
        except Exception as error:
            if len(group) == 1 and not group[0].done.done():
                group[0].done.set_exception(error)
            if not isinstance(error, LambentError) and len(group) > 1:
                log.exception("group_not_written")
            return False
        for asked, result in zip(group, done, strict=True):
            if not asked.done.done():  # who asked may have left
                asked.done.set_result(result)
        return True
