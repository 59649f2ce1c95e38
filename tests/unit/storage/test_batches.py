"""What came of a batch's lines is counted once each, whatever was torn off."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from lambent.storage.batches import Entry, Journal
from lambent.wire.openai.batches import Answered, Came, LineError


def answered(number: int, status: int = 200) -> Entry:
    response = Answered(status_code=status, request_id="r", body=msgspec.Raw(b'{"said":1}'))
    return Entry(number, Came(id=f"b_{number}", custom_id=f"c-{number}", response=response, error=None))


def names(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def test_a_line_that_comes_twice_is_written_once_and_in_the_order_of_the_input(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "came")
    journal.add([answered(3), answered(1)])
    journal.add([answered(1, 500), answered(2, 400)])
    journal = Journal(tmp_path / "came")
    journal.add([answered(3)])
    assert (journal.completed, journal.failed, journal.numbers) == (2, 1, {1, 2, 3})
    assert journal.write(tmp_path / "good", good=True) == (tmp_path / "good").stat().st_size
    journal.write(tmp_path / "bad", good=False)
    assert (names(tmp_path / "good"), names(tmp_path / "bad")) == (["c-1", "c-3"], ["c-2"])


def test_what_was_torn_off_is_cut_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "came"
    Journal(path).add([answered(1), answered(2)])
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        journal = Journal(path)
        assert len(journal.numbers) == whole[:cut].count(b"\n")
        journal.add([answered(1), answered(2)])
        assert Journal(path).numbers == {1, 2}
        journal.write(tmp_path / "good", good=True)
        assert names(tmp_path / "good") == ["c-1", "c-2"]


def test_what_a_window_cut_off_is_known_again(tmp_path: Path) -> None:
    why = LineError(code="batch_expired", message="too late")
    Journal(tmp_path / "came").add([Entry(1, Came(id="b", custom_id="c", response=None, error=why))])
    journal = Journal(tmp_path / "came")
    assert (journal.cut, journal.failed, journal.completed) == (1, 1, 0)
    assert journal.write(tmp_path / "good", good=True) == 0
