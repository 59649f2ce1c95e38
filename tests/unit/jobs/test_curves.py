"""Curves of runs are in memory at once and in files soon after, and go on where a server before had come."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from lambent.clock import SystemClock
from lambent.core.errors import StorageFull
from lambent.core.series import Batch, Points
from lambent.jobs.curves import Curves
from lambent.storage.run_records import RunRecords
from tests.support.patience import PATIENT_S


def batch(*steps: int, first: int = 0) -> Mapping[str, Batch]:
    return {
        "loss": Batch(first, 1, list(steps), [float(step) for step in steps], steps[-1], float(steps[-1]))
    }


def told(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENT_S):
            await story

    asyncio.run(bounded())


class Watched(RunRecords):
    """Says when curves are written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written = threading.Semaphore(0)
        self.full = False

    def put_curves(self, run: str, curves: Mapping[str, Points]) -> None:
        if self.full:
            self.written.release()
            raise StorageFull("no room")
        super().put_curves(run, curves)
        self.written.release()

    async def next(self) -> None:
        assert await asyncio.to_thread(self.written.acquire, timeout=PATIENT_S)


def test_what_is_said_is_there_at_once_and_soon_in_the_file(tmp_path: Path) -> None:
    records = Watched(tmp_path)

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            curves = Curves(records, SystemClock(), tasks)
            await curves.begin("run")
            curves.hear("run", batch(0, 1))
            assert (await curves.points("run"))["loss"].steps == [0, 1]
            await records.next()
            curves.hear("run", batch(2, first=2))
            await records.next()
            assert records.curves("run")["loss"].steps == [0, 1, 2]
            await curves.end("run")

    told(story())


def test_at_the_end_all_is_in_the_file_and_the_next_worker_goes_on(tmp_path: Path) -> None:
    records = Watched(tmp_path)

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            curves = Curves(records, SystemClock(), tasks)
            for steps in [(0, 1, 2, 3), (2, 3, 4, 5)]:
                await curves.begin("run")
                for number, step in enumerate(steps):
                    curves.hear("run", batch(step, first=number))
                await curves.end("run")
        again = Curves(records, SystemClock(), tasks)
        assert (await again.points("run"))["loss"].steps == [0, 1, 2, 3, 4, 5]

    told(story())


def test_a_full_disk_holds_nobody_up_and_is_tried_again(tmp_path: Path) -> None:
    records = Watched(tmp_path)
    records.full = True

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            curves = Curves(records, SystemClock(), tasks)
            await curves.begin("run")
            curves.hear("run", batch(0))
            await records.next()
            records.full = False
            await records.next()
            assert records.curves("run")["loss"].steps == [0]
            await curves.end("run")

    told(story())


def test_a_run_that_ends_on_a_full_disk_ends(tmp_path: Path) -> None:
    records = Watched(tmp_path)
    records.full = True

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            curves = Curves(records, SystemClock(), tasks)
            await curves.begin("run")
            curves.hear("run", batch(0))
            await curves.end("run")
            assert await curves.points("run") == {}

    told(story())


def test_damaged_curves_do_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    records = RunRecords(tmp_path)
    records.put_curves("run", {})
    (tmp_path / "run/curves").write_bytes(b"\xc1")

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            curves = Curves(records, SystemClock(), tasks)
            await curves.begin("run")
            curves.hear("run", batch(5))
            await curves.end("run")
        assert records.curves("run")["loss"].steps == [5]

    told(story())


def test_what_is_said_of_no_run_is_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            curves = Curves(RunRecords(tmp_path), SystemClock(), tasks)
            curves.hear("run", batch(5))
            await curves.begin("run")
            curves.hear("run", {})
            await curves.end("run")
            await curves.end("run")
            assert await curves.points("run") == {}

    told(story())
