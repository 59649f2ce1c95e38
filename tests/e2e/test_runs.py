"""Runs of jobs on a real server: whatever a job does and whoever is killed, each ends once and says why."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.server import RunningServer, is_running, wait_until

JOBS = """
import os, pathlib, signal, subprocess, sys, threading, time
import lambent

app = lambent.App("jobs")

@app.job(slice_s=0.3, grace_s=0.2)
def deaf(run):
    "It never checkpoints."
    time.sleep(600)

@app.job(slice_s=0.3, grace_s=0.3, retries=1)
def stubborn(run):
    "It checkpoints once, ignores every signal that can be ignored, and leaves processes behind."
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run.restore() or run.checkpoint("once", step=1)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    with pathlib.Path(run.params.left).open("a") as file:
        file.write(f"{os.getpid()} {left.pid}\\n")
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)

@app.job(memory="200MiB")
def greedy(run):
    held = []
    while True:
        held.append(bytearray(16 << 20))

@app.job(retries=1)
def mortal(run):
    "Each slice dies after a step, having done more than it committed."
    total, begun = run.restore() or (0, 0)
    for step in range(begun, 5):
        total = total * 31 + step
        run.checkpoint((total, step + 1), step=step + 1)
        total += 1_000_000
        os.kill(os.getpid(), signal.SIGKILL)
    return {"total": total}

@app.job(grace_s=60)
def patient(run):
    "It works until somebody opens the gate; each step is a checkpoint."
    steps = run.restore() or 0
    while not pathlib.Path(run.params.gate).exists():
        steps += 1
        run.checkpoint(steps, step=steps)
        time.sleep(0.01)
    if run.params.get("fails") and pathlib.Path(run.params.fails).exists():
        raise ValueError("not today")
    return {"steps": steps, "answer": [1, "two"]}

@app.job
def leaves(run):
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that may be killed and started again by each test."""
    running = RunningServer(tmp_path_factory.mktemp("state")).start()
    code = tmp_path_factory.mktemp("code") / "jobs.py"
    code.write_text(JOBS)
    running.deploy(code)
    yield running
    assert running.stop() == 0, running.log()


def started(server: RunningServer, job: str, *words: str, **params: object) -> str:
    given = [part for name, value in params.items() for part in ("--set", f"{name}={value}")]
    done = server.cli("run", f"jobs-{job}", *given, *words, "--detach", "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["run"])


def seen(server: RunningServer, run: str) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", f"/api/v1/runs/{run}").json()
    return found


def until(server: RunningServer, run: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    wait_until(lambda: true(seen(server, run)), f"run {run}")
    return seen(server, run)


def ended(server: RunningServer, run: str) -> dict[str, Any]:
    return until(server, run, lambda one: one["ended_unix_ms"] is not None)


def test_a_job_that_never_checkpoints_is_not_run_for_ever(server: RunningServer) -> None:
    end = ended(server, started(server, "deaf"))
    assert (end["state"], end["exit"], end["slices"]) == ("failed", "no_checkpoint", 2)
    assert "run.checkpoint" in end["reason"]


def test_of_a_job_that_does_not_leave_nothing_stays(server: RunningServer, tmp_path: Path) -> None:
    left = tmp_path / "left"
    end = ended(server, started(server, "stubborn", left=left))
    assert (end["state"], end["exit"], end["step"]) == ("failed", "overran", 1)
    pids = [int(pid) for line in left.read_text().splitlines() for pid in line.split()]
    assert len(pids) == 2 * end["slices"] >= 4
    wait_until(lambda: not any(map(is_running, pids)), "the end of what the job started")


def test_a_job_that_wants_more_memory_than_it_may_have_fails_alone(server: RunningServer) -> None:
    end = ended(server, started(server, "greedy"))
    assert (end["state"], end["exit"], end["slices"]) == ("failed", "out_of_memory", 1)
    assert "MemoryError" in end["reason"]


def test_a_job_that_dies_in_every_slice_comes_to_what_it_would_have_come_to(server: RunningServer) -> None:
    end = ended(server, started(server, "mortal"))
    total = 0
    for step in range(5):
        total = total * 31 + step
    assert (end["state"], end["slices"], end["result"]) == ("succeeded", 6, {"total": total})


def test_a_job_that_leaves_by_itself_says_with_what(server: RunningServer) -> None:
    end = ended(server, started(server, "leaves"))
    assert (end["state"], end["exit"]) == ("failed", "failed")
    assert "exit status 3" in end["reason"]


def test_runs_go_on_when_the_server_is_killed_and_when_it_is_stopped(
    server: RunningServer, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = started(server, "patient", gate=gate)
    waiting = started(server, "patient", "--after", run[:12], gate=gate)
    before = until(server, run, lambda one: one["step"] >= 3)
    server.kill()
    server.start()
    killed = until(server, run, lambda one: one["step"] > before["step"])
    assert (killed["state"], killed["slices"], killed["attempts"]) == ("running", 2, 0)
    assert (seen(server, waiting)["state"], run in seen(server, waiting)["reason"]) == ("queued", True)
    assert server.stop() == 0, server.log()
    server.start()
    stopped = until(server, run, lambda one: one["step"] > killed["step"])
    assert (stopped["slices"], stopped["attempts"]) == (3, 0)
    gate.touch()
    end = ended(server, run)
    assert (end["state"], end["result"]["answer"]) == ("succeeded", [1, "two"])
    assert end["result"]["steps"] >= stopped["step"]
    assert ended(server, waiting)["state"] == "succeeded"


def test_a_run_is_cancelled_and_goes_on_when_it_is_retried(server: RunningServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = started(server, "patient", gate=gate)
    until(server, run, lambda one: one["step"] >= 1)
    assert server.cli("cancel", run[:12]).returncode == 0
    end = ended(server, run)
    assert (end["state"], end["exit"]) == ("cancelled", "cancelled")
    again = server.cli("cancel", run)
    assert (again.returncode, again.stdout) == (0, "cancelled\n")
    gate.touch()
    assert server.cli("retry", run).returncode == 0
    done = ended(server, run)
    assert (done["state"], done["result"]["steps"] >= end["step"]) == ("succeeded", True)
    refused = server.cli("retry", run)
    assert (refused.returncode, "succeeded" in refused.stderr) == (1, True)


def test_what_fails_takes_along_what_waits_for_it_until_it_is_retried(
    server: RunningServer, tmp_path: Path
) -> None:
    gate, fails = tmp_path / "gate", tmp_path / "fails"
    fails.touch()
    first = started(server, "patient", gate=gate, fails=fails)
    second = started(server, "patient", "--after", first, gate=gate)
    gate.touch()
    assert ended(server, first)["exit"] == "failed"
    assert ended(server, second)["exit"] == "dependency_failed"
    fails.unlink()
    assert server.cli("retry", first).returncode == 0
    assert ended(server, first)["state"] == "succeeded"
    assert until(server, second, lambda one: one["state"] == "succeeded")["exit"] == "finished"


def test_a_worker_that_somebody_kills_costs_a_slice(server: RunningServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = started(server, "patient", gate=gate)
    before = until(server, run, lambda one: one["step"] >= 3)
    workers = [one for one in server.processes() if _opened(one, run)]
    assert workers
    for worker in workers:
        os.kill(worker.pid, 9)
    until(server, run, lambda one: one["slices"] == 2)
    gate.touch()
    end = ended(server, run)
    assert (end["state"], end["slices"], end["attempts"]) == ("succeeded", 2, 1)
    assert end["result"]["steps"] >= before["step"]


def _opened(process: psutil.Process, run: str) -> bool:
    """Whether this is the worker of a run: it maps the run's arena."""
    try:
        return run in Path(f"/proc/{process.pid}/maps").read_text()
    except OSError:
        return False


def test_runs_are_listed_by_their_state_and_page_by_page(server: RunningServer) -> None:
    everyone = server.request("GET", "/api/v1/runs?limit=1000").json()
    failed = server.request("GET", "/api/v1/runs?state=failed").json()
    assert [run["run"] for run in failed] == [run["run"] for run in everyone if run["state"] == "failed"]
    [newest] = server.request("GET", "/api/v1/runs?limit=1").json()
    rest = server.request("GET", f"/api/v1/runs?before={newest['run']}").json()
    assert [newest["run"], *(run["run"] for run in rest)] == [run["run"] for run in everyone]
