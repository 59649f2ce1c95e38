"""Datasets: taken in, shown and removed; their files are kept while a version or a run needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

from lambent.clock import Clock
from lambent.control.uploads import Uploads
from lambent.core.datasets import check_name, kind_of_all
from lambent.core.errors import NotFound
from lambent.storage.artifacts_tree import Entry
from lambent.storage.datasets import Datasets, DatasetVersion
from lambent.wire.datasets import DatasetDetail, DatasetFile, DatasetReply, DatasetView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FILES_SHOWN_MAX: Final = 1000


class Files(Protocol):
    """The store of the datasets' files."""

    def entries(self, digest: str) -> tuple[Entry, ...]:
        """Those of one. Raises `NotFound`, `StorageBroken`."""

    def remove_others(self, digests: frozenset[str]) -> int:
        """Remove what has none of these digests."""


class Added(Protocol):
    """Who wants to know of new data."""

    def __call__(self, project: str, name: str) -> Awaitable[Sequence[str]]:
        """There is a new version. Returns the runs that were started by it."""


class Shelf:
    """The datasets of every project."""

    def __init__(
        self,
        datasets: Datasets,
        files: Files,
        uploads: Uploads,
        clock: Clock,
        *,
        needed: Callable[[], frozenset[str]],
        added: Added,
    ) -> None:
        """`needed` tells the digests that must stay; it blocks."""
        self._datasets: Final = datasets
        self._files: Final = files
        self._uploads: Final = uploads
        self._clock: Final = clock
        self._needed: Final = needed
        self._added: Final = added
        self._turn: Final = asyncio.Lock()
        self._arriving = 0
        self._is_due = False

    async def add(self, project: str, name: str, stream: AsyncIterable[bytes]) -> DatasetReply:
        """Take in an archive as the next version of a dataset.

        Raises `InvalidSpec` for a name that is none, and what `Uploads.store` raises; nothing is kept then.
        """
        check_name(name)
        async with self._arrival():
            facts = await self._uploads.store(stream)
            entries = await asyncio.to_thread(self._files.entries, facts.digest)
            wanted = DatasetVersion(
                project=project,
                name=name,
                number=0,
                digest=facts.digest,
                kind=kind_of_all(entry.path for entry in entries),
                size_bytes=facts.size_bytes,
                files=facts.files,
                created_unix_ms=self._clock.unix_ms(),
            )
            version, is_new = await asyncio.to_thread(self._datasets.add, wanted)
        if self._is_due:
            await self.sweep()
        runs = await self._added(project, name) if is_new else ()
        return DatasetReply(dataset=view(version), changed=is_new, runs=tuple(runs))

    async def all(self, project: str) -> Sequence[DatasetView]:
        """The newest version of each."""
        versions = await asyncio.to_thread(self._datasets.versions, project)
        newest = {version.name: version for version in reversed(versions)}
        return [view(newest[name]) for name in sorted(newest)]

    async def show(self, project: str, name: str, number: int | None) -> DatasetDetail:
        """One version, or the newest. Raises `NotFound`."""
        version = await asyncio.to_thread(self._datasets.find, project, name, number)
        if version is None:
            what = name if number is None else f"{name}@{number}"
            raise NotFound(f"there is no dataset {what!r}; `lambent data ls` lists what there is")
        versions = await asyncio.to_thread(self._datasets.versions, project, name)
        entries = await asyncio.to_thread(self._files.entries, version.digest)
        return DatasetDetail(
            dataset=view(version),
            versions=tuple(map(view, versions)),
            files=tuple(DatasetFile(e.path, e.size_bytes, e.sha256) for e in entries[:FILES_SHOWN_MAX]),
            files_left_out=max(0, len(entries) - FILES_SHOWN_MAX),
        )

    async def remove(self, project: str, name: str, number: int | None) -> Sequence[DatasetView]:
        """Remove a version, or all of a dataset, with what nobody needs of it. Raises `NotFound`.

        A run that is held to it goes on: its files stay as long.
        """
        removed = await asyncio.to_thread(self._datasets.remove, project, name, number)
        await self.sweep()
        return [view(version) for version in removed]

    async def sweep(self) -> None:
        """Remove the files that nobody needs. While some arrive it has to wait: the last of them does it."""
        async with self._turn:
            self._is_due = self._arriving > 0
            if not self._is_due:
                needed = await asyncio.to_thread(self._needed)
                await asyncio.to_thread(self._files.remove_others, needed)

    @asynccontextmanager
    async def _arrival(self) -> AsyncIterator[None]:
        """Files that arrive belong to nobody until their version is stored: nothing is swept meanwhile."""
        async with self._turn:
            self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1


def view(version: DatasetVersion) -> DatasetView:
    """A version as the operator sees it."""
    return DatasetView(
        name=version.name,
        number=version.number,
        digest=version.digest,
        kind=version.kind.value,
        size_bytes=version.size_bytes,
        files=version.files,
        created_unix_ms=version.created_unix_ms,
    )
