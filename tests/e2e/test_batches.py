"""Batches through the front door: many callers at once, each answered as if it were alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import models
from tests.support.server import RunningServer

CALLERS = 64
ROUNDS = 6
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

# Each run waits for company the first time, so that there is some the second.
CODE = """
import time

class Slow:
    def load(self, model):
        self.sizes = []

    def predict(self, inputs):
        if inputs == "sizes":
            return {"sizes": self.sizes}
        self.sizes.append(len(inputs))
        time.sleep(0.05)
        return [{"double": 2 * row, "text": str(row)} for row in inputs]
"""


def ask(server: RunningServer, name: str, bodies: list[Any]) -> list[Any]:
    """What is said to each of them, all asked at once."""
    server.http.connection_pool_kw["maxsize"] = CALLERS
    with ThreadPoolExecutor(CALLERS) as pool:
        replies = [*pool.map(lambda body: server.invoke(name, body), bodies)]
    assert {reply.status for reply in replies} == {200}, [reply.body for reply in replies][:3]
    return [reply.json() for reply in replies]


def test_64_callers_of_digits_get_what_they_would_have_got_without_batches(
    server: RunningServer, tmp_path: Path
) -> None:
    model = models.linear(tmp_path / "digits.onnx", inputs=784, outputs=10)
    server.deploy(model, "--name", "together", "--set", "max_batch=64", "--set", "workers_max=1")
    server.deploy(model, "--name", "alone", "--set", "max_batch=1")
    random = np.random.default_rng(4)
    bodies = [[random.random(784).round(3).tolist()] for _ in range(CALLERS * ROUNDS)]
    together = ask(server, "together", bodies)
    for one, body in zip(together, bodies, strict=True):
        np.testing.assert_allclose(
            one["predictions"], server.invoke("alone", body).json()["predictions"], **TOLERANCE
        )


def test_a_class_with_max_batch_runs_calls_together_and_tells_each_its_own(
    server: RunningServer, write: Callable[[str, str], Path]
) -> None:
    code = write("slow.py", CODE)
    server.deploy(f"{code}:Slow", "--set", "max_batch=16", "--set", "workers_max=1")
    bodies = [[number, number + 1][: 1 + number % 2] for number in range(CALLERS * ROUNDS)]
    for body, said in zip(bodies, ask(server, "slow", bodies), strict=True):
        assert said == [{"double": 2 * row, "text": str(row)} for row in body]
    sizes = server.invoke("slow", "sizes").json()["sizes"]
    assert 2 < max(sizes) <= 16  # rows: calls bring one or two
    assert sum(sizes) == sum(map(len, bodies))


def test_a_model_file_batches_unless_told_otherwise_and_a_class_only_if_told(
    server: RunningServer, tmp_path: Path, write: Callable[[str, str], Path]
) -> None:
    server.deploy(models.linear(tmp_path / "plain.onnx"))
    server.deploy(f"{write('mine.py', CODE)}:Slow", "--name", "mine")
    for name, max_batch in (("plain", 64), ("mine", 1)):
        shown = json.loads(server.cli("show", name, "--json").stdout)
        assert f'"max_batch": {max_batch}' in json.dumps(shown)
