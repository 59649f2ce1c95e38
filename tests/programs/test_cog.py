"""Cog's own server, unmodified, as a command: predictors, streams of output, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.compatibility import note
from tests.support.programs import environment
from tests.support.server import Reply, RunningServer, wait_until

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

PREDICT = """
import time
from cog import BasePredictor, Input

class Predictor(BasePredictor):
    def setup(self):
        time.sleep(0.5)
        self.greeting = "hello"

    def predict(self, name: str = Input(description="whom"), times: int = Input(default=1, ge=1)) -> str:
        if name == "nobody":
            raise ValueError("nobody is there")
        return " ".join([self.greeting, name] * times)
"""


@pytest.fixture(scope="module")
def cog(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    folder = tmp_path_factory.mktemp("predictors") / "greeter"
    folder.mkdir()
    (folder / "predict.py").write_text(PREDICT)
    # It starts `python` by its name, and listens before its predictor is set up.
    command = f"PATH={environment('cog')}/bin:$PATH python -m cog.server.http --host $HOST"
    server.deploy(
        folder, "--cmd", command, "--name", "greeter", "--set", "memory=1GiB", "--set", "concurrency=1",
        "--set", "ready_path=/health-check#READY", "--set", "env.COG_PREDICT_TYPE_STUB=predict.py:Predictor",
    )  # fmt: skip
    return server


def ask(server: RunningServer, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    """Its one slot is free a moment after its answer: until then it says 409, and is asked again."""
    replies: list[Reply] = []

    def is_taken() -> bool:
        sent = json.dumps(body).encode()
        replies.append(
            server.request(method, f"/invoke/greeter{path}", sent, Content_Type="application/json", **headers)
        )
        return replies[-1].status != 409

    wait_until(is_taken, "a slot")
    return replies[-1]


def test_it_is_asked_when_its_predictor_is_set_up(cog: RunningServer) -> None:
    answer = ask(cog, "POST", "/predictions", {"input": {"name": "Ann", "times": 2}})
    assert (answer.status, answer.json()["status"], answer.json()["output"]) == (
        200, "succeeded", "hello Ann hello Ann",
    )  # fmt: skip
    assert cog.request("GET", "/invoke/greeter/health-check").json()["status"] in ("READY", "BUSY")
    note("programs", "Cog: POST /predictions")


def test_a_prediction_has_an_id_of_its_askers_own(cog: RunningServer) -> None:
    answer = ask(cog, "PUT", "/predictions/mine", {"input": {"name": "Bo"}})
    assert (answer.status, answer.json()["id"], answer.json()["output"]) == (200, "mine", "hello Bo")
    note("programs", "Cog: PUT /predictions/{id}")


def test_a_prediction_may_be_accepted_and_run_later(cog: RunningServer) -> None:
    answer = ask(cog, "POST", "/predictions", {"input": {"name": "Cy"}}, Prefer="respond-async")
    assert answer.status == 202
    note("programs", "Cog: Prefer: respond-async")


def test_what_fails_is_told_in_its_words(cog: RunningServer) -> None:
    failed = ask(cog, "POST", "/predictions", {"input": {"name": "nobody"}})
    assert failed.json()["status"] == "failed"
    assert "nobody is there" in failed.json()["error"]
