"""Zip archives that are not trusted."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from lambent.core.errors import CallerFault, PayloadTooLarge
from lambent.storage import artifacts_zip
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.artifacts_tree import TooManyFiles
from lambent.storage.artifacts_zip import ENTRIES_MAX


def zip_of(files: dict[str, bytes], *, mode: int = 0o644) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return made.getvalue()


def ingest(folder: Path, archive: bytes, size_bytes_max: int = 1 << 20) -> Path:
    artifacts = FileArtifacts.open(folder)
    return artifacts.path(artifacts.ingest_zip(io.BytesIO(archive), size_bytes_max=size_bytes_max).digest)


def test_files_and_folders_are_taken(tmp_path: Path) -> None:
    tree = ingest(tmp_path, zip_of({"app.py": b"x = 1", "lib/": b"", "lib/deep/m.py": b""}, mode=0o755))
    assert (tree / "app.py").read_bytes() == b"x = 1"
    assert (tree / "lib/deep/m.py").exists()
    assert (tree / "app.py").stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "a\\..\\..\\evil.py/../../../x"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CallerFault):
        ingest(tmp_path, zip_of({name: b"x"}))
    assert not list(tmp_path.rglob("evil*"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="not a plain file"):
        ingest(tmp_path, zip_of({"link": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = zip_of({f"{number}": bytes(900_000) for number in range(20)})
    assert len(bomb) < 30_000
    with pytest.raises(PayloadTooLarge):
        ingest(tmp_path, bomb)


def test_an_entry_that_is_longer_than_it_says_is_not_read_further(tmp_path: Path) -> None:
    honest = zip_of({"a": bytes(500_000)})
    lying = honest.replace((500_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(CallerFault):
        ingest(tmp_path, lying)


@pytest.mark.parametrize("behind", [b"", b"a comment"], ids=["plain", "comment"])
def test_a_list_of_entries_without_end_is_refused_before_it_is_read_as_a_whole(
    tmp_path: Path, behind: bytes
) -> None:
    listed = (b"PK\1\2" + bytes(42)) * (ENTRIES_MAX + 1)
    end = struct.pack("<4s8xLLH", b"PK\5\6", len(listed), 0, len(behind)) + behind
    with pytest.raises(PayloadTooLarge, match=f"more than {ENTRIES_MAX} entries"):
        ingest(tmp_path, listed + end)


def test_the_list_of_a_large_archive_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # above it the list's end has the form of zip64
    archive = zip_of({"a": b"1", "b": b"2", "c": b"3"})
    assert b"PK\6\6" in archive
    monkeypatch.setattr(artifacts_zip, "ENTRIES_MAX", 2)
    with pytest.raises(PayloadTooLarge, match="more than 2 entries"):
        ingest(tmp_path, archive)
    monkeypatch.setattr(artifacts_zip, "ENTRIES_MAX", 3)
    assert sorted(file.name for file in ingest(tmp_path, archive).iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize("archive", [b"", b"no zip", zip_of({"a": b"x" * 1000})[:-30], zip_of({})])
def test_what_is_no_zip_or_empty_is_refused(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(CallerFault):
        ingest(tmp_path, archive)


@pytest.mark.parametrize(("files", "wanted"), [(6, TooManyFiles), (5, None)])
def test_an_archive_of_too_many_files_is_refused_before_any_is_written(
    tmp_path: Path, files: int, wanted: type[Exception] | None
) -> None:
    folders = {f"folder{number}/": b"" for number in range(9)}
    archive = io.BytesIO(zip_of({**folders, **{str(number): b"x" for number in range(files)}}))
    artifacts = FileArtifacts.open(tmp_path, files_max=5)
    if wanted is None:
        artifacts.ingest_zip(archive, size_bytes_max=100)
        return
    with pytest.raises(wanted):
        artifacts.ingest_zip(archive, size_bytes_max=100)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
