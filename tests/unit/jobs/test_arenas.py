"""States of runs come to disk whole or not at all, and come back from wherever the newest whole one is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambent.core.errors import StorageBroken, StorageFull
from lambent.jobs import arenas as arenas_module
from lambent.jobs.arenas import Arenas
from lambent.runtimes.slots import Slots
from lambent.wire import arena
from tests.support.full_disk import small_disk
from tests.support.virtual_time import ManualClock

RUN = "run-1"


class House:
    """A server's arenas in folders of a test."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "state"
        self.runs_dir = self.state_dir / "runs"
        self.memory = folder / "memory"
        self.memory.mkdir(parents=True)
        self.runs_dir.mkdir(parents=True)
        self.arenas = self.again()

    def again(self, **settings: Any) -> Arenas:
        """As the next server finds them."""
        return Arenas(self.state_dir, self.runs_dir, ManualClock(), memory=self.memory, **settings)

    def commit(self, *steps: int) -> None:
        """What a worker does."""
        slots = Slots(self.arenas.open(RUN).folder)
        for step in steps:
            slots.commit(state_of(step), step=step, unix_ms=step)

    def restored(self, arenas: Arenas | None = None) -> int:
        """What the next worker goes on from; 0 for nothing."""
        slots = Slots((arenas or self.arenas).restore(RUN).folder)
        for commit in slots.commits():
            state = slots.read(commit)
            assert (state["weights"] == state["step"]).all()
            assert state["step"] == commit.step
            return commit.step
        return 0

    def machine_restarts(self) -> Arenas:
        """What is in memory is gone."""
        self.arenas.close(RUN)
        return self.again()

    def on_disk(self) -> list[str]:
        folder = self.arenas.files(RUN).folder
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def state_of(step: int) -> dict[str, Any]:
    return {"step": step, "weights": np.full(20_000, step)}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_run_that_begins_has_nothing_to_go_on_from(house: House) -> None:
    assert house.restored() == 0
    assert house.arenas.flush(RUN) is None


def test_a_worker_that_ended_left_its_newest_state(house: House) -> None:
    house.commit(1, 2, 3)
    assert house.restored() == 3
    committed = house.arenas.open(RUN).committed()
    assert committed is not None
    assert (committed.step, committed.unix_ms) == (3, 3)


def test_a_server_that_ended_left_the_arena_to_the_next(house: House) -> None:
    house.commit(1, 2)
    assert house.restored(house.again()) == 2


def test_what_was_flushed_comes_back_after_the_machine_did(house: House) -> None:
    house.commit(1, 2)
    flushed = house.arenas.flush(RUN)
    assert flushed is not None
    assert flushed.step == 2
    house.commit(3)
    later = house.machine_restarts()
    assert house.restored(later) == 2
    assert later.open(RUN).committed() is not None


def test_a_state_is_flushed_once(house: House) -> None:
    house.commit(1)
    assert house.arenas.flush(RUN) is not None
    assert house.arenas.flush(RUN) is None
    assert house.on_disk() == ["1-1.ckpt"]


def test_the_newest_are_kept(house: House) -> None:
    for step in range(10, 60, 10):
        house.commit(step)
        house.arenas.flush(RUN)
    assert house.on_disk() == ["40-4.ckpt", "50-5.ckpt"]


@pytest.mark.parametrize("at", [0, 9, 30, 60, 79, 85, 5_000, -1])
def test_a_file_with_one_wrong_byte_is_skipped_to_the_one_before(house: House, at: int) -> None:
    for step in (1, 2):
        house.commit(step)
        house.arenas.flush(RUN)
    newest = house.arenas.files(RUN).folder / "2-2.ckpt"
    content = bytearray(newest.read_bytes())
    content[at] ^= 1
    newest.write_bytes(content)
    assert house.restored(house.machine_restarts()) == 1
    house.commit(5)  # whoever goes on is not held up by what is broken
    house.arenas.flush(RUN)
    assert house.restored(house.machine_restarts()) == 5


@pytest.mark.parametrize("size", [0, 1, 79, 84, 100, 160_000])
def test_a_file_that_is_cut_off_is_skipped(house: House, size: int) -> None:
    for step in (1, 2):
        house.commit(step)
        house.arenas.flush(RUN)
    os.truncate(house.arenas.files(RUN).folder / "2-2.ckpt", size)
    assert house.restored(house.machine_restarts()) == 1


def test_where_every_file_is_broken_the_run_begins_again(house: House) -> None:
    house.commit(1)
    house.arenas.flush(RUN)
    (house.arenas.files(RUN).folder / "1-1.ckpt").write_bytes(b"no state")
    later = house.machine_restarts()
    assert house.restored(later) == 0
    house.arenas = later
    house.commit(1)
    later.flush(RUN)
    assert house.restored(house.machine_restarts()) == 1


def test_a_disk_that_is_full_keeps_what_is_there_and_takes_it_when_there_is_room(
    house: House, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", room_bytes=400_000) as disk:
        arenas = Arenas(house.state_dir, disk, ManualClock(), memory=house.memory)
        slots = Slots(arenas.open(RUN).folder)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # where the disk is a limit on files
        try:
            slots.commit(np.zeros(10_000), step=1, unix_ms=0)
            arenas.flush(RUN)
            _in_spite_of_the_limit(slots, step=2)
            with pytest.raises(StorageFull):
                arenas.flush(RUN)
            assert [path.name for path in arenas.files(RUN).folder.iterdir()] == ["1-1.ckpt"]
            slots.commit(np.zeros(100), step=3, unix_ms=0)
            flushed = arenas.flush(RUN)
        finally:
            signal.signal(signal.SIGXFSZ, before)
        assert flushed is not None
        assert flushed.step == 3


def _in_spite_of_the_limit(slots: Slots, *, step: int) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits[1], limits[1]))
    try:
        slots.commit(np.zeros(200_000), step=step, unix_ms=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_flush_cut_off_at_any_piece_leaves_the_file_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arenas_module, "CHUNK_BYTES", 10_000)
    house.commit(1)
    house.arenas.flush(RUN)
    house.commit(2)
    pieces = 0
    with house.arenas.open(RUN).reading() as found:
        assert found is not None
        for _ in found[1]:
            pieces += 1
    for last in range(pieces):
        files = house.arenas.files(RUN)
        files.folder.joinpath("2-2.new").write_bytes(b"x" * last * 10_000)  # what a killed server leaves
        assert [kept.step for kept in files.kept()] == [1]
        assert house.restored(house.machine_restarts()) == 1
        house.arenas.close(RUN)
    house.arenas.restore(RUN)
    house.commit(2)
    house.arenas.flush(RUN)
    assert "2-2.new" not in house.on_disk()


def test_a_worker_that_commits_meanwhile_does_not_spoil_what_is_read(house: House) -> None:
    house.commit(1)
    slots = Slots(house.arenas.open(RUN).folder)
    with house.arenas.open(RUN).reading() as found:
        assert found is not None
        commit, pieces = found
        first = next(pieces)
        for step in range(2, 8):
            slots.commit(state_of(step), step=step, unix_ms=step)
        whole = first + b"".join(pieces)
    assert commit.step == 1
    assert len(whole) == commit.size_bytes
    assert house.restored() == 7


def test_flushes_beside_a_worker_that_never_rests_are_whole(house: House) -> None:
    house.commit(1)
    slots, stop = Slots(house.arenas.open(RUN).folder), threading.Event()

    def work() -> None:
        step = 1
        while not stop.is_set():
            step += 1
            slots.commit(state_of(step), step=step, unix_ms=step)

    worker = threading.Thread(target=work)
    worker.start()
    flushed = 0
    try:
        for _ in range(30):
            try:
                done = house.arenas.flush(RUN)
            except StorageBroken:  # it was faster than we could look: said, and tried again
                continue
            flushed += done is not None
            copy = house.arenas.files(RUN).copy_newest(house.memory / "copy")
            assert copy is not None
    finally:
        stop.set()
        worker.join()
    assert house.arenas.flush(RUN) is not None or flushed
    assert house.restored(house.machine_restarts()) > 1


def test_a_worker_is_asked_and_the_next_one_is_not(house: House) -> None:
    there = house.arenas.restore(RUN)
    slots = Slots(there.folder)
    assert not slots.is_asked()
    there.ask_to_yield()
    assert slots.is_asked()
    house.arenas.restore(RUN)
    assert not slots.is_asked()


def cut_off(slot: Path) -> None:
    os.truncate(slot, 10)


def a_link(slot: Path) -> None:
    slot.unlink()
    slot.symlink_to("/etc/passwd")


def a_pipe(slot: Path) -> None:
    slot.unlink()
    os.mkfifo(slot)


@pytest.mark.parametrize("spoil", [cut_off, a_link, a_pipe, Path.unlink])
def test_a_worker_that_spoils_its_slot_is_told_of_and_leaves_the_disk_as_it_was(
    house: House, spoil: Callable[[Path], None]
) -> None:
    house.commit(1)
    spoil(house.arenas.open(RUN).folder / "slot.0")
    with pytest.raises(StorageBroken):
        house.arenas.flush(RUN)
    assert not [name for name in house.on_disk() if name.endswith(".ckpt")]


@pytest.mark.parametrize("content", [b"", b"short", bytes(4096)])
def test_a_worker_that_spoils_the_head_has_committed_nothing(house: House, content: bytes) -> None:
    house.commit(1)
    house.arenas.flush(RUN)
    there = house.arenas.open(RUN)
    (there.folder / arena.HEAD).write_bytes(content)
    assert there.committed() is None
    assert house.arenas.flush(RUN) is None
    there.ask_to_yield()
    assert house.restored(house.again()) == 1


def test_runs_that_are_gone_leave_nothing_in_memory(house: House) -> None:
    house.commit(1)
    house.arenas.open("run-2")
    assert list(house.arenas.sweep({RUN})) == ["run-2"]
    assert house.restored() == 1
    assert house.arenas.sweep(()) == [RUN]
    assert list(house.memory.iterdir()) == []


def test_what_a_server_without_its_state_directory_left_is_swept_and_what_one_holds_is_not(
    tmp_path: Path,
) -> None:
    gone, mine = House(tmp_path / "gone"), House(tmp_path / "mine")
    theirs = Arenas(gone.state_dir, gone.runs_dir, ManualClock(), memory=mine.memory)
    theirs.open(RUN)
    mine.arenas.open(RUN)
    gone.state_dir.rename(tmp_path / "moved")
    mine.arenas.sweep({RUN})
    assert len(list(mine.memory.iterdir())) == 2  # it runs
    theirs.end()
    mine.arenas.sweep({RUN})
    assert len(list(mine.memory.iterdir())) == 1
    assert mine.restored() == 0


def test_a_folder_in_memory_that_others_may_write_to_is_not_used(house: House) -> None:
    folder = house.arenas.open(RUN).folder.parent
    house.arenas.close(RUN)
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    assert house.again().open(RUN).folder.is_relative_to(house.runs_dir)


def test_a_state_that_others_could_have_put_there_is_not_read(house: House) -> None:
    house.commit(1)
    house.arenas.open(RUN).folder.parent.chmod(0o770)
    assert house.restored(house.again()) == 0


def test_a_file_that_cannot_be_read_is_skipped(house: House) -> None:
    for step in (1, 2):
        house.commit(step)
        house.arenas.flush(RUN)
    newest = house.arenas.files(RUN).folder / "2-2.ckpt"
    newest.unlink()
    newest.mkdir()
    assert house.restored(house.machine_restarts()) == 1


def test_where_there_is_no_memory_the_arena_is_on_disk(house: House) -> None:
    without = Arenas(house.state_dir, house.runs_dir, ManualClock(), memory=house.state_dir / "none")
    folder = without.open(RUN).folder
    assert folder.is_relative_to(house.runs_dir)
    Slots(folder).commit(state_of(4), step=4, unix_ms=0)
    assert house.restored(without) == 4
    without.close(RUN)
    assert without.restore(RUN).committed() is None


def test_what_was_in_memory_before_the_machine_restarted_is_not_trusted(house: House) -> None:
    house.commit(1)
    head = house.arenas.open(RUN).folder / arena.HEAD
    content = bytearray(head.read_bytes())
    content[8] ^= 1
    head.write_bytes(content)
    assert house.restored(house.again()) == 0
