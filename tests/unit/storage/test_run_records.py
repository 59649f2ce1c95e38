"""What is kept of a run: its curves as they were, its artifacts and nothing that only looks like one."""

import os
from pathlib import Path

import pytest

from lambent.core.errors import NotFound, StorageBroken, StorageFull
from lambent.core.series import Points
from lambent.storage.run_records import RunRecords
from tests.support.full_disk import small_disk

CURVES = {"loss": Points([0, 1], [0.5, 0.25], [7, 8], 1, 2), "ü": Points([], [], [])}


@pytest.fixture
def records(tmp_path: Path) -> RunRecords:
    return RunRecords(tmp_path / "records")


def save(records: RunRecords, path: str, content: bytes = b"x", unix_s: int = 1) -> None:
    file = records.artifacts_dir("run") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (unix_s, unix_s))


def test_curves_are_kept_as_they_were(records: RunRecords) -> None:
    assert records.curves("run") == {}
    records.put_curves("run", {"loss": Points([1], [1.0], [1])})
    records.put_curves("run", CURVES)
    assert records.curves("run") == CURVES


def test_curves_that_are_damaged_are_said_to_be(records: RunRecords, tmp_path: Path) -> None:
    records.put_curves("run", CURVES)
    (tmp_path / "records/run/curves").write_bytes(b"\x93half")
    with pytest.raises(StorageBroken, match="the curves of run run cannot be read"):
        records.curves("run")


def test_artifacts_are_listed_and_found(records: RunRecords) -> None:
    assert records.artifacts("run") == []
    save(records, "b.txt", b"12345", 2)
    save(records, "plots/ä b.png", b"12")
    assert [(file.path, file.size_bytes, file.unix_ms) for file in records.artifacts("run")] == [
        ("b.txt", 5, 2000),
        ("plots/ä b.png", 2, 1000),
    ]
    assert records.artifact("run", "plots/ä b.png").read_bytes() == b"12"
    assert records.size_bytes("run") == 7


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../curves", "plots/../../curves", "/etc/passwd", "plots", "link", "out/passwd"]
)
def test_no_path_leads_out_of_the_folder(records: RunRecords, path: str) -> None:
    records.put_curves("run", CURVES)
    save(records, "plots/a.png")
    (records.artifacts_dir("run") / "link").symlink_to("/etc/passwd")
    (records.artifacts_dir("run") / "out").symlink_to("/etc")
    with pytest.raises(NotFound):
        records.artifact("run", path)
    assert [file.path for file in records.artifacts("run")] == ["plots/a.png"]


@pytest.mark.parametrize("run", ["", "..", "a/b", "../records", "x" * 65])
def test_a_run_that_cannot_be_one_is_not_there(records: RunRecords, run: str) -> None:
    for ask in (records.curves, records.artifacts, records.remove):
        with pytest.raises(NotFound):
            ask(run)


def test_what_was_saved_last_goes_where_there_is_too_much(records: RunRecords) -> None:
    save(records, "first", b"1" * 60, 1)
    save(records, "second", b"2" * 60, 2)
    save(records, "third", b"3" * 40, 3)
    assert records.trim("run", bytes_max=100) == ("second",)
    assert [file.path for file in records.artifacts("run")] == ["first", "third"]
    assert records.trim("run", bytes_max=100) == ()


def test_all_of_a_run_goes_with_it(records: RunRecords, tmp_path: Path) -> None:
    records.put_curves("run", CURVES)
    save(records, "a")
    records.remove("run")
    records.remove("run")
    assert not list((tmp_path / "records").iterdir())


def test_where_there_is_no_room_the_curves_stay_as_they_were(tmp_path: Path) -> None:
    many = list(range(1000))
    with small_disk(tmp_path / "small", room_bytes=64 * 1024) as folder:
        records = RunRecords(folder)
        records.put_curves("run", CURVES)
        with pytest.raises(StorageFull, match="cannot keep the curves"):
            records.put_curves("run", {f"m{name}": Points(many, [0.5] * 1000, many) for name in range(50)})
        assert records.curves("run") == CURVES
