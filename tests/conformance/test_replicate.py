"""Replicate's own client runs what is deployed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.compatibility import note
from tests.support.patience import PATIENT_S
from tests.support.programs import environment
from tests.support.receiver import Receiver
from tests.support.server import RunningServer, wait_until

CODE = """
import time

import lambent

app = lambent.App("predictors")

@app.function()
def greet(event, context):
    if event.get("fail"):
        raise ValueError("no such name")
    return f"hello {event['name']}"

@app.function()
def count(event, context):
    for number in range(event["to"]):
        yield str(number)

@app.function()
def sleep(event, context):
    time.sleep(event["s"])
    return "late"
"""
PREDICT = """
from cog import BasePredictor, Input

class Predictor(BasePredictor):
    def predict(self, name: str = Input(), times: int = Input(default=1, ge=1)) -> list[str]:
        print("greeting", name)
        if name == "nobody":
            raise ValueError("nobody is there")
        return [f"hello {name}"] * times
"""
COG = """
import json, sys
import replicate
from replicate.exceptions import ModelError

url, key = sys.argv[1:]
client = replicate.Client(base_url=url, api_token=key)
client.poll_interval = 0.05
told = {"run": client.run("me/greeter", input={"name": "Ann", "times": 2})}
several = [client.predictions.create(model="me/greeter", input={"name": str(n)}) for n in range(3)]
for one in several:
    one.wait()
told["several"] = [one.output for one in several]
told["logs"] = several[0].logs
try:
    client.run("me/greeter", input={"name": "nobody"})
except ModelError as error:
    told["nobody"] = [error.prediction.status, str(error)]
print(json.dumps(told))
"""
VALIDATE = """
import json, sys
from replicate.webhook import Webhooks, WebhookSigningSecret

secret, headers, body = sys.argv[1:]
key = WebhookSigningSecret(key=secret)
Webhooks.validate(headers=json.loads(headers), body=body, secret=key, tolerance=600)
"""
PROGRAM = """
import json, sys, time
import replicate
from replicate.exceptions import ModelError, ReplicateError

url, key, hook = sys.argv[1:]
client = replicate.Client(base_url=url, api_token=key)
client.poll_interval = 0.05
told = {}

def failing(run):
    try:
        return run()
    except ModelError as error:
        return ["model", str(error), error.prediction.status]
    except ReplicateError as error:
        return ["api", error.status, error.detail]

told["run"] = client.run("me/greet", input={"name": "you"})
told["stream"] = client.run("me/count", input={"to": 3})
told["failed"] = failing(lambda: client.run("me/greet", input={"fail": True}))
made = client.predictions.create(model="me/greet", input={"name": "later"})
told["created"] = [made.status in ("starting", "processing", "succeeded"), made.model, made.input]
made.wait()
told["waited"] = [made.status, made.output, made.input, made.completed_at is not None]
version = made.version
told["version"] = client.run(f"me/greet:{version}", input={"name": "exactly"})
told["by_version"] = client.predictions.create(version=version, input={"name": "v"}, wait=True).output
told["deployment"] = client.deployments.predictions.create("me/greet", input={"name": "d"}, wait=5).output
slow = client.models.predictions.create("me/sleep", input={"s": 600}, wait=1)
told["held"] = slow.status
slow.cancel()
told["cancelled"] = [slow.status, client.predictions.get(slow.id).status]
told["again"] = failing(lambda: client.predictions.cancel(slow.id).status)
client.predictions.create(model="me/greet", input={"name": "hook"}, webhook=hook,
                          webhook_events_filter=["completed"])
told["secret"] = client.webhooks.default.secret().key
told["errors"] = [
    failing(lambda: client.run("me/nobody", input={})),
    failing(lambda: client.predictions.create(version="0" * 64, input={})),
    failing(lambda: client.predictions.get("nothing")),
    failing(lambda: client.predictions.create(model="me/greet", input={}, webhook="ftp://nowhere")),
    failing(lambda: replicate.Client(base_url=url, api_token="wrong").run("me/greet", input={})),
]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("state")).start()
    code = tmp_path_factory.mktemp("code") / "app.py"
    code.write_text(CODE)
    try:
        running.deploy(code)
        yield running
    finally:
        status = running.stop()
    assert status == 0, running.log()


@pytest.mark.programs
def test_replicates_client_runs_waits_cancels_and_hears_of_the_end(server: RunningServer) -> None:
    python = environment("replicate") / "bin" / "python"
    with Receiver() as receiver:
        words = [python, "-c", PROGRAM, server.url, server.about["api_key"], receiver.url]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENT_S, check=False)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        wait_until(lambda: bool(receiver.arrived), "the webhook")
        (message,) = receiver.arrived
    assert told["run"] == "hello you"
    assert told["stream"] == "012"
    assert told["failed"] == ["model", "no such name", "failed"]
    assert told["created"] == [True, "me/greet", {"name": "later"}]
    assert told["waited"] == ["succeeded", "hello later", {"name": "later"}, True]
    assert told["version"] == "hello exactly"
    assert told["by_version"] == "hello v"
    assert told["deployment"] == "hello d"
    assert told["held"] == "starting"
    assert told["cancelled"] == ["canceled", "canceled"]
    assert told["again"] == "canceled"
    assert [error[:2] for error in told["errors"]] == [
        ["api", 404], ["api", 422], ["api", 404], ["api", 422], ["api", 401],
    ]  # fmt: skip
    validated = subprocess.run(
        [python, "-c", VALIDATE, told["secret"], json.dumps(message.headers), message.body.decode()],
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        check=False,
    )
    assert (validated.returncode, validated.stderr) == (0, "")
    for operation in (
        "GET /v1/webhooks/default/secret",
        "POST /v1/predictions",
        "POST /v1/models/{owner}/{name}/predictions",
        "POST /v1/deployments/{owner}/{name}/predictions",
        "GET /v1/predictions/{id}",
        "POST /v1/predictions/{id}/cancel",
        "Prefer: wait",
        "webhook (completed)",
        "GET /v1/models/{owner}/{name}/versions/{version}",
    ):
        note("replicate", operation)
    said = json.loads(message.body)
    assert (said["status"], said["output"], said["input"]) == ("succeeded", "hello hook", {"name": "hook"})


@pytest.mark.programs
def test_replicates_client_runs_a_cog_predictor_that_nobody_changed(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "predict.py").write_text(PREDICT)
    command = f"PATH={environment('cog')}/bin:$PATH python -m cog.server.http --host $HOST"
    server.deploy(
        tmp_path, "--cmd", command, "--name", "greeter", "--set", "memory=1GiB", "--set", "concurrency=1",
        "--set", "ready_path=/health-check#READY", "--set", "env.COG_PREDICT_TYPE_STUB=predict.py:Predictor",
    )  # fmt: skip
    words = [
        environment("replicate") / "bin" / "python", "-c", COG, server.url, server.about["api_key"]
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENT_S, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["run"] == ["hello Ann", "hello Ann"]
    assert told["several"] == [[f"hello {number}"] for number in range(3)]
    assert "greeting 0" in told["logs"]
    assert told["nobody"][0] == "failed"
    assert "nobody is there" in told["nobody"][1]
