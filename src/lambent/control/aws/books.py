"""The records of AWS's API by their types."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from lambent.clock import Clock
from lambent.control.aws.state import Kind
from lambent.core.errors import StorageBroken
from lambent.storage.records import Record, Records
from lambent.wire.typed import from_fields

B = TypeVar("B", bound=msgspec.Struct)


class Books:
    """Reads and writes records. Each call is one transaction, in a thread."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records: Final = records
        self._clock: Final = clock

    async def find(self, book: type[B], project: str, kind: Kind, name: str, key: str = "") -> B | None:
        """The book of that name and key, or None."""
        record = await asyncio.to_thread(self._records.find, project, kind, name, key)
        return None if record is None else book_of(record, book)

    async def all(self, book: type[B], project: str, kind: Kind, name: str) -> dict[str, B]:
        """The books of one name, by their keys."""
        records = await asyncio.to_thread(self._records.all, project, kind, name)
        return {record.key: book_of(record, book) for record in records}

    async def of_kind(self, book: type[B], project: str, kind: Kind) -> dict[tuple[str, str], B]:
        """All books of a kind, by name and key."""
        records = await asyncio.to_thread(self._records.all, project, kind)
        return {(record.name, record.key): book_of(record, book) for record in records}

    async def put(self, project: str, kind: Kind, name: str, book: msgspec.Struct, key: str = "") -> None:
        """Keep one."""
        record = Record(
            project=project,
            kind=kind,
            name=name,
            key=key,
            body=msgspec.to_builtins(book),
            changed_unix_ms=self._clock.unix_ms(),
        )
        await asyncio.to_thread(self._records.put, record)

    async def remove(self, project: str, kind: Kind, name: str, key: str = "") -> bool:
        """Forget one. Whether it was there."""
        return await asyncio.to_thread(self._records.remove, project, kind, name, key)

    async def forget(self, project: str, name: str, kinds: Sequence[Kind]) -> None:
        """Forget all that goes by a name."""
        await asyncio.to_thread(self._records.forget, project, name, kinds)


def book_of(record: Record, book: type[B]) -> B:
    """What a record holds. Raises `StorageBroken`."""
    try:
        return from_fields(record.body, book)
    except msgspec.ValidationError as error:
        raise StorageBroken(
            f"a stored {record.kind} of {record.name!r} cannot be read: {error}. A newer Lambent may have "
            "written it"
        ) from error
