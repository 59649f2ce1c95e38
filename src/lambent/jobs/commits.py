"""Changes of tickets, written in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from lambent.jobs.storing import insist
from lambent.storage.groups import Disk, Groups
from lambent.storage.tickets import Change


class Store(Protocol):
    """The tickets' store. Blocks."""

    def change(self, changes: Sequence[Change]) -> Sequence[bool]:
        """Make changes in one transaction; which of them were made, as their tickets were as expected."""


class Commits:
    """Writes changes in the order in which they were asked for."""

    def __init__(self, store: Store, tasks: asyncio.TaskGroup, disk: Disk) -> None:
        self._groups: Final = Groups[Change, bool](store.change, tasks, disk, size_of=_size_bytes)

    def ask(self, change: Change) -> asyncio.Future[bool]:
        """Told whether it was made, or what the store raises. Who waits for it may leave: shield it."""
        return self._groups.ask(change)

    async def make(self, change: Change) -> bool:
        """Whether the change was made; it is on disk then. Raises what the store raises."""
        return await self.ask(change)

    async def insist(self, change: Change) -> bool:
        """As `make`, and as often as it takes: for what has happened and cannot be refused any more."""
        return await insist(lambda: self.make(change), record=change.ticket.id)


def _size_bytes(change: Change) -> int:
    return len(change.ticket.body) + len(change.ticket.result)
