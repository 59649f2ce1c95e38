"""Changes of tickets, many to a transaction: waiting for the disk is shared by all who wait at that moment.

While one group is being written the next one gathers, so that the disk alone sets the pace, and one that
comes alone waits for nobody ("group commit": Gray and Reuter, Transaction Processing, 1992, section 10.4).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from lambent.core.errors import LambentError
from lambent.storage.tickets import Change

GROUP_MAX: Final = 256
GROUP_BYTES_MAX: Final = 16 << 20
PAUSE_S: Final = 1.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class Disk(Protocol):
    """Who calls what blocks: `asyncio.to_thread` in a server."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


class Store(Protocol):
    """The tickets' store. Blocks."""

    def change(self, changes: Sequence[Change]) -> Sequence[bool]:
        """Make changes in one transaction; which of them were made, as their tickets were as expected."""


class _Asked(msgspec.Struct, frozen=True, eq=False):
    change: Change
    made: asyncio.Future[bool]

    @property
    def size_bytes(self) -> int:
        return len(self.change.ticket.body) + len(self.change.ticket.result)


class Commits:
    """Writes changes in the order in which they were asked for."""

    def __init__(self, store: Store, tasks: asyncio.TaskGroup, disk: Disk) -> None:
        self._store: Final = store
        self._tasks: Final = tasks
        self._disk: Final = disk
        self._asked: Final[deque[_Asked]] = deque()
        self._writing = False

    def ask(self, change: Change) -> asyncio.Future[bool]:
        """Told whether it was made, or what the store raises. Who waits for it may leave: shield it."""
        asked = _Asked(change, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if not self._writing:
            self._writing = True
            self._tasks.create_task(self._write(), name="write tickets")
        return asked.made

    async def make(self, change: Change) -> bool:
        """Whether the change was made; it is on disk then. Raises what the store raises."""
        return await self.ask(change)

    async def insist(self, change: Change) -> bool:
        """As `make`, and as often as it takes: for what has happened and cannot be refused any more."""
        while True:
            try:
                return await self.make(change)
            except LambentError as error:
                log.warning("not_stored", extra={"record": change.ticket.id, "reason": error.message})
                await asyncio.sleep(PAUSE_S)

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

    def _next_group(self) -> Sequence[_Asked]:
        group = [self._asked.popleft()]
        size_bytes = group[0].size_bytes
        while self._asked and len(group) < GROUP_MAX and size_bytes < GROUP_BYTES_MAX:
            group.append(self._asked.popleft())
            size_bytes += group[-1].size_bytes
        return group

    async def _written(self, group: Sequence[_Asked]) -> bool:
        """Whether the store took the group. One that stands alone hears why not."""
        try:
            made = await self._disk(lambda: self._store.change([asked.change for asked in group]))
        except Exception as error:
            if len(group) == 1 and not group[0].made.done():
                group[0].made.set_exception(error)
            if not isinstance(error, LambentError) and len(group) > 1:
                log.exception("tickets_not_written")
            return False
        for asked, was_made in zip(group, made, strict=True):
            if not asked.made.done():  # who asked may have left
                asked.made.set_result(was_made)
        return True
