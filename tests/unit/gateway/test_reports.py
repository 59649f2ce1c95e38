"""What AWS writes around each call into a function's log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from lambent.core.invocation import Called, FunctionError, Status, Timing
from lambent.gateway.reports import FLUSH_S, Reports
from lambent.pool.member import Lease
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import ManualClock, run
from tests.unit.gateway.asgi import outcome

PLAN = RevisionPlan(revision="r", deployment="hello", project="p", number=3, runtime=Runtime.HANDLER)
CALLED = Called("arn:aws:lambda:us-east-1:000000000000:function:hello", "$LATEST")


class Kept:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.flushes = 0

    def say(self, plan: RevisionPlan, worker_id: str, lines: Sequence[str]) -> None:
        assert (plan.deployment, worker_id) == ("hello", "w-1")
        self.lines += lines

    def flush(self) -> None:
        self.flushes += 1


def lease() -> Lease:
    """As much of one as is looked at."""
    worker = SimpleNamespace(worker_id="w-1", printed=lambda: b"")
    return cast(Lease, SimpleNamespace(plan=PLAN, member=SimpleNamespace(worker=worker)))


def told(called: Called = CALLED, **changes: Any) -> tuple[list[str], int]:
    kept = Kept()

    async def story() -> None:
        reports = Reports(kept, ManualClock())
        for _ in range(2):
            reports.began(lease(), "id", called)
            reports.ended(lease(), "id", outcome(**changes))
        await asyncio.sleep(FLUSH_S * 3)

    run(story())
    return kept.lines[: len(kept.lines) // 2], kept.flushes


REPORT = (
    "REPORT RequestId: id\tDuration: 1.50 ms\tBilled Duration: 2 ms\t"
    "Memory Size: 128 MB\tMax Memory Used: 30 MB\t"
)


def test_a_call_has_a_start_an_end_and_a_report_that_are_written_together() -> None:
    assert told() == (["START RequestId: id Version: $LATEST", "END RequestId: id", REPORT], 1)


def test_an_alias_is_told_as_what_it_stood_for() -> None:
    lines, _ = told(Called(f"{CALLED.arn}:live", ""))
    assert lines[0] == "START RequestId: id Version: 3"


def test_a_wake_is_reported() -> None:
    lines, _ = told(timing=Timing(run_ms=1.5, wake_ms={"fork": 1.0, "load": 2.25}))
    assert lines[-1] == f"{REPORT}Init Duration: 3.25 ms\t"


def test_a_call_that_takes_too_long_says_when_it_ended() -> None:
    error = FunctionError("RequestId: id Error: Task timed out after 1.00 seconds", "Sandbox.Timedout")
    lines, _ = told(status=Status.TIMED_OUT, error=error)
    assert lines[1:3] == ["2023-11-14T22:13:20.000Z id Task timed out after 1.00 seconds", ""]
    assert lines[-1] == f"{REPORT}Status: timeout\t"


def test_a_process_that_ends_says_how() -> None:
    error = FunctionError("RequestId: id Error: Runtime exited", "Runtime.ExitError")
    lines, _ = told(status=Status.EXITED, error=error)
    assert lines[1:3] == ["RequestId: id Error: Runtime exited", "Runtime.ExitError"]
    assert lines[-1] == f"{REPORT}Status: error\tError Type: Runtime.ExitError\t"


def test_a_process_that_has_said_how_it_ends_is_not_quoted_again() -> None:
    error = FunctionError("RequestId: id Error: Runtime exited", "Runtime.ExitError", "id")
    lines, _ = told(status=Status.EXITED, error=error)
    assert lines[1] == "END RequestId: id"


def test_one_of_many_that_ran_together_has_its_own_lines() -> None:
    kept = Kept()

    async def story() -> None:
        Reports(kept, ManualClock()).ran(lease(), "id", CALLED, outcome())

    run(story())
    assert kept.lines == ["START RequestId: id Version: $LATEST", "END RequestId: id", REPORT]
