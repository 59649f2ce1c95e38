"""Datasets are kept whole or not at all, and nothing that is needed is swept away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from lambent.control.datasets import Shelf
from lambent.control.uploads import Uploads
from lambent.core.errors import InvalidSpec, NotFound, PayloadTooLarge, StorageFull
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.sql import SqlStore
from tests.support.full_disk import small_disk
from tests.support.tars import tar_of
from tests.support.virtual_time import ManualClock

ROWS = tar_of({"a.csv": b"x\n1\n"})
OTHER = tar_of({"a.csv": b"x\n2\n"})


class House:
    """A shelf over a real store, and who heard of what."""

    def __init__(self, folder: Path, files: Path | None = None, *, size_bytes_max: int = 1 << 20) -> None:
        clock = ManualClock()
        self.store = SqlStore.open(folder / "lambent.db", clock)
        self.folder = files or folder / "datasets"
        self.files = FileArtifacts.open(self.folder, files_max=10)
        self.heard: list[str] = []
        uploads = Uploads(self.files, (files or folder) / "work", size_bytes_max=size_bytes_max)
        self.shelf = Shelf(
            self.store.datasets, self.files, uploads, clock,
            needed=self.store.datasets.digests, added=self.added,
        )  # fmt: skip

    async def added(self, project: str, name: str) -> Sequence[str]:
        self.heard.append(f"{project}/{name}")
        return ["a run"]

    def kept(self) -> int:
        return sum(path.is_dir() for path in (self.folder / "artifacts").iterdir())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def stream(content: bytes) -> AsyncIterator[bytes]:
    yield content[:100]
    yield content[100:]


class Slow:
    """An upload that stops in the middle until it is let go on."""

    def __init__(self) -> None:
        self.began, self.gate = asyncio.Event(), asyncio.Event()

    async def stream(self, content: bytes) -> AsyncIterator[bytes]:
        yield content[:100]
        self.began.set()
        await self.gate.wait()
        yield content[100:]


def test_a_new_version_is_told_and_what_is_there_is_not(house: House) -> None:
    async def story() -> None:
        first = await house.shelf.add("default", "rows", stream(ROWS))
        again = await house.shelf.add("default", "rows", stream(ROWS))
        assert (first.changed, first.runs, again.changed, again.runs) == (True, ("a run",), False, ())
        assert (await house.shelf.add("second", "rows", stream(ROWS))).dataset.number == 1
        assert house.heard == ["default/rows", "second/rows"]
        assert house.kept() == 1, "the same content is kept once"
        await house.shelf.remove("default", "rows", None)
        assert house.kept() == 1, "another project has it"
        with pytest.raises(NotFound):
            await house.shelf.show("default", "rows", None)
        assert (await house.shelf.show("second", "rows", 1)).files[0].path == "a.csv"

    asyncio.run(story())


def test_what_arrives_is_not_swept_and_what_was_removed_meanwhile_is(house: House) -> None:
    async def story() -> None:
        await house.shelf.add("default", "old", stream(ROWS))
        await house.shelf.add("default", "other", stream(OTHER))
        slow = Slow()
        arriving = asyncio.create_task(house.shelf.add("default", "new", slow.stream(ROWS)))
        await slow.began.wait()
        await house.shelf.remove("default", "old", None)
        await house.shelf.remove("default", "other", None)
        assert house.kept() == 2
        slow.gate.set()
        added = await arriving
        assert house.kept() == 1
        assert house.files.verify(added.dataset.digest) == ()

    asyncio.run(story())


def test_who_leaves_in_the_middle_leaves_nothing(house: House) -> None:
    async def story() -> None:
        slow = Slow()
        arriving = asyncio.create_task(house.shelf.add("default", "new", slow.stream(ROWS)))
        await slow.began.wait()
        arriving.cancel()
        await asyncio.wait([arriving])
        assert arriving.cancelled()
        await house.shelf.add("default", "other", stream(OTHER))
        await house.shelf.remove("default", "other", None)
        assert house.kept() == 0
        assert await house.shelf.all("default") == []

    asyncio.run(story())


def test_what_cannot_be_kept_leaves_no_version(house: House, tmp_path: Path) -> None:
    async def story(house: House, name: str, content: bytes, error: type[Exception]) -> None:
        with pytest.raises(error):
            await house.shelf.add("default", name, stream(content))
        assert await house.shelf.all("default") == []
        assert house.kept() == 0

    asyncio.run(story(house, "-", ROWS, InvalidSpec))
    many = tar_of({str(number): b"x" for number in range(11)})
    asyncio.run(story(house, "many", many, PayloadTooLarge))
    large = tar_of({"large": bytes(2 << 20)})
    asyncio.run(story(house, "large", large, PayloadTooLarge))
    with small_disk(tmp_path / "small", room_bytes=100_000) as small:
        (tmp_path / "second").mkdir()
        full = House(tmp_path / "second", small)
        asyncio.run(story(full, "full", tar_of({"large": bytes(500_000)}), StorageFull))
