"""Calls of V1 and calls of our own run in one batch, and each is answered in its own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lambent.clock import SystemClock
from lambent.core.invocation import JSON
from lambent.runtimes import logs
from lambent.runtimes.able import Able
from lambent.runtimes.base import Loading, Reply, Request
from lambent.runtimes.faults import Fault
from lambent.runtimes.model import Model, load
from lambent.runtimes.predict_v1.answers import OfClass, taught
from lambent.wire.frames import Call
from lambent.wire.predict_v1 import Asked, Key, Verb, content_type_of
from lambent.wire.process import RevisionPlan, Runtime
from tests.support import models


class Half:
    def predict(self, rows: list[float]) -> list[float]:
        return [row / 2 for row in rows]

    def explain(self, rows: list[float]) -> list[str]:
        return [str(row) for row in rows]


def of_class(instance: Any) -> Model:
    able = taught(Able(instance.predict, lambda: None), OfClass(instance))
    return Model(able, logs.install(), max_batch=16)


def ask(body: Any, asked: Asked | None = None) -> Request:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(Call(1, "id", 1e4, content_type_of(asked) if asked else JSON), sent)


def plan(folder: Path) -> RevisionPlan:
    return RevisionPlan(
        revision="r", deployment="m", project="p", number=1, runtime=Runtime.MODEL,
        model_dir=str(folder), max_batch=16,
    )  # fmt: skip


def told(reply: Reply | BaseException) -> Any:
    return json.loads(bytes(reply.body)) if isinstance(reply, Reply) else reply


LINE: Any = None  # nothing streams here
ROWS = Asked(Verb.PREDICT, Key.INSTANCES)


def test_a_batch_of_a_class_has_calls_of_both_kinds() -> None:
    model = of_class(Half())
    calls = [
        ask([2]),
        ask([4, 6], ROWS),
        ask([8], Asked(Verb.PREDICT, Key.INPUTS)),
        ask([1], Asked(Verb.EXPLAIN, Key.INSTANCES)),
        ask({"inputs": [10]}, Asked(Verb.PREDICT, Key.WHOLE)),
        ask([1], Asked(Verb.REGRESS, Key.EXAMPLES)),
    ]
    *answers, refused = [told(one) for one in model.together(calls)]
    assert answers == [
        [1.0], {"predictions": [2.0, 3.0]}, {"outputs": [4.0]}, {"explanations": ["1"]}, {"outputs": [5.0]},
    ]  # fmt: skip
    assert isinstance(refused, Fault)
    assert refused.status == 400
    assert [told(one) for one in model.together(calls[:3])] == answers[:3]


def test_a_batch_of_a_file_has_calls_of_both_kinds(tmp_path: Path) -> None:
    models.linear(tmp_path / "linear.onnx", inputs=2, outputs=2)
    model: Any = load(plan(tmp_path), Loading(SystemClock()))
    calls = [
        ask({"instances": [[1, 2]]}),
        ask([[1, 2]], ROWS),
        ask({"x": [[1, 2]]}, Asked(Verb.PREDICT, Key.INPUTS)),
        ask([{"x": [1, 2]}], Asked(Verb.CLASSIFY, Key.EXAMPLES)),
        ask([[1, 2, 3]], ROWS),
    ]
    *answers, refused = [told(one) for one in model.together(calls)]
    rows = {"predictions": [[1.0, 4.0]]}
    assert answers == [rows, rows, {"outputs": [[1.0, 4.0]]}, {"results": [[["", 1.0], ["", 4.0]]]}]
    assert isinstance(refused, Fault)
    assert refused.status == 400


@pytest.mark.parametrize(
    ("verb", "result", "answer"),
    [
        pytest.param("classify", [{"a": 0.5}], [[["a", 0.5]]], id="labels by name"),
        pytest.param("classify", [[("a", 1)]], [[["a", 1.0]]], id="pairs"),
        pytest.param("classify", ["a"], [[["a", 0.0]]], id="a label alone"),
        pytest.param("classify", {"classes": ["a"], "scores": [0.5]}, [[["a", 0.5]]], id="columns"),
        pytest.param("classify", {"results": [1]}, [1], id="as it is"),
        pytest.param("regress", [[1], 2], [1.0, 2.0], id="numbers"),
    ],
)
def test_what_a_class_returns_is_read_as_results(verb: str, result: Any, answer: Any) -> None:
    says = type("Says", (), {"predict": None, verb: lambda self, rows: result})()
    model = Model(taught(Able(len, dict), OfClass(says)), logs.install())
    assert told(model(ask([{}], Asked(Verb(verb), Key.EXAMPLES)), LINE)) == {"results": answer}
