"""Runs wait for their turn and for one another; they are cancelled, retried, and outlive the server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.errors import CallerFault, Conflict, NotFound, QueueFull
from lambent.core.running import RunTerms
from lambent.engines.memory_worker import Program, Scene
from lambent.jobs import folders, runner
from lambent.storage.base import Run, Runs, RunsWanted
from lambent.wire.oneshot import JobCall, JobResult
from tests.support.patience import PATIENT_S
from tests.unit.jobs.running import PROJECT, House, checkpoints, commits, job, slowly

NOTHING = job(lambda *_: JobResult())
FINAL = ("succeeded", "failed", "cancelled")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


class Gate:
    """A job that commits until it is asked to leave, or ends once the gate is open."""

    def __init__(self) -> None:
        self.is_open = False
        self.began: list[str] = []
        self.going = self.most = 0
        self.fails = False

    def program(self) -> Program:
        return slowly(self._work)

    async def _work(self, call: JobCall, _: Scene) -> JobResult:
        self.began.append(call.run)
        self.going += 1
        self.most = max(self.most, self.going)
        try:
            return await self._goes_on(call)
        finally:
            self.going -= 1

    async def _goes_on(self, call: JobCall) -> JobResult:
        kept = checkpoints(call)
        step = kept.restore() or 0
        while not self.is_open:
            step += 1
            if not commits(kept, step, step):
                return JobResult(yielded=True)
            await asyncio.sleep(0.001)
        if self.fails:
            raise ValueError("it broke")
        return JobResult({"from": float(step)})


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 4 * PATIENT_S))


def is_under_way(run: Run) -> bool:
    return run.step >= 0


def test_a_job_has_no_more_runs_at_once_than_it_may(house: House) -> None:
    gate = Gate()

    async def story() -> None:
        house.deploy("fit", gate.program(), workers_max=2)
        async with house.opened() as runner:
            runs = [await house.start(runner) for _ in range(5)]
            await house.until(runner, runs[1], is_under_way)
            waiting = runner.now(runs[4])
            assert waiting.state == "queued"
            assert "2 runs of fit are under way" in waiting.reason
            gate.is_open = True
            assert {(await house.end_of(run)).state for run in runs} == {"succeeded"}

    play(story())
    assert gate.most == 2
    assert len(gate.began) == 5


def test_who_is_more_important_goes_first_and_the_lesser_one_makes_place(tmp_path: Path) -> None:
    house, gate = House(tmp_path, places=1), Gate()

    async def story() -> None:
        house.deploy("fit", gate.program(), grace_s=PATIENT_S)
        house.deploy("urgent", NOTHING, priority=5)
        async with house.opened() as runner:
            low = await house.start(runner)
            await house.until(runner, low, is_under_way)
            high = await house.start(runner, "urgent")
            assert (await house.end_of(high)).state == "succeeded"
            gate.is_open = True
            end = await house.end_of(low)
            assert (end.state, end.slices, end.attempts) == ("succeeded", 2, 0)

    play(story())
    house.store.close()


def test_a_run_starts_after_those_that_it_waits_for(house: House) -> None:
    gate = Gate()

    async def story() -> None:
        house.deploy("fit", gate.program())
        house.deploy("report", NOTHING)
        async with house.opened() as runner:
            first = await house.start(runner)
            second = await house.start(runner, "report", terms=RunTerms(after=(first.id,)))
            third = await house.start(runner, "report", terms=RunTerms(after=(first.id, second.id)))
            assert first.id in runner.now(second).reason
            gate.is_open = True
            ends = [await house.end_of(run) for run in (first, second, third)]
            assert {end.state for end in ends} == {"succeeded"}
            assert all(
                (later.started_unix_ms or 0) >= (before.ended_unix_ms or 0)
                for before, later in itertools.pairwise(ends)
            )
            late = await house.start(runner, "report", terms=RunTerms(after=(first.id,)))
            assert (await house.end_of(late)).state == "succeeded"
            with pytest.raises(NotFound):
                await runner.start(PROJECT, "report", {}, terms=RunTerms(after=("nobody",)))
            with pytest.raises(CallerFault, match="at most"):
                await runner.start(PROJECT, "report", {}, terms=RunTerms(after=(first.id,) * 101))

    play(story())


def test_what_waits_for_a_run_that_fails_fails_too_and_goes_on_once_that_was_retried(house: House) -> None:
    gate = Gate()

    async def story() -> None:
        house.deploy("fit", gate.program())
        house.deploy("report", NOTHING)
        async with house.opened() as runner:
            first = await house.start(runner)
            second = await house.start(runner, "report", terms=RunTerms(after=(first.id,)))
            third = await house.start(runner, "report", terms=RunTerms(after=(second.id,)))
            await house.until(runner, first, is_under_way)
            gate.fails = gate.is_open = True
            broken = [await house.end_of(run) for run in (first, second, third)]
            assert [end.exit for end in broken] == ["failed", "dependency_failed", "dependency_failed"]
            assert f"lambent retry {first.id}" in broken[1].reason
            for end in broken:
                await house.until(runner, end, lambda run: run.state == "failed")
            doomed = await house.start(runner, "report", terms=RunTerms(after=(first.id,)))
            assert (await house.end_of(doomed)).exit == "dependency_failed"
            with pytest.raises(Conflict, match="retry that one"):
                await runner.retry(PROJECT, second.id)
            gate.fails = False
            again = await runner.retry(PROJECT, first.id)
            assert again.state == "queued"
            ends = [await house.until(runner, run, lambda run: run.state in FINAL) for run in broken]
            assert [end.state for end in ends] == ["succeeded"] * 3
            assert ends[0].metrics["from"] >= broken[0].step  # not from its beginning
            with pytest.raises(Conflict, match="succeeded"):
                await runner.retry(PROJECT, first.id)

    play(story())


def test_a_run_is_cancelled_where_it_waits_and_where_it_runs(house: House) -> None:
    gate = Gate()

    async def story() -> None:
        house.deploy("fit", gate.program(), workers_max=1, grace_s=PATIENT_S)
        async with house.opened() as runner:
            running, waiting = [await house.start(runner) for _ in range(2)]
            await house.until(runner, running, is_under_way)
            assert (await runner.cancel(PROJECT, waiting.id)).state == "cancelled"
            await runner.cancel(PROJECT, running.id)
            end = await house.end_of(running)
            assert (end.state, end.exit) == ("cancelled", "cancelled")
            await house.until(runner, running, lambda run: run.state == "cancelled")
            assert (await runner.cancel(PROJECT, running.id)).state == "cancelled"
            for project, run in (("other", running.id), (PROJECT, "nobody")):
                with pytest.raises(NotFound):
                    await runner.cancel(project, run)
            gate.is_open = True
            await runner.retry(PROJECT, running.id)
            again = await house.until(runner, running, lambda run: run.state == "succeeded")
            assert again.metrics["from"] >= end.step
            with pytest.raises(Conflict):
                await runner.cancel(PROJECT, running.id)

    play(story())
    assert len(gate.began) == 2


def test_what_does_not_leave_when_it_is_cancelled_is_killed(house: House) -> None:
    begun = asyncio.Event()

    async def hangs(_: bytes, __: Scene) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")

    async def story() -> None:
        house.deploy("fit", Program(run=hangs), grace_s=0.01)
        async with house.opened() as runner:
            run = await house.start(runner)
            await begun.wait()
            await runner.cancel(PROJECT, run.id)
            assert (await house.end_of(run)).state == "cancelled"

    play(story())


def test_runs_outlive_a_server_that_is_killed_wherever_they_are(house: House) -> None:
    gate = Gate()

    async def story() -> None:
        house.deploy("fit", gate.program(), workers_max=1)
        house.deploy("report", NOTHING)
        async with house.opened() as runner:
            going, queued = [await house.start(runner) for _ in range(2)]
            waiting = await house.start(runner, "report", terms=RunTerms(after=(queued.id,)))
            seen = await house.until(runner, going, is_under_way)
        gate.is_open = True
        async with house.opened() as runner:
            ends = [
                await house.until(runner, run, lambda run: run.state in FINAL)
                for run in (going, queued, waiting)
            ]
        assert [end.state for end in ends] == ["succeeded"] * 3
        assert (ends[0].slices, ends[0].attempts) == (2, 0)
        assert ends[0].metrics["from"] >= seen.step

    play(story())


def test_a_server_that_stops_lets_runs_leave_and_the_next_one_takes_them_up(house: House) -> None:
    gate = Gate()

    async def story() -> None:
        house.deploy("fit", gate.program(), grace_s=PATIENT_S)
        async with house.opened() as runner:
            run = await house.start(runner)
            await house.until(runner, run, is_under_way)
            runner.pause()
            await runner.settle(PATIENT_S)
            late = await house.start(runner)  # accepted, and started by the next server
            left = await house.until(runner, run, lambda run: run.state == "queued")
            assert (left.slices, left.attempts) == (1, 0)
            assert len(gate.began) == 1
        gate.is_open = True
        async with house.opened() as runner:
            for one in (run, late):
                end = await house.until(runner, one, lambda run: run.state in FINAL)
                assert end.state == "succeeded"

    play(story())


def test_who_was_told_that_a_run_is_cancelled_is_held_to_it_by_the_next_server(house: House) -> None:
    async def story() -> None:
        house.deploy("fit", Gate().program(), grace_s=PATIENT_S)
        async with house.opened() as runner:
            run = await house.start(runner)
            await house.until(runner, run, is_under_way)
            runner.pause()
            await runner.settle(PATIENT_S)
            stored = await house.stored(run, "queued")
        house.store.runs.put(msgspec.structs.replace(stored, end_asked="cancelled"))
        async with house.opened() as runner:
            assert (await house.until(runner, run, lambda run: run.state in FINAL)).state == "cancelled"

    play(story())


def test_a_run_keeps_the_code_that_it_was_started_with_and_a_retry_takes_the_new_one(house: House) -> None:
    old, new = Gate(), Gate()

    async def story() -> None:
        house.deploy("fit", old.program(), "r1", grace_s=PATIENT_S)
        async with house.opened() as runner:
            run = await house.start(runner)
            await house.until(runner, run, is_under_way)
            runner.pause()
            await runner.settle(PATIENT_S)
        house.deploy("fit", new.program(), "r2")
        old.fails = old.is_open = new.is_open = True
        async with house.opened() as runner:
            assert (await house.until(runner, run, lambda run: run.state in FINAL)).state == "failed"
            assert new.began == []
            await runner.retry(PROJECT, run.id)
            assert (await house.until(runner, run, lambda run: run.state in FINAL)).state == "succeeded"
            assert new.began == [run.id]

    play(story())


def test_a_run_whose_job_is_removed_says_so(house: House) -> None:
    async def story() -> None:
        house.deploy("fit", Gate().program(), grace_s=PATIENT_S)
        async with house.opened() as runner:
            run = await house.start(runner)
            runner.pause()
            await runner.settle(PATIENT_S)
        house.routes.remove(PROJECT, "fit")
        house.pinned.clear()
        async with house.opened() as runner:
            end = await house.until(runner, run, lambda run: run.state in FINAL)
            assert (end.state, end.exit) == ("failed", "removed")

    play(story())


def test_a_start_with_a_key_is_one_run_however_often_it_is_asked_for(house: House) -> None:
    async def story() -> None:
        house.deploy("fit", NOTHING)
        async with house.opened() as runner:
            runs = [await runner.start(PROJECT, "fit", {}, terms=RunTerms(key="3:00")) for _ in range(3)]
            await house.until(runner, runs[0], lambda run: run.state in FINAL)
            again = await runner.start(PROJECT, "fit", {}, terms=RunTerms(key="3:00"))
            other = await runner.start(PROJECT, "fit", {}, terms=RunTerms(key="4:00"))
        assert {run.id for run in (*runs, again)} == {runs[0].id}
        assert other.id != again.id
        assert len(house.store.runs.all(PROJECT, RunsWanted())) == 2

    play(story())


class Counted:
    """A store of runs that counts its transactions."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.transactions = 0

    def put_all(self, runs: Sequence[Run]) -> None:
        self.transactions += 1
        self._runs.put_all(runs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runs, name)


def test_many_runs_share_their_transactions(house: House) -> None:
    counted = Counted(house.store.runs)
    house.store.runs = counted  # type: ignore[assignment]  # it has all that is asked of it

    async def story() -> None:
        house.deploy("fit", NOTHING, workers_max=50)
        async with house.opened() as runner:
            async with asyncio.timeout(PATIENT_S):
                runs = await asyncio.gather(*(house.start(runner) for _ in range(100)))
                for run in runs:
                    await house.end_of(run)

    play(story())
    assert counted.transactions < 150  # and not three for each


def test_there_are_no_more_runs_than_can_be_looked_after(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LIVE_MAX", 2)

    async def story() -> None:
        house.deploy("fit", Gate().program())
        async with house.opened() as opened:
            for _ in range(2):
                await house.start(opened)
            with pytest.raises(QueueFull):
                await house.start(opened)

    play(story())


def test_of_the_runs_that_failed_the_newest_can_be_retried(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "KEPT_MAX", 2)

    def work(call: JobCall, _: Scene) -> JobResult:
        checkpoints(call).commit("state", 1)
        raise ValueError("it broke")

    async def story() -> None:
        house.deploy("fit", job(work), retries=0)
        async with house.opened() as opened:
            for _ in range(4):
                await house.end_of(await house.start(opened))
        assert len(list((house.folder / "runs").iterdir())) == 2

    play(story())
