"""Batches in a real worker: user code runs once for all, and what ends one of them ends no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lambent.core.invocation import FunctionError, Status
from lambent.runtimes.base import Reply, Request
from lambent.wire.frames import Call
from lambent.wire.process import Runtime
from lambent.worker.loop import Verdict, held_to
from tests.support import models
from tests.support.batch_frames import together
from tests.support.templates import Environment, Worker
from tests.support.user_code import PlanOf

CODE = """
import asyncio

class Sync:
    def load(self, model):
        self.rows = []

    def predict(self, inputs):
        if inputs == "runs":
            return {"runs": self.rows}
        self.rows.append(len(inputs))
        if any(row < 0 for row in inputs):
            raise ValueError("negative")
        return [{"double": 2 * row} for row in inputs]

class Async(Sync):
    async def predict(self, inputs):
        loop = asyncio.get_running_loop()
        self.loop = getattr(self, "loop", loop)
        assert loop is self.loop, "every run is on the loop of the one before"
        await asyncio.sleep(0)
        return Sync.predict(self, inputs)

class Classifier:
    def predict(self, inputs):
        return {"class": inputs[0]}

class Whatever:
    def predict(self, inputs):
        return inputs

class Leaver:
    def predict(self, inputs):
        raise SystemExit(3)
"""


def serving(environment: Environment, plan_of: PlanOf, name: str) -> Worker:
    return environment.fork_worker(plan_of(CODE, f"app:{name}", runtime=Runtime.MODEL, max_batch=64))


@pytest.mark.parametrize("name", ["Sync", "Async"])
def test_code_runs_once_for_all_after_the_first_and_each_gets_its_own(
    environment: Environment, plan_of: PlanOf, name: str
) -> None:
    worker = serving(environment, plan_of, name)
    for _ in range(2):
        ends = together(worker, [[1], [2, 3], [4], [5]])
        assert ends == [[{"double": 2 * row} for row in rows] for rows in ([1], [2, 3], [4], [5])]
    assert worker.value("runs") == {"runs": [1, 4, 5]}


def test_one_that_is_bad_fails_alone_with_its_own_error(environment: Environment, plan_of: PlanOf) -> None:
    worker = serving(environment, plan_of, "Sync")
    together(worker, [[1], [2]])
    ends = together(worker, [[1], [-1], b"{no json", [4]])
    assert [ends[0], ends[3]] == [[{"double": 2}], [{"double": 8}]]
    errors: list[FunctionError] = ends[1:3]
    assert [error.error_type for error in errors] == ["ValueError", "Runtime.UnmarshalError"]
    assert [error.request_id for error in errors] == ["call-1", "call-2"]


def test_a_result_for_all_is_told_to_nobody_but_the_one_whose_it_is(
    environment: Environment, plan_of: PlanOf
) -> None:
    worker = serving(environment, plan_of, "Classifier")
    for _ in range(3):
        assert together(worker, [[1], [2], [3]]) == [{"class": 1}, {"class": 2}, {"class": 3}]


@pytest.mark.parametrize(
    ("content_type", "bodies", "said"),
    [
        ("application/octet-stream", [b"ab", b"\xff", b""], [b"ab", b"\xff", b""]),
        ("text/plain", [b"one", b"two"], ["one", "two"]),
    ],
)
def test_bodies_without_rows_go_in_and_out_each_by_itself(
    environment: Environment, plan_of: PlanOf, content_type: str, bodies: list[bytes], said: list[Any]
) -> None:
    worker = serving(environment, plan_of, "Whatever")
    assert together(worker, bodies, content_type=content_type) == said


def test_code_that_leaves_ends_all_of_its_batch_clearly_and_its_worker(
    environment: Environment, plan_of: PlanOf
) -> None:
    worker = serving(environment, plan_of, "Leaver")
    errors: list[FunctionError] = together(worker, [[1], [2]])
    assert [error.request_id for error in errors] == ["call-0", "call-1"]


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_model_file_answers_a_batch_as_it_answers_each(
    environment: Environment, plan_of: PlanOf, tmp_path: Path, batch: str | int
) -> None:
    (tmp_path / "model").mkdir()
    models.linear(tmp_path / "model" / "linear.onnx", batch=batch)
    plan = plan_of(
        "", "", runtime=Runtime.MODEL, adapter="onnx", max_batch=64, model_dir=str(tmp_path / "model")
    )
    worker = environment.fork_worker(plan)
    bodies: list[Any] = [
        {"instances": [[1, 2, 3, 4]]},
        {"inputs": [[0, 0, 0, 1]]},
        [[4, 3, 2, 1]],
        {"inputs": {"x": [[1, 1, 2, 2]]}},
        {"inputs": [1, 0, 2, 5]},
    ]
    alone = [worker.value(body) for body in bodies]
    for _ in range(2):
        assert together(worker, bodies) == alone


def test_results_that_do_not_fit_into_one_frame_are_errors_and_the_others_are_told() -> None:
    bodies = [b"a" * 60, b"b" * 60, b"c" * 30]
    requests = [Request(Call(1, f"call-{place}", 1e3), bytearray()) for place in range(3)]
    verdicts = [Verdict(Status.OK, Reply(body)) for body in bodies]
    held = held_to(verdicts, requests, bytes_max=100)
    assert [verdict.status for verdict in held] == [Status.OK, Status.FAILED, Status.FAILED]
    assert b"Function.ResponseSizeTooLarge" in held[1].reply.body
    assert held_to(verdicts, requests, bytes_max=150) == verdicts
