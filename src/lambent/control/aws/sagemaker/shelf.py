"""What is kept of models, endpoint configurations and endpoints beside the deployments that serve them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from lambent.clock import Clock
from lambent.control.aws.books import book_of
from lambent.control.holding import Names
from lambent.core.spec import Setting
from lambent.storage.records import Record, Records
from lambent.wire.aws.names import Place
from lambent.wire.aws.sagemaker_control import Kind, Status, missing

PREFIX: Final = "sagemaker-"


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A variant as an endpoint serves it: its artifact, and the settings of its deployment."""

    variant: str
    weight: float
    digest: str
    settings: dict[str, Setting] = {}
    instances: int | None = None
    serverless: dict[str, int] | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint serves, by a configuration as it was when the endpoint was given it."""

    config: str
    variants: tuple[Served, ...]


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `sent` is what its maker said of it, as far as it is told again.

    `digest` is a model's artifact. An endpoint has a `plan`, and the one `before` it while it is changed; a
    `status` and its `reason`.
    """

    name: str
    created_unix_ms: int
    modified_unix_ms: int
    sent: dict[str, Any] = {}
    tags: dict[str, str] = {}
    digest: str = ""
    plan: Plan | None = None
    before: Plan | None = None
    status: Status = Status.IN_SERVICE
    reason: str = ""


class Shelf:
    """Reads and writes books. Names are compared without their case, as on AWS."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records: Final = records
        self._names: Final = Names()
        self.clock: Final = clock

    def held(self, project: str, kind: Kind, name: str) -> AbstractAsyncContextManager[None]:
        """Nobody else who holds it changes the book of that name meanwhile."""
        return self._names.held(project, [f"{kind} {name.lower()}"])

    async def find(self, project: str, kind: Kind, name: str) -> Book | None:
        """The book of a name, or None."""
        record = await asyncio.to_thread(self._records.find, project, PREFIX + kind, name.lower())
        return None if record is None else book_of(record, Book)

    async def get(self, project: str, place: Place, kind: Kind, name: str) -> Book:
        """The same. Raises `Fault`."""
        found = await self.find(project, kind, name)
        if found is None:
            raise missing(place, kind, name)
        return found

    async def all(self, project: str, kind: Kind) -> Sequence[Book]:
        """All of a kind, by name."""
        records = await asyncio.to_thread(self._records.all, project, PREFIX + kind)
        return [book_of(record, Book) for record in records]

    async def put(self, project: str, kind: Kind, book: Book) -> Book:
        """Keep it, as changed now."""
        book = msgspec.structs.replace(book, modified_unix_ms=self.clock.unix_ms())
        record = Record(
            project=project,
            kind=PREFIX + kind,
            name=book.name.lower(),
            body=msgspec.to_builtins(book),
            changed_unix_ms=book.modified_unix_ms,
        )
        await asyncio.to_thread(self._records.put, record)
        return book

    async def remove(self, project: str, kind: Kind, name: str) -> bool:
        """Forget it. Whether it was there."""
        return await asyncio.to_thread(self._records.remove, project, PREFIX + kind, name.lower())

    def new(self, name: str, **more: Any) -> Book:
        """A book that begins now."""
        now_unix_ms = self.clock.unix_ms()
        return Book(name=name, created_unix_ms=now_unix_ms, modified_unix_ms=now_unix_ms, **more)
