"""Runs are forgotten with all that they left, when their time is over or somebody says so, and not before."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambent.core.errors import Conflict, StorageFull
from lambent.core.series import Points
from lambent.core.slicing import RunState
from lambent.jobs.forgetting import PORTION, Forgetting
from lambent.storage.base import Run
from lambent.storage.logs import DeploymentLogs
from lambent.storage.run_records import RunRecords
from lambent.storage.sql import SqlStore
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import ManualClock

DAY_S = 86_400


class House:
    """What keeps runs."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = SqlStore.open(folder / "lambent.db", self.clock)
        self.records = RunRecords(folder / "records")
        self.logs = DeploymentLogs(folder / "logs", self.clock)
        self.forgetting = Forgetting(
            self.store.runs,
            [self._records, lambda run: self.logs.remove_run(run.project, run.id)],
            self.clock,
            keep_s=30 * DAY_S,
        )
        self.is_broken = False

    def _records(self, run: Run) -> None:
        if self.is_broken:
            raise StorageFull("the disk")
        self.records.remove(run.id)

    def run(self, name: str, state: RunState = RunState.SUCCEEDED) -> Run:
        now = self.clock.unix_ms()
        run = Run(
            id=name, project="default", job="fit", for_deployment="", state=state, created_unix_ms=now,
            ended_unix_ms=now if state is not RunState.RUNNING else None,
        )  # fmt: skip
        self.store.runs.put(run)
        self.records.put_curves(name, {"loss": Points([1], [1.0], [1])})
        plan = RevisionPlan(
            revision="r", deployment="fit", project="default", number=1, runtime=Runtime.JOB, run=name
        )
        self.logs.write(plan, "w", b"line\n")
        return run

    def is_there(self, name: str) -> tuple[bool, bool, bool]:
        """Its row, its curves, its log."""
        log = self.logs.tail_of_run("default", name, 1)
        return self.store.runs.find(name) is not None, bool(self.records.curves(name)), bool(log)


ALL, NOTHING = (True, True, True), (False, False, False)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.logs.close()
    made.store.close()


def test_a_run_goes_with_all_that_it_left_and_no_other(house: House) -> None:
    run = house.run("a")
    house.run("b")
    asyncio.run(house.forgetting.forget(run))
    assert (house.is_there("a"), house.is_there("b")) == (NOTHING, ALL)


def test_a_run_that_goes_on_is_not_forgotten(house: House) -> None:
    run = house.run("a", RunState.RUNNING)
    with pytest.raises(Conflict, match="`lambent cancel a` ends it first"):
        asyncio.run(house.forgetting.forget(run))
    house.clock.advance(100 * DAY_S)
    asyncio.run(house.forgetting.sweep())
    assert house.is_there("a") == ALL


def test_what_was_kept_long_enough_goes(house: House) -> None:
    for number in range(PORTION + 5):
        house.run(f"old-{number}")
    house.clock.advance(29 * DAY_S)
    asyncio.run(house.forgetting.sweep())
    assert house.is_there("old-0") == ALL
    house.run("new")
    house.clock.advance(2 * DAY_S)
    asyncio.run(house.forgetting.sweep())
    assert {house.is_there(f"old-{number}") for number in range(PORTION + 5)} == {NOTHING}
    assert house.is_there("new") == ALL


def test_what_cannot_be_removed_now_is_removed_later(house: House) -> None:
    house.run("a")
    house.clock.advance(31 * DAY_S)
    house.is_broken = True
    asyncio.run(house.forgetting.sweep())
    assert house.is_there("a") == ALL
    house.is_broken = False
    asyncio.run(house.forgetting.sweep())
    assert house.is_there("a") == NOTHING
