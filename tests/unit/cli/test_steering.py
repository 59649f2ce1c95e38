"""`cancel` and `retry`, and what `run` says of when a run starts."""

from __future__ import annotations

import json

import msgspec

from lambent.wire.api import AsyncReply, Problem
from lambent.wire.runs import RunRequest
from tests.support.fake_control import FakeControl, json_told, problem_told
from tests.unit.cli.conftest import Lambent
from tests.unit.cli.views import run_view

LISTED = [run_view("running", run="run-10"), run_view("failed", run="run-20")]


def test_a_run_is_cancelled_by_the_beginning_of_its_id(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/runs", json_told(LISTED))
    control.tell("POST", "/api/v1/runs/run-10/cancel", json_told(run_view("running", run="run-10")))
    assert lambent("cancel", "run-1").out == "running, and asked to end\n"
    control.tell("POST", "/api/v1/runs/run-10/cancel", json_told(run_view("cancelled", run="run-10")))
    assert lambent("cancel", "run-10").out == "cancelled\n"
    assert json.loads(lambent("cancel", "run-10", "--json").out)["state"] == "cancelled"


def test_what_is_no_run_is_cancelled_as_an_invocation(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/runs", json_told(LISTED))
    control.tell("GET", "/api/v1/runs/i-1", problem_told(Problem("there is none", 404, "not_found")))
    ended = AsyncReply(id="i-1", deployment="hello", state="cancelled", attempts=0)
    control.tell("DELETE", "/invocations/i-1", json_told(ended))
    assert lambent("cancel", "i-1").out == "cancelled\n"


def test_a_failed_run_is_retried(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/runs", json_told(LISTED))
    control.tell("POST", "/api/v1/runs/run-20/retry", json_told(run_view("queued", run="run-20")))
    assert lambent("retry", "run-2").out == "run-20  queued\n"
    assert control.asked[-1].body == b'{"max_cost_usd":null}'
    assert lambent("retry", "run-2", "--max-cost", "2.5").code == 0
    assert control.asked[-1].body == b'{"max_cost_usd":2.5}'


def test_a_run_may_start_after_others(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/runs", json_told(LISTED))
    control.tell("POST", "/api/v1/runs", json_told(run_view("queued"), 202))
    words = ("--after", "run-1", "--after", "run-2", "--priority", "5", "--detach")
    assert lambent("run", "digits-fit", *words).out == "run-1  queued\n"
    asked = msgspec.json.decode(control.asked[-1].body, type=RunRequest)
    assert asked == RunRequest("digits-fit", after=("run-10", "run-20"), priority=5)
