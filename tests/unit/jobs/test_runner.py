"""Runs of jobs: each is seen to its end, its model is registered, and what it used is metered."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lambent.clock import SystemClock
from lambent.core.invocation import Invocation, Outcome, Status
from lambent.core.running import RunTerms
from lambent.core.spec import Kind
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.gateway.presence import ClientLeft, Presence
from lambent.storage.base import RunState
from lambent.storage.sql import SqlStore
from lambent.storage.sql_database import Database
from lambent.wire.oneshot import MODEL_DIR, JobCall, JobResult, News
from tests.support.asking import asks, error_of
from tests.support.patience import PATIENT_S
from tests.unit.jobs.durable import outcome
from tests.unit.jobs.running import House, job, says

FOR_DIGITS = RunTerms(for_deployment="digits")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


def leaves_a_model(call: JobCall, scene: Scene) -> JobResult:
    folder = Path(call.work_dir) / MODEL_DIR
    folder.mkdir()
    (folder / "m.onnx").write_bytes(b"weights")
    says(scene, News(0.5, "half way", 1, {"loss": 0.2}))
    return JobResult({"accuracy": 0.9}, files=1)


def test_a_run_registers_what_it_left_and_says_what_it_measured(house: House) -> None:
    end = house.run(job(leaves_a_model), terms=FOR_DIGITS)
    assert (end.state, end.progress, end.message) == (RunState.SUCCEEDED, 1.0, "half way")
    assert end.metrics == {"loss": 0.2, "accuracy": 0.9}
    assert [model.run for model in house.promoted] == [end.id]
    assert house.store.runs.find(end.id) == end
    assert not list((house.folder / "runs").iterdir())


def test_of_a_job_that_says_too_much_a_bounded_part_is_kept_and_its_result_first(house: House) -> None:
    def talks(_: JobCall, scene: Scene) -> JobResult:
        says(scene, News(None, "x" * 10_000_000, None, dict.fromkeys(map(str, range(5000)), 1.0)))
        return JobResult({"n" * 10_000: 2.0, "accuracy": 0.9})

    end = house.run(job(talks))
    assert (end.state, len(end.message), len(end.metrics)) == (RunState.SUCCEEDED, 1000, 1000)
    assert (end.metrics["accuracy"], end.metrics["n" * 100]) == (0.9, 2.0)


def test_a_run_without_a_model_fails_where_one_was_wanted_and_not_elsewhere(house: House) -> None:
    nothing = job(lambda *_: JobResult())
    assert house.run(nothing).state is RunState.SUCCEEDED
    end = house.run(nothing, terms=FOR_DIGITS)
    assert (end.state, "left no file" in end.reason) == (RunState.FAILED, True)


def test_a_model_that_does_not_load_fails_its_run(house: House) -> None:
    house.promotion_fails = True
    end = house.run(job(leaves_a_model), terms=FOR_DIGITS)
    assert (end.state, end.reason) == (RunState.FAILED, "the model does not load")


def fails(*_: object) -> JobResult:
    raise ValueError("no data")


def dies(_: JobCall, scene: Scene) -> JobResult:
    scene.print(b"about to end\n")
    raise Dies(-9)


async def hangs(_: bytes, __: Scene) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError("it waits for ever")


@pytest.mark.parametrize(
    ("program", "timeout_s", "status", "reason"),
    [
        pytest.param(
            job(fails), PATIENT_S, Status.FAILED, "the job failed: ValueError: no data", id="raises"
        ),
        pytest.param(
            job(dies),
            PATIENT_S,
            Status.EXITED,
            "the job's process ended with SIGKILL; it last said: about to end",
            id="dies",
        ),
        pytest.param(
            Program(run=hangs), 0.05, Status.TIMED_OUT, "the job ran over its timeout_s=0.05", id="hangs"
        ),
    ],
)
def test_a_run_that_fails_says_why_and_is_metered_all_the_same(
    house: House, program: Program, timeout_s: float, status: Status, reason: str
) -> None:
    end = house.run(program, timeout_s=timeout_s, retries=0)
    assert (end.state, end.reason) == (RunState.FAILED, reason)
    [record] = house.usage
    assert (record.invocation, record.status, record.kind) == (end.id, status, Kind.JOB)
    assert record.billed_ms >= 1


def test_a_store_that_takes_nothing_for_a_while_stops_nobody_and_learns_the_end_later(house: House) -> None:
    house.store.close()
    house.store = SqlStore(Database(house.folder / "lambent.db", busy_timeout_ms=20), SystemClock())
    other = sqlite3.connect(house.folder / "lambent.db", isolation_level=None)

    def locks_the_store(*_: object) -> JobResult:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.2, other.rollback)  # ten times what the store waits for it
        return JobResult()

    end = house.run(job(locks_the_store))
    other.close()
    assert end.state is RunState.SUCCEEDED
    assert house.store.runs.find(end.id) == end


def test_what_a_run_asks_for_has_its_project_its_time_and_its_trace(house: House) -> None:
    seen: list[Invocation] = []

    async def invoke(one: Invocation, *, client: Presence | None = None) -> Outcome:
        seen.append(one)
        return outcome(body=b"7")

    async def work(body: bytes, scene: Scene) -> bytes:
        _, result = await asks(scene, "inner", b"{}")
        return msgspec.json.encode(JobResult({"answer": float(result)}))

    began_s = SystemClock().now_s()
    end = house.run(Program(run=work), timeout_s=600, invoke=invoke)
    assert (end.state, end.metrics) == (RunState.SUCCEEDED, {"answer": 7.0})
    [asked] = seen
    assert (asked.project, asked.deployment, asked.chain) == ("default", "inner", ("fit",))
    assert asked.deadline_s is not None
    assert 600 <= asked.deadline_s - began_s < 600 + PATIENT_S
    assert asked.trace is not None
    assert asked.trace.parent_id == end.id.replace("-", "")[16:]


def test_a_run_that_is_over_its_time_takes_along_what_it_waits_for(house: House) -> None:
    left: list[str] = []

    async def invoke(one: Invocation, *, client: Presence | None = None) -> Outcome:
        gone = asyncio.Event()
        assert client is not None
        client.when_left(gone.set)
        await gone.wait()
        left.append(one.deployment)
        raise ClientLeft

    async def work(body: bytes, scene: Scene) -> bytes:
        await asks(scene, "inner", b"{}")
        return b"{}"

    end = house.run(Program(run=work), timeout_s=0.2, invoke=invoke)
    assert (end.state, "over its timeout_s" in end.reason) == (RunState.FAILED, True)
    assert left == ["inner"]


def test_where_nobody_answers_a_run_is_told_so(house: House) -> None:
    async def work(body: bytes, scene: Scene) -> bytes:
        _, result = await asks(scene, "inner", b"{}")
        raise RuntimeError(error_of(result).error_message)

    assert "only functions, models and jobs" in house.run(Program(run=work)).reason
