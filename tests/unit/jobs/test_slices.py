"""Slices of a run: asked to leave, killed, resumed from the last checkpoint, and judged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lambent.core.errors import LoadFailed
from lambent.core.invocation import Status
from lambent.core.running import RunTerms
from lambent.core.spec import Kind
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.wire.oneshot import JobCall, JobResult
from tests.support.patience import PATIENT_S
from tests.unit.jobs.running import House, checkpoints, commits, job, slowly


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


def trains(*, until_slice: int) -> Program:
    """Commits its steps until it is asked to leave; done in the slice of that number."""

    async def work(call: JobCall, _: Scene) -> JobResult:
        kept = checkpoints(call)
        step = (kept.restore() or 0) + 1
        while call.slice < until_slice:
            if not commits(kept, step, step):
                return JobResult(yielded=True)
            step += 1
            await asyncio.sleep(0.001)
        return JobResult({"step": float(step)}, value=msgspec.Raw(b'{"ok":true}'))

    return slowly(work)


async def hangs(_: bytes, __: Scene) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError("it waits for ever")


def test_a_run_goes_from_slice_to_slice_by_its_checkpoints(house: House) -> None:
    end = house.run(trains(until_slice=3), slice_s=0.02, grace_s=PATIENT_S, retries=0)
    assert (end.state, end.exit, end.slices, end.attempts) == ("succeeded", "finished", 4, 0)
    assert end.metrics["step"] == end.step + 1 >= 4
    assert end.result == '{"ok":true}'
    assert [(record.status, record.kind) for record in house.usage] == [(Status.OK, Kind.JOB)] * 4
    assert end.running_ms >= sum(record.run_us for record in house.usage) // 1000 - 4
    assert not list((house.folder / "runs").iterdir())


def test_a_run_that_makes_progress_survives_more_deaths_than_it_has_retries(house: House) -> None:
    def work(call: JobCall, _: Scene) -> JobResult:
        kept = checkpoints(call)
        step = (kept.restore() or 0) + 1
        if step == 6:
            return JobResult({"slices": float(call.slice + 1)})
        kept.commit(step, step)
        raise Dies(-9)

    end = house.run(job(work), retries=1)
    assert (end.state, end.slices, end.step, end.metrics["slices"]) == ("succeeded", 6, 5, 6)


def test_a_run_that_dies_at_one_step_is_given_up_and_says_so(house: House) -> None:
    def work(*_: object) -> JobResult:
        raise Dies(-9)

    end = house.run(job(work), retries=2)
    assert (end.state, end.exit, end.slices) == ("failed", "killed", 3)
    assert "SIGKILL (tried 3 times without getting further)" in end.reason


def test_a_job_that_never_checkpoints_ends_with_the_advice_to_do_so(house: House) -> None:
    end = house.run(Program(run=hangs), slice_s=0.02, grace_s=0.01)
    assert (end.state, end.exit, end.slices) == ("failed", "no_checkpoint", 2)
    assert "run.checkpoint(state, step=...)" in end.reason


def test_a_job_that_does_not_leave_is_killed_and_goes_on_where_it_was(house: House) -> None:
    async def work(call: JobCall, _: Scene) -> JobResult:
        kept = checkpoints(call)
        if kept.restore() == "half":
            return JobResult()
        kept.commit("half", 1)
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")

    end = house.run(slowly(work), slice_s=0.05, grace_s=0.01)
    assert (end.state, end.slices, end.attempts, end.failed_by) == ("succeeded", 2, 1, "overran")


def test_what_raises_at_once_is_told_at_once(house: House) -> None:
    def work(*_: object) -> JobResult:
        raise ValueError("no data")

    end = house.run(job(work), retries=5)
    assert (end.exit, end.slices, end.reason) == ("failed", 1, "the job failed: ValueError: no data")


def test_what_raises_further_on_is_tried_again_until_it_raises_at_one_step_twice(house: House) -> None:
    def work(call: JobCall, _: Scene) -> JobResult:
        kept = checkpoints(call)
        step = kept.restore() or 0
        if step < 2:
            kept.commit(step + 1, step + 1)
        raise ConnectionError("the network")

    end = house.run(job(work), retries=5)
    assert (end.exit, end.slices, end.step) == ("failed", 3, 2)


def test_memory_that_is_not_there_is_an_exit_of_its_own(house: House) -> None:
    def work(*_: object) -> JobResult:
        raise MemoryError

    assert house.run(job(work)).exit == "out_of_memory"


def test_a_run_that_has_cost_its_bound_is_ended_with_a_checkpoint(house: House) -> None:
    terms = RunTerms(max_cost_usd=1e-9)
    end = house.run(trains(until_slice=10), terms=terms, grace_s=PATIENT_S)
    assert (end.state, end.exit) == ("failed", "over_budget")
    assert end.cost_usd >= terms.max_cost_usd
    assert end.step >= 0
    assert (house.folder / "runs" / end.id / "checkpoints").is_dir()  # for a retry


def test_code_that_does_not_load_is_not_tried_again(house: House) -> None:
    house.load_fails = LoadFailed("SyntaxError")
    end = house.run(Program())
    assert (end.exit, end.slices, end.reason) == ("failed", 1, "SyntaxError")


def test_an_answer_that_is_none_ends_the_run(house: House) -> None:
    end = house.run(Program(run=lambda *_: b"[1"))
    assert (end.state, end.slices) == ("failed", 1)
    assert "cannot be read" in end.reason
