"""RunPod's own worker loop runs as a deployment, and its own client runs it, and everything else."""

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

WORKER = """
import asyncio
import runpod

async def handler(job):
    asked = job["input"]
    if asked.get("fail") == "raise":
        raise ValueError("no such name")
    if asked.get("fail") == "say":
        return {"error": "it says so"}
    if "sleep_s" in asked:
        await asyncio.sleep(asked["sleep_s"])
    return {"greeting": f"hello {asked['name']}", "id": job["id"]}

runpod.serverless.start({"handler": handler})
"""
GENERATOR = """
import runpod

def handler(job):
    for number in range(job["input"]["to"]):
        yield {"number": number}

runpod.serverless.start({"handler": handler})
"""
NATIVE = """
def handler(event, context):
    return {"plain": event["name"]}
"""
PROGRAM = """
import json, sys, time
import requests
import runpod

key, hook = sys.argv[1:]
runpod.api_key = key
told = {}

def failing(run):
    try:
        return run()
    except requests.HTTPError as error:
        return [error.response.status_code, "error" in error.response.json()]
    except RuntimeError as error:
        return ["runtime", "401" in str(error) or "Unauthorized" in str(error)]

greet = runpod.Endpoint("greet")
told["sync"] = greet.run_sync({"input": {"name": "you"}})
told["plain"] = runpod.Endpoint("plain").run_sync({"name": "me"})
job = greet.run({"name": "later"})
told["output"] = job.output(timeout=60)
told["status"] = job.status()
for how in ("raise", "say"):
    failed = greet.run({"fail": how})
    failed.output(timeout=60)
    told[how] = [failed.status(), greet.rp_client.get(f"greet/status/{failed.job_id}")["error"]]
count = runpod.Endpoint("count")
told["counted"] = count.run_sync({"to": 3})
told["stream"] = list(count.run({"to": 2}).stream())
slow = greet.run({"name": "never", "sleep_s": 600})
while slow.status() != "IN_PROGRESS":
    time.sleep(0.05)
time.sleep(0.3)  # until its worker has it in hand
told["cancelled"] = [slow.cancel()["status"], slow.status()]
told["next"] = greet.run_sync({"input": {"name": "after"}})["greeting"]
health = greet.health()
told["health"] = sorted(health), sorted(health["jobs"]), sorted(health["workers"])
greet.run({"input": {"name": "hook"}, "webhook": hook})
told["errors"] = [
    failing(lambda: runpod.Endpoint("nobody").run({"a": 1})),
    failing(lambda: greet.rp_client.get("greet/status/nothing")),
    failing(lambda: greet.rp_client.post("greet/run", {"no": "input"})),
    failing(lambda: greet.rp_client.post("greet/run", {"input": {}, "webhook": "ftp://nowhere"})),
    failing(lambda: greet.rp_client.get("greet/run")),
    failing(lambda: runpod.Endpoint("greet", api_key="wrong").health()),
]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("state")).start()
    try:
        for name, code in (("greet", WORKER), ("count", GENERATOR)):
            deploy(running, tmp_path_factory.mktemp(name), name, code)
        native = tmp_path_factory.mktemp("native") / "plain.py"
        native.write_text(NATIVE)
        running.deploy(f"{native}:handler", "--name", "plain")
        yield running
    finally:
        status = running.stop()
    assert status == 0, running.log()


def deploy(server: RunningServer, folder: Path, name: str, code: str) -> None:
    """As a user would, with the interpreter that has the package."""
    python = environment("runpod") / "bin" / "python"
    (folder / "handler.py").write_text(code)
    told = ("--set", "runtime=runpod", "--set", "ready_timeout_s=270")
    server.deploy(folder, "--name", name, "--cmd", f"{python} -u handler.py", *told)


@pytest.mark.programs
def test_runpods_client_runs_runpods_worker_and_a_function_of_ours(
    server: RunningServer, tmp_path: Path
) -> None:
    python = environment("runpod") / "bin" / "python"
    with Receiver() as receiver:
        done = subprocess.run(
            [python, "-c", PROGRAM, server.about["api_key"], receiver.url],
            capture_output=True,
            text=True,
            timeout=PATIENT_S,
            check=False,
            env={"RUNPOD_ENDPOINT_BASE_URL": server.url + "/runpod/v2", "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        wait_until(lambda: bool(receiver.arrived), "the webhook")
        (message,) = receiver.arrived
    assert told["sync"]["greeting"] == "hello you"
    assert told["plain"] == {"plain": "me"}
    assert told["output"]["greeting"] == "hello later"
    assert told["status"] == "COMPLETED"
    assert told["raise"] == ["FAILED", "no such name"]
    assert told["say"] == ["FAILED", "it says so"]
    assert told["counted"] == [{"number": number} for number in range(3)]
    assert told["stream"] == [{"number": number} for number in range(2)]
    assert told["cancelled"] == ["CANCELLED", "CANCELLED"]
    assert told["next"] == "hello after"
    jobs = ["completed", "failed", "inProgress", "inQueue", "retried"]
    workers = ["idle", "initializing", "ready", "running", "throttled", "unhealthy"]
    assert told["health"] == [["jobs", "workers"], jobs, workers]
    assert told["errors"] == [
        [404, True],
        [404, True],
        [400, True],
        [422, True],
        [405, True],
        ["runtime", True],
    ]
    for operation in (
        "POST /{endpoint}/run",
        "POST /{endpoint}/runsync",
        "GET /{endpoint}/status/{id}",
        "GET /{endpoint}/stream/{id}",
        "POST /{endpoint}/cancel/{id}",
        "GET /{endpoint}/health",
        "webhook",
    ):
        note("runpod", operation)
    said = json.loads(message.body)
    assert (said["status"], said["output"]["greeting"]) == ("COMPLETED", "hello hook")


@pytest.mark.programs
def test_a_worker_of_runpods_answers_at_every_door_and_its_failures_have_their_names(
    server: RunningServer,
) -> None:
    reply = server.invoke("greet", {"name": "native"})
    assert (reply.status, reply.json()["greeting"]) == (200, "hello native")
    failed = server.invoke("greet", {"fail": "raise"})
    assert (failed.status, failed.json()["error_type"]) == (500, "ValueError")
    assert failed.json()["detail"] == "no such name"
    streamed = server.invoke("count", {"to": 2})
    assert [json.loads(line) for line in streamed.body.splitlines()] == [{"number": 0}, {"number": 1}]
