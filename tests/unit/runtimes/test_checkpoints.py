"""A job commits and restores what it likes; it is asked to end, and nothing but a commit ends it."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.checkpointing import COMMIT_EVERY_S_MIN
from lambent.core.invocation import FunctionError, Status
from lambent.runtimes.checkpoints import Yielded
from lambent.runtimes.job import ARENA_DIR, Run
from lambent.runtimes.slots import Slots, make_arena
from lambent.runtimes.states import StateBroken, pack, unpack
from lambent.wire import arena
from lambent.wire.oneshot import JobCall, JobResult
from lambent.wire.process import Runtime
from tests.support.templates import Worker
from tests.support.user_code import Serve
from tests.support.virtual_time import ManualClock


class House:
    """Runs of one job on one arena, each as a new worker would have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        make_arena(folder / "arena")

    def run(self, **call: Any) -> Run:
        told = JobCall("run-1", arena=str(self.folder / "arena"), **call)
        return Run(told, self.folder, notify=lambda _: None, clock=self.clock)

    def ask_to_yield(self) -> None:
        with (self.folder / "arena" / arena.HEAD).open("r+b") as head:
            patch = arena.asking(to_yield=True)
            os.pwrite(head.fileno(), patch.content, patch.at)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def through(state: object) -> Any:
    """A state as it comes back."""
    packed = pack(state)
    memory = bytearray(packed.size_bytes)
    packed.copy_to(memoryview(memory))
    return unpack(memoryview(memory))


def test_a_run_that_begins_restores_nothing(house: House) -> None:
    run = house.run()
    assert run.restore() is None
    assert run.step == 0
    assert not run.ending


def test_the_next_worker_goes_on_from_the_last_commit(house: House) -> None:
    run = house.run()
    run.checkpoint({"weights": np.arange(5)}, step=7)
    run.checkpoint({"weights": np.arange(5) * 2}, step=9)
    later = house.run()
    assert later.step == 9
    assert later.restore()["weights"].tolist() == [0, 2, 4, 6, 8]


def test_without_a_step_each_commit_is_one_more(house: House) -> None:
    run = house.run()
    for _ in range(3):
        run.checkpoint("state")
    assert house.run().step == 3


def test_where_the_server_gives_no_arena_states_last_as_long_as_the_work_folder(tmp_path: Path) -> None:
    def begun() -> Run:
        return Run(JobCall("run-1"), tmp_path, notify=lambda _: None, clock=ManualClock())

    begun().checkpoint("state", step=3)
    assert begun().restore() == "state"
    assert (tmp_path / ARENA_DIR / arena.HEAD).exists()


def test_a_run_that_never_commits_leaves_no_trace(tmp_path: Path) -> None:
    Run(JobCall("run-1"), tmp_path, notify=lambda _: None, clock=ManualClock())
    assert list(tmp_path.iterdir()) == []


def test_a_function_is_only_called_where_a_commit_is_made(house: House) -> None:
    run, called = house.run(), []

    def state() -> int:
        called.append(1)
        return 5

    assert not run.checkpoint(state, step=1, every_s=10)
    house.clock.advance(10)
    assert run.checkpoint(state, step=2, every_s=10)
    assert not run.checkpoint(partial(state), step=3, every_s=10)
    assert called == [1]
    assert house.run().restore() == 5


def test_it_is_due_after_a_while_and_again_after_each_commit(house: House) -> None:
    run = house.run()
    assert not run.due
    house.clock.advance(COMMIT_EVERY_S_MIN)
    assert run.due
    run.checkpoint("state", step=1)
    assert not run.due


def test_a_dear_commit_is_due_less_often(house: House) -> None:
    run = house.run()

    def takes_two_tenths() -> str:
        house.clock.advance(0.2)
        return "state"

    run.checkpoint(takes_two_tenths, step=1)
    house.clock.advance(19)
    assert not run.due
    house.clock.advance(1.1)
    assert run.due


def test_who_is_asked_to_yield_commits_and_leaves(house: House) -> None:
    run = house.run()
    house.ask_to_yield()
    assert run.ending
    assert run.due
    with pytest.raises(Yielded):
        run.checkpoint("state", step=4, every_s=1000)
    assert house.run().restore() == "state"


def test_a_slice_ends_when_its_time_is_over(house: House) -> None:
    run = house.run(slice_ms=10_000)
    house.clock.advance(9)
    assert not run.ending
    house.clock.advance(1)
    with pytest.raises(Yielded):
        run.checkpoint("state")


def test_random_numbers_go_on_where_they_were(house: House) -> None:
    random.seed(3)
    np.random.seed(4)
    run = house.run()
    run.checkpoint("state", step=1)
    drawn = [random.random(), np.random.random()]
    house.run().restore()
    assert [random.random(), np.random.random()] == drawn


def test_without_room_the_run_goes_on_and_says_so_once(
    house: House, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = house.run()
    run.checkpoint("small", step=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        for step in range(2, 5):
            assert not run.checkpoint(bytes(10_000_000), step=step)
        house.ask_to_yield()
        assert not run.checkpoint(bytes(10_000_000), step=5)  # to leave would lose what was done
    assert capfd.readouterr().err.count("There is no room for the state of step") == 1
    assert house.run().restore() == "small"


class Odd:
    """What can be committed and not be restored."""

    def __reduce__(self) -> Any:
        return _fails, ()


def _fails() -> None:
    raise LookupError("its file is gone")


def test_a_state_that_cannot_be_restored_is_skipped_and_the_one_before_survives(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    run = house.run()
    run.checkpoint("good", step=1)
    run.checkpoint(Odd(), step=2)
    later = house.run()
    assert later.restore() == "good"
    assert later.step == 1
    assert "The state of step 2 cannot be restored: LookupError" in capfd.readouterr().err
    slots = Slots(house.folder / "arena")
    assert [commit.step for commit in slots.commits()] == [1]


def test_where_none_can_be_restored_the_job_hears_why(house: House) -> None:
    house.run().checkpoint(Odd(), step=2)
    with pytest.raises(LookupError, match="its file is gone") as raised:
        house.run().restore()
    assert raised.value.__notes__ == ["while the state of step 2 was restored"]


def test_a_process_that_the_job_forked_cannot_commit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run = house.run()
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    with pytest.raises(RuntimeError, match="only the process"):
        run.checkpoint("state")


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(nested)
def test_plain_values_come_back(state: object) -> None:
    assert through(state) == state


@given(st.lists(st.integers(0, 300), max_size=6))
def test_arrays_of_any_size_come_back_writable(sizes: list[int]) -> None:
    arrays = [np.arange(size, dtype="f4") for size in sizes]
    for was, came in zip(arrays, through(arrays), strict=True):
        assert (was == came).all()
        assert came.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.zeros((0, 3)), id="empty"),
        pytest.param(np.array(5), id="no dimension"),
        pytest.param(np.arange(12).reshape(3, 4)[:, ::2], id="not contiguous"),
        pytest.param(np.asfortranarray(np.arange(12).reshape(3, 4)), id="by columns"),
        pytest.param(np.array([{"a": 1}, None, "text"], dtype=object), id="objects"),
        pytest.param(np.array(["2026-01-01"], dtype="M8[s]"), id="dates"),
        pytest.param(np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), id="records"),
        pytest.param(np.arange(300_000), id="with pages of its own"),
    ],
)
def test_arrays_of_any_kind_come_back(array: Any) -> None:
    came = through(array)
    assert came.dtype == array.dtype
    assert came.shape == array.shape
    assert np.array_equal(came, array)


def test_what_is_one_object_stays_one() -> None:
    shared = np.zeros(3)
    one, other = through([shared, shared])
    one[0] = 7
    assert other[0] == 7


def test_what_may_not_be_written_to_stays_so() -> None:
    array = np.arange(5)
    array.flags.writeable = False
    assert not through(array).flags.writeable


def test_large_bytes_are_not_copied_before_they_are_written() -> None:
    state = {"booster": bytes(3_000_000), "text": bytearray(2_000_000)}
    assert through(state) == state


@given(st.binary(max_size=200))
def test_what_is_no_state_is_refused(content: bytes) -> None:
    with pytest.raises(StateBroken):
        unpack(memoryview(content))


def job(serve: Serve, tmp_path: Path, code: str) -> Worker:
    worker = serve(code, "app:fit", runtime=Runtime.JOB, work_dir=str(tmp_path / "run"))
    worker.send(JobCall("run-1", arena=str(tmp_path / "arena")))
    return worker


COUNTS = """
    import os, signal
    def fit(run):
        run.restore()
        for step in range(run.step, 10):
            {middle}
            run.checkpoint({{"step": step}}, step=step + 1)
        return {{"steps": run.step, "began": run.params.get("began", 0)}}
"""


def answered(worker: Worker) -> JobResult:
    answer, body = worker.answer()
    assert answer.status is Status.OK, body
    return msgspec.json.decode(body, type=JobResult)


@pytest.mark.parametrize(
    "middle",
    [
        pytest.param("step == 4 and os.kill(os.getpid(), signal.SIGTERM)", id="SIGTERM"),
        pytest.param("step == 4 and run.end_slice()", id="it says so itself"),
    ],
)
def test_a_job_that_is_asked_to_end_yields_and_the_next_worker_goes_on(
    serve: Serve, tmp_path: Path, middle: str
) -> None:
    make_arena(tmp_path / "arena")
    first = answered(job(serve, tmp_path, COUNTS.format(middle=middle)))
    assert first.yielded
    second = answered(job(serve, tmp_path, COUNTS.format(middle="assert step > 4")))
    assert not second.yielded
    assert second.metrics["steps"] == 10


def test_a_job_that_fails_while_its_state_is_pickled_says_which(serve: Serve, tmp_path: Path) -> None:
    make_arena(tmp_path / "arena")
    worker = job(serve, tmp_path, "def fit(run):\n    run.checkpoint({'f': lambda: 0}, step=3)")
    answer, body = worker.answer()
    error = msgspec.json.decode(body, type=FunctionError)
    assert answer.status is Status.FAILED
    assert "lambda" in error.error_message
