"""An archive is kept whole or not at all."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lambent.control.uploads import PIECE_BYTES, Uploads
from lambent.core.errors import PayloadTooLarge, StorageFull
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.artifacts_tree import UNPACKED_FREE_BYTES, UNPACKED_RATIO_MAX, unpacked_bytes_max
from tests.support.full_disk import fill, is_mounted, small_disk
from tests.support.tars import tar_of

LARGE = tar_of({"weights": bytes(3 * PIECE_BYTES)})


async def chunks(content: bytes, size: int = 60_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def test_an_archive_comes_in_chunks_of_any_size(tmp_path: Path) -> None:
    uploads = Uploads(FileArtifacts.open(tmp_path), tmp_path / "work", size_bytes_max=10 * PIECE_BYTES)
    facts = asyncio.run(uploads.store(chunks(LARGE)))
    assert (facts.files, facts.size_bytes) == (1, 3 * PIECE_BYTES)
    assert asyncio.run(uploads.store(chunks(LARGE, len(LARGE)))) == facts


def test_an_archive_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    uploads = Uploads(FileArtifacts.open(tmp_path), tmp_path / "work", size_bytes_max=100_000)
    read: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield bytes(60_000)

    with pytest.raises(PayloadTooLarge, match="100000 bytes"):
        asyncio.run(uploads.store(endless()))
    assert len(read) == 2


def test_a_zip_is_taken_and_a_small_one_that_grows_over_the_limit_is_refused(tmp_path: Path) -> None:
    uploads = Uploads(FileArtifacts.open(tmp_path), tmp_path / "work", size_bytes_max=PIECE_BYTES)

    def zipped(size_bytes: int) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("weights", bytes(size_bytes))
        return content.getvalue()

    assert asyncio.run(uploads.store(chunks(zipped(1000)))).size_bytes == 1000
    bomb = zipped(20 * PIECE_BYTES)
    assert len(bomb) < PIECE_BYTES // 10
    with pytest.raises(PayloadTooLarge, match=f"{20 * PIECE_BYTES} bytes.* {PIECE_BYTES} bytes unpacked"):
        asyncio.run(uploads.store(chunks(bomb)))


def test_an_archive_that_holds_a_thousand_times_its_size_is_refused_before_it_is_unpacked(
    tmp_path: Path,
) -> None:
    uploads = Uploads(FileArtifacts.open(tmp_path), tmp_path / "work", size_bytes_max=4096 * PIECE_BYTES)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights", bytes(1_234_567))
    # That it says so is enough: what it says is all that would be read of it.
    bomb = content.getvalue().replace(
        (1_234_567).to_bytes(4, "little"), (1_200_000_000).to_bytes(4, "little")
    )
    with pytest.raises(PayloadTooLarge, match=f"{UNPACKED_FREE_BYTES} bytes unpacked: .* not compressed"):
        asyncio.run(uploads.store(chunks(bomb)))


def test_what_an_archive_may_hold_grows_with_it_up_to_the_limit() -> None:
    limit = 100 * UNPACKED_FREE_BYTES
    sizes = (0, UNPACKED_FREE_BYTES // 10, UNPACKED_FREE_BYTES, 2 * limit)
    assert [unpacked_bytes_max(size, bytes_max=limit) for size in sizes] == [
        UNPACKED_FREE_BYTES,
        UNPACKED_RATIO_MAX * (UNPACKED_FREE_BYTES // 10),
        limit,
        limit,
    ]
    assert unpacked_bytes_max(1, bytes_max=1000) == 1000


def test_an_archive_that_still_fits_a_buffer_meets_the_full_disk_in_our_words(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", room_bytes=PIECE_BYTES) as disk:
        if not is_mounted(disk):
            pytest.skip("needs a disk that can be filled")
        uploads = Uploads(FileArtifacts.open(tmp_path), disk, size_bytes_max=10 * PIECE_BYTES)
        fill(disk)
        with pytest.raises(StorageFull):
            asyncio.run(uploads.store(chunks(tar_of({"app.py": b"x = 1"}))))


def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", room_bytes=PIECE_BYTES) as disk:
        uploads = Uploads(FileArtifacts.open(tmp_path), disk, size_bytes_max=10 * PIECE_BYTES)
        with pytest.raises(StorageFull):
            asyncio.run(uploads.store(chunks(LARGE)))
        assert not any(disk.iterdir())
