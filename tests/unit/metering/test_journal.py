"""The journal loses nothing that it took, whatever happens to the process, the file and the disk."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from lambent.core.errors import PlatformFault
from lambent.metering.journal import HELD_BYTES_MAX, Entry, Journal, Torn, UsageRecord
from lambent.metering.segment import MAGIC, PAYLOAD_BYTES_MAX, frames, segments_in
from tests.support.full_disk import fill, is_mounted, small_disk
from tests.support.patience import PATIENT_S
from tests.support.usage import used

NEVER_S = 3600.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "usage"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal.open(folder)
    yield journal
    journal.close()


def written(folder: Path) -> list[Entry]:
    """Every entry of a journal, as whoever opens the files sees it now."""
    decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)
    entries = []
    for segment in segments_in(folder):
        content = segment.read_bytes()
        entries += [decoder.decode(frame.payload) for frame in frames(content, len(MAGIC))]
    return entries


def names(folder: Path) -> list[str]:
    return [entry.invocation for entry in written(folder) if isinstance(entry, UsageRecord)]


def test_a_record_is_in_the_file_when_append_returns(journal: Journal, folder: Path) -> None:
    record = used(deployment="zahlen-für-äüö", run_us=2**50)
    journal.append(record)
    assert written(folder) == [record]


def test_a_journal_goes_on_where_it_ended(folder: Path) -> None:
    for name in "abc":
        journal = Journal.open(folder)
        assert journal.health().torn_bytes == 0
        journal.append(used(invocation=name))
        journal.close()
    assert names(folder) == ["a", "b", "c"]
    assert len(segments_in(folder)) == 1


def test_a_killed_process_loses_nothing_that_append_returned_from(folder: Path) -> None:
    story = """
import sys
from pathlib import Path
from lambent.metering.journal import Journal
from tests.support.usage import used
journal = Journal.open(Path(sys.argv[1]), sync_every_s=3600)
number = 0
while True:
    number += 1
    journal.append(used(invocation=str(number)))
    print(number, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", story, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    with process:  # closes the pipe and waits
        rest = process.stdout.read()
    told += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    kept = names(folder)
    assert kept[: len(told)] == [str(number) for number in told]
    assert len(kept) <= len(told) + 1
    again = Journal.open(folder)
    assert again.health().torn_bytes == 0
    again.close()


@pytest.mark.parametrize(
    "tear",
    [
        pytest.param(lambda content: content[:-3], id="a part of the last record"),
        pytest.param(lambda content: content + b"\xa5", id="one byte"),
        pytest.param(lambda content: content + bytes(5000), id="zeros"),
        pytest.param(lambda content: content[:-3] + os.urandom(300), id="something else"),
    ],
)
def test_a_torn_end_is_cut_off_counted_and_noted(folder: Path, tear: Callable[[bytes], bytes]) -> None:
    journal = Journal.open(folder)
    for name in "ab":
        journal.append(used(invocation=name))
    journal.close()
    (segment,) = segments_in(folder)
    segment.write_bytes(tear(segment.read_bytes()))
    again = Journal.open(folder)
    torn_bytes = again.health().torn_bytes
    assert torn_bytes > 0
    again.append(used(invocation="c"))
    again.close()
    assert Torn(size_bytes=torn_bytes) in written(folder)
    assert names(folder) in (["a", "b", "c"], ["a", "c"])
    once_more = Journal.open(folder)
    assert once_more.health().torn_bytes == 0, "a tear is counted once"
    once_more.close()


@pytest.mark.parametrize("content", [b"", b"lambent", b"something that is no segment"])
def test_a_file_without_a_beginning_is_left_alone(folder: Path, content: bytes) -> None:
    folder.mkdir()
    odd = folder / "00000007-00000000.usage"
    odd.write_bytes(content)
    journal = Journal.open(folder)
    assert journal.health().torn_bytes == len(content)
    journal.append(used())
    journal.close()
    assert odd.read_bytes() == content
    assert [segment.name[:8] for segment in segments_in(folder)] == ["00000007", "00000008"]


def test_a_full_segment_is_followed_by_the_next(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes_max=1000)
    wanted = [str(number) for number in range(50)]
    for name in wanted:
        journal.append(used(invocation=name))
    journal.close()
    assert len(segments_in(folder)) >= 4
    assert all(segment.stat().st_size <= 1000 for segment in segments_in(folder))
    assert names(folder) == wanted


def test_records_reach_the_disk_by_themselves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    fdatasync = os.fdatasync

    def tell(file: int) -> None:
        fdatasync(file)
        synced.set()

    monkeypatch.setattr(os, "fdatasync", tell)
    journal = Journal.open(folder)
    try:
        journal.append(used())
        assert synced.wait(timeout=PATIENT_S), "no sync came"
    finally:
        journal.close()


def test_a_second_process_may_not_write_the_same_journal(journal: Journal, folder: Path) -> None:
    with pytest.raises(PlatformFault, match="another server"):
        Journal.open(folder)
    journal.append(used(invocation="a"))
    assert names(folder) == ["a"]


def test_many_threads_may_append(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes_max=10_000)

    def appends(who: int) -> None:
        for turn in range(200):
            journal.append(used(invocation=f"{who}-{turn}"))

    threads = [threading.Thread(target=appends, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert sorted(names(folder)) == sorted(f"{who}-{turn}" for who in range(4) for turn in range(200))


def test_a_full_disk_holds_records_in_memory_and_writes_them_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", room_bytes=256 * 1024) as disk:
        folder = disk / "usage"
        journal = Journal.open(folder, sync_every_s=NEVER_S)
        journal.append(used(invocation="before"))
        if is_mounted(disk):
            fill(disk)
        wanted = ["before"]
        while journal.health().held_records < 100:
            wanted.append(str(len(wanted)))
            journal.append(used(invocation=wanted[-1]))
        health = journal.health()
        assert health.error.startswith("usage could not be written: ")
        assert health.lost_records == 0
        kept = names(folder)
        assert kept == wanted[: len(kept)], "no record was written in part or out of turn"
        if is_mounted(disk):
            (disk / "ballast").unlink()
            journal.sync()
            assert journal.health().error == ""
            assert journal.health().held_records == 0
            assert names(folder) == wanted
        journal.close()


def test_what_is_held_has_a_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal.open(folder, sync_every_s=NEVER_S)
    large = used(deployment="x" * 60_000)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        for _ in range(2 * HELD_BYTES_MAX // 60_000):
            journal.append(large)
    health = journal.health()
    assert health.held_records * 60_000 <= HELD_BYTES_MAX
    assert health.held_records + health.lost_records == 2 * HELD_BYTES_MAX // 60_000
    journal.append(used(invocation="newest"))
    journal.sync()
    assert len(written(folder)) == health.held_records + 1
    assert names(folder)[-1] == "newest"
    assert journal.health().error == ""
    journal.close()


def test_a_write_that_finds_room_for_a_part_only_is_taken_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(folder, sync_every_s=NEVER_S)
    journal.append(used(invocation="a"))
    write = os.write
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", lambda file, frame: write(file, frame[:40]))
        journal.append(used(invocation="b"))
    before = segments_in(folder)[0].stat().st_size
    assert names(folder) == ["a"]
    assert journal.health().held_records == 1
    journal.append(used(invocation="c"))
    journal.close()
    assert names(folder) == ["a", "b", "c"]
    (segment,) = segments_in(folder)
    frame = (segment.stat().st_size - before) // 2
    assert before == len(MAGIC) + frame, "nothing of the part is left"


def test_a_record_that_no_frame_can_hold_is_counted_as_lost(journal: Journal, folder: Path) -> None:
    journal.append(used(deployment="x" * PAYLOAD_BYTES_MAX))
    journal.append(used(invocation="next"))
    assert names(folder) == ["next"]
    assert journal.health().lost_records == 1


def test_a_closed_journal_takes_nothing_and_still_does_not_raise(folder: Path) -> None:
    journal = Journal.open(folder)
    journal.append(used(invocation="a"))
    journal.close()
    journal.append(used(invocation="late"))
    assert journal.health().error == "the journal is closed"
    assert names(folder) == ["a"]


def test_a_disk_that_is_full_from_the_start_does_not_keep_the_server_from_starting(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", room_bytes=256 * 1024) as disk:
        folder = disk / "usage"
        folder.mkdir()
        if is_mounted(disk):
            fill(disk)
        journal = Journal.open(folder, sync_every_s=NEVER_S)
        journal.append(used(invocation="a"))
        if is_mounted(disk):
            assert journal.health().held_records == 1
            (disk / "ballast").unlink()
        journal.close()
        assert names(folder) == ["a"]
