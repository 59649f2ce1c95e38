"""A program that asks for jobs as RunPod's worker loop does, without its package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import RunningServer, wait_until

PROGRAM = """
import json, os, threading, urllib.error, urllib.request

TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", os.environ["RUNPOD_POD_ID"])
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", os.environ["RUNPOD_POD_ID"])
STREAM = os.environ["RUNPOD_WEBHOOK_POST_STREAM"].replace("$RUNPOD_POD_ID", os.environ["RUNPOD_POD_ID"])
stopped = threading.Event()

def ask(url, body=None):
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())

def stops():
    while True:
        _, told = ask(TAKE.replace("/job-take/", "/job-stop/"))
        print("told to stop", told["jobsToStop"], flush=True)
        stopped.set()

threading.Thread(target=stops, daemon=True).start()
while True:
    _, job = ask(TAKE + "&job_in_progress=0")
    asked, job_id = job["input"], job["id"]
    done = DONE.replace("$ID", job_id) + "&isStream=false"
    if asked == "wrong":
        odd = [
            ask(done, b"{")[0],  # no JSON: the job goes on
            ask(DONE.replace("$ID", "nobody"), {"output": 1})[0],
            ask(STREAM.replace("$ID", "nobody"), {"output": 1})[0],
            ask(TAKE.replace("/job-take/", "/nothing/"))[0],
            ask(TAKE.replace("/job-take/", "/job-stop/").replace("?", "/more?"))[0],
        ]
        ask(done, {"output": odd})
    elif asked == "fail":
        info = {"error_type": "<class 'KeyError'>", "error_message": "no", "error_traceback": "line 1\\n"}
        ask(done, {"error": json.dumps(info)})
    elif asked == "say":
        ask(done, {"error": "it says so"})
    elif asked == "stream":
        for number in range(3):
            ask(STREAM.replace("$ID", job_id), {"output": {"number": number}})
        ask(done, {"output": []})
    elif asked == "wait":
        stopped.wait()
        stopped.clear()
    elif asked == "die":
        os._exit(3)
    else:
        ask(done, {"output": {"got": asked, "pod": os.environ["RUNPOD_ENDPOINT_ID"]}})
"""


@pytest.fixture(scope="module")
def asking(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("asking")
    (folder / "handler.py").write_text(PROGRAM)
    told = ("--set", "runtime=runpod", "--set", "timeout_s=60")
    server.deploy(folder, "--name", "asking", "--cmd", "python -u handler.py", *told)
    return server


def test_an_event_is_a_jobs_input_and_its_output_the_answer(asking: RunningServer) -> None:
    reply = asking.invoke("asking", {"x": 1})
    assert (reply.status, reply.json()) == (200, {"got": {"x": 1}, "pod": "asking"})


def test_what_fails_has_the_name_and_the_words_that_the_program_gave_it(asking: RunningServer) -> None:
    failed = asking.invoke("asking", "fail").json()
    assert (failed["error_type"], failed["detail"], failed["stack_trace"]) == ("KeyError", "no", ["line 1\n"])
    said = asking.invoke("asking", "say").json()
    assert (said["error_type"], said["detail"]) == ("RunPod.JobFailed", "it says so")


def test_what_it_says_before_its_end_is_a_stream(asking: RunningServer) -> None:
    reply = asking.invoke("asking", "stream")
    assert [json.loads(line) for line in reply.body.splitlines()] == [{"number": n} for n in range(3)]


def test_what_is_asked_wrongly_is_refused_and_ends_no_job(asking: RunningServer) -> None:
    assert asking.invoke("asking", "wrong").json() == [400, 200, 200, 404, 404]


def test_a_job_that_nobody_waits_for_is_stopped_and_the_next_one_is_run(asking: RunningServer) -> None:
    accepted = asking.request("POST", "/runpod/v2/asking/run", b'{"input": "wait"}').json()["id"]
    where = f"/runpod/v2/asking/status/{accepted}"
    wait_until(lambda: asking.request("GET", where).json()["status"] == "IN_PROGRESS", "its run")
    assert asking.request("POST", f"/runpod/v2/asking/cancel/{accepted}").json()["status"] == "CANCELLED"
    assert asking.invoke("asking", 1).status == 200
    wait_until(lambda: accepted in asking.cli("logs", "asking").stdout, "what it was told")


def test_a_program_that_dies_fails_its_job_alone(asking: RunningServer) -> None:
    died = asking.invoke("asking", "die")
    assert (died.status, died.json()["error_type"]) == (502, "Runtime.ExitError")
    assert asking.invoke("asking", 2).json()["got"] == 2


def test_a_command_that_asks_for_no_job_is_not_deployed(asking: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("import time; time.sleep(600)\n")
    done = asking.cli(
        "deploy", str(tmp_path), "--name", "silent", "--cmd", "python handler.py",
        "--set", "runtime=runpod", "--set", "ready_timeout_s=1",
    )  # fmt: skip
    assert done.returncode != 0
    assert "did not ask for a job within 1 s" in done.stderr
    done = asking.cli("deploy", str(tmp_path), "--name", "silent", "--set", "runtime=runpod")
    assert done.returncode != 0
    assert "command" in done.stderr
