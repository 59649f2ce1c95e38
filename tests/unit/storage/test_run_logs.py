"""What a run of a job printed can be told from what others did, over all its workers, until it is removed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lambent.storage.logs import RUNS, DeploymentLogs
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import ManualClock


def plan(run: str = "") -> RevisionPlan:
    return RevisionPlan(
        revision="r", deployment="fit", project="default", number=1, runtime=Runtime.JOB, run=run
    )


@pytest.fixture
def logs(tmp_path: Path) -> DeploymentLogs:
    return DeploymentLogs(tmp_path / "logs", ManualClock(), run_file_bytes_max=4000)


def tail(logs: DeploymentLogs, name: str) -> list[str]:
    """What was printed, without the time."""
    return [line.split(" ", 1)[1] for line in logs.tail("default", name, 1000)]


def test_the_lines_of_a_run_are_told_apart_over_all_its_workers(logs: DeploymentLogs) -> None:
    logs.write(plan("a"), "w1", b"one\n")
    logs.write(plan("b"), "w2", b"two\n")
    logs.write(plan("a"), "w3", b"three\nhalf")
    logs.say(plan("a"), "w4", ["four"])
    assert tail(logs, RUNS + "a") == ["w1 one", "w3 three", "w4 four", "w3 half"]
    assert tail(logs, RUNS + "b") == ["w2 two"]
    assert tail(logs, "fit") == ["w1 one", "w2 two", "w3 three", "w4 four", "w3 half"]


def test_the_log_of_a_run_is_bounded_and_outlives_what_others_print(
    logs: DeploymentLogs, tmp_path: Path
) -> None:
    for number in range(1000):
        logs.write(plan("a"), "w1", f"line {number}\n".encode())
    assert tail(logs, RUNS + "a")[-1] == "w1 line 999"
    assert logs.size_bytes("default", RUNS + "a") <= 8000
    assert len(tail(logs, "fit")) == 1000


def test_it_goes_with_its_run_and_the_jobs_stays(logs: DeploymentLogs, tmp_path: Path) -> None:
    logs.write(plan("a"), "w1", b"one\n")
    logs.remove_run("default", "a")
    assert tail(logs, RUNS + "a") == []
    assert tail(logs, "fit") == ["w1 one"]
    assert not list((tmp_path / "logs/default/runs").iterdir())


@pytest.mark.parametrize("run", ["", ".", "..", "../fit", "a/b", "a" * 65])
def test_a_run_that_cannot_be_one_leads_nowhere(logs: DeploymentLogs, run: str) -> None:
    logs.write(plan("a"), "w1", b"one\n")
    assert logs.tail_of_run("default", run, 10) == []
    logs.remove_run("default", run)
    assert tail(logs, RUNS + "a") == ["w1 one"]


async def _all(lines: AsyncIterator[str]) -> list[str]:
    async with asyncio.timeout(PATIENT_S):
        return [line.split(" ", 1)[1] async for line in lines]


def test_who_follows_a_run_is_with_it_until_it_ends(logs: DeploymentLogs) -> None:
    async def story() -> list[str]:
        logs.begin_run("default", "a")
        logs.write(plan("a"), "w1", b"before\n")
        following = asyncio.create_task(_all(logs.follow_run("default", "a", 10)))
        await asyncio.sleep(0)
        logs.write(plan("a"), "w1", b"after\n")
        logs.write(plan("b"), "w2", b"another\n")
        logs.end_run("default", "a")
        return await following

    assert asyncio.run(story()) == ["w1 before", "w1 after"]


def test_who_follows_a_run_that_has_ended_gets_what_there_is(logs: DeploymentLogs) -> None:
    logs.begin_run("default", "a")
    logs.write(plan("a"), "w1", b"before\n")
    logs.end_run("default", "a")
    assert asyncio.run(_all(logs.follow_run("default", "a", 10))) == ["w1 before"]
