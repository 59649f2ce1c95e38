"""A worker killed at any point of a commit leaves a whole state, never older than the last that returned."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from lambent.core.errors import StorageBroken
from lambent.runtimes.slots import Slots, make_arena
from lambent.wire import arena

OURS = ("runtimes/slots.py", "runtimes/states.py", "wire/arena.py")
KILLED = -signal.SIGKILL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_arena(tmp_path / "arena")
    return tmp_path / "arena"


def forked(work: Callable[[], None]) -> int:
    """Run it in a fork, whose pid this is. It only computes: that the test has threads does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the test's own process must not go on twice
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """How it ended, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def state_of(step: int) -> dict[str, Any]:
    return {"step": step, "weights": np.full(3000, step), "small": [np.full(5, step), b"x" * 70_000]}


def is_whole(state: dict[str, Any], step: int) -> bool:
    return state["step"] == step and bool(
        (state["weights"] == step).all() and (state["small"][0] == step).all()
    )


def dying_at(line: int) -> Callable[[FrameType, str, object], Any]:
    """A tracer that kills the process where the given line of ours, counted from 1, would run."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.endswith(OURS):
            return None
        seen += event == "line"
        if seen == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def test_a_kill_at_any_line_of_a_commit_leaves_a_whole_state(folder: Path) -> None:
    lines, survived = 0, False
    while not survived:
        lines += 1
        slots = Slots(folder)
        newest = next(iter(slots.commits()), None)
        last = newest.step if newest else 0

        def work(at: int = lines, step: int = last + 1) -> None:
            mine = Slots(folder)
            sys.settrace(dying_at(at))
            mine.commit(state_of(step), step=step, unix_ms=0)

        end = ended(forked(work))
        assert end in {0, KILLED}
        survived = end == 0
        found = slots.commits()
        assert not last or found
        for commit in found[:1]:
            assert commit.step in {last, last + 1}
            assert is_whole(slots.read(commit), commit.step)
    assert lines > 50
    assert slots.commits()[0].step == last + 1


def test_kills_at_random_times_lose_nothing_that_was_returned(folder: Path) -> None:
    for _ in range(25):
        told, tells = os.pipe()
        newest = next(iter(Slots(folder).commits()), None)
        begins = newest.step if newest else 0

        def work(after: int = begins, tell: int = tells) -> None:
            mine = Slots(folder)
            for step in range(after + 1, after + 10_000):
                mine.commit(state_of(step), step=step, unix_ms=0)
                os.write(tell, step.to_bytes(4, "little"))

        pid = forked(work)
        os.close(tells)
        os.read(told, 4)  # it commits; where it is now, nobody knows
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) == KILLED
        returned = begins + 1
        while step := os.read(told, 4):
            returned = int.from_bytes(step, "little")
        os.close(told)
        slots = Slots(folder)
        commit = slots.commits()[0]
        assert commit.step >= returned
        assert is_whole(slots.read(commit), commit.step)


def test_a_state_that_grows_and_shrinks_is_read_as_it_was(folder: Path) -> None:
    slots = Slots(folder)
    for step, size in enumerate([0, 1, 5_000, 300_000, 10, 2_000_000, 2_000_001], start=1):
        commit = slots.commit(np.arange(size), step=step, unix_ms=step)
        assert (slots.read(commit) == np.arange(size)).all()
    assert [each.step for each in slots.commits()] == [7, 6]


def test_a_slot_that_is_read_by_the_server_is_left_alone(folder: Path) -> None:
    slots = Slots(folder)
    first = slots.commit("first", step=1, unix_ms=0)
    with (folder / arena.HEAD).open("r+b") as head:
        patch = arena.pinning(first.slot)
        os.pwrite(head.fileno(), patch.content, patch.at)
    for step in range(2, 6):
        slots.commit(f"state {step}", step=step, unix_ms=0)
    assert slots.read(first) == "first"
    assert slots.read(slots.commits()[0]) == "state 5"


def test_what_finds_no_room_in_memory_goes_to_the_spill_and_comes_back(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (folder / arena.SPILL).symlink_to(tmp_path / "disk")
    slots = Slots(folder)
    slots.commit(b"small", step=1, unix_ms=0)
    full = folder / arena.slot_name(1)
    full.symlink_to("nowhere/at/all")  # a slot that cannot be made
    second = slots.commit(bytes(1000), step=2, unix_ms=0)
    assert second.spilled
    assert (tmp_path / "disk" / arena.slot_name(1)).exists()
    assert slots.read(second) == bytes(1000)
    third = slots.commit(b"again small", step=3, unix_ms=0)
    assert not third.spilled
    assert [slots.read(commit) for commit in slots.commits()] == [b"again small", bytes(1000)]


def test_where_there_is_no_room_at_all_the_states_before_stay(folder: Path) -> None:
    slots = Slots(folder)
    for step in (1, 2):
        slots.commit(state_of(step), step=step, unix_ms=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            slots.commit(np.zeros(1 << 20), step=3, unix_ms=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [each.step for each in slots.commits()] == [2, 1]
    assert all(is_whole(slots.read(each), each.step) for each in slots.commits())
    slots.commit(np.zeros(1 << 20), step=3, unix_ms=0)
    assert slots.commits()[0].step == 3


def test_a_state_that_cannot_be_pickled_changes_nothing(folder: Path) -> None:
    slots = Slots(folder)
    slots.commit(state_of(1), step=1, unix_ms=0)
    with pytest.raises((AttributeError, TypeError)):
        slots.commit({"weights": np.zeros(5), "socket": lambda: 0}, step=2, unix_ms=0)
    assert [each.step for each in slots.commits()] == [1]


def test_what_is_restored_is_in_memory_of_its_own(folder: Path) -> None:
    slots = Slots(folder)
    slots.commit(np.zeros(1_000_000), step=1, unix_ms=0)
    mine = slots.read(slots.commits()[0])
    mine[:] = 7
    assert (slots.read(slots.commits()[0]) == 0).all()


def test_a_folder_without_a_head_is_no_arena(tmp_path: Path) -> None:
    (tmp_path / arena.HEAD).write_bytes(b"short")
    with pytest.raises(StorageBroken):
        Slots(tmp_path)
