"""The server dies by SIGKILL at the worst moments: what was acknowledged stays, the torn part is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until, wait_until_ended

LONG_S = 600  # longer than any test waits
SLEEPER = """
import pathlib, time
def handler(event, context):
    if "begun" in event:
        pathlib.Path(event["begun"]).touch()
    time.sleep(event.get("s", 0))
    return event
"""

TRAINED = """
import json, time
import lambent
app = lambent.App("tiny")

@app.model(train="fit")
class Tiny:
    def load(self, model):
        self.weight = json.loads(model.file("weight.json").read_text())
    def predict(self, inputs):
        return {"y": inputs["x"] * self.weight}

@app.job
def fit(run):
    for step in range(20):
        run.log(step=step, progress=step / 20, loss=1.0 / (step + 1))
        time.sleep(float(run.params.get("pause", 0.05)))
    (run.model_dir / "weight.json").write_text("3")
    run.report(loss=0.05)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "state").start()
    yield running
    if running.process is not None and running.process.poll() is None:
        assert running.stop() == 0, running.log()


def app(folder: Path, text: str, name: str = "app.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_killed_during_an_invocation_nothing_that_was_acknowledged_is_lost(
    server: RunningServer, tmp_path: Path
) -> None:
    server.deploy(f"{app(tmp_path, SLEEPER)}:handler", "--name", "nap")
    for number in range(5):
        assert server.invoke("nap", {"n": number}).status == 200
    begun = tmp_path / "begun"
    with ThreadPoolExecutor(1) as pool:
        torn = pool.submit(server.invoke, "nap", {"s": LONG_S, "begun": str(begun)})
        wait_until(begun.exists, "the call to begin")
        server.kill()  # also checks that no process outlives it
        with pytest.raises(Exception):  # noqa: B017,PT011  (the connection breaks in one of several ways)
            torn.result()
    server.start()
    assert server.invoke("nap", {"n": 6}).json() == {"n": 6}
    usage = json.loads(server.cli("usage", "--json").stdout)
    assert usage["total"]["invocations"] == 6


def test_killed_during_a_deploy_the_old_revision_serves_and_no_half_is_left(
    server: RunningServer, tmp_path: Path
) -> None:
    server.deploy(f"{app(tmp_path, SLEEPER)}:handler", "--name", "nap")
    begun = tmp_path / "begun"
    load = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep({LONG_S})\n"
    slow = app(tmp_path, load + SLEEPER)
    with ThreadPoolExecutor(1) as pool:
        deploy = pool.submit(server.cli, "deploy", f"{slow}:handler", "--name", "nap")
        wait_until(begun.exists, "the code to be loaded")
        server.kill()
        failed = deploy.result()
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].startswith("error: ")
    server.start()
    assert server.invoke("nap", {"still": "here"}).json() == {"still": "here"}
    shown = json.loads(server.cli("show", "nap", "--json").stdout)
    assert len(shown["revisions"]) == 1
    assert not list((server.state_dir / "tmp").iterdir())


def test_without_a_model_one_run_makes_it_for_everybody_who_waits(
    server: RunningServer, tmp_path: Path
) -> None:
    server.deploy(app(tmp_path, TRAINED))
    assert server.deployment("tiny")["needs_model"] is True
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda x: server.invoke("tiny", {"x": x}), range(6)))
    assert [answer.json() for answer in answers] == [{"y": 3 * x} for x in range(6)]
    runs = server.request("GET", "/api/v1/runs").json()
    assert [(run["state"], run["job"], run["model_number"]) for run in runs] == [("succeeded", "tiny-fit", 1)]
    assert server.request("GET", "/api/v1/models").json()[0]["metrics"]["loss"] == 0.05


def test_killed_during_training_the_run_goes_on_and_serves_the_next_request(
    server: RunningServer, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    waits = TRAINED.replace(
        "def fit(run):",
        f"def fit(run):\n    import pathlib\n    run.log(progress=0.01)\n"
        f"    while not pathlib.Path({str(gate)!r}).exists():\n        time.sleep(0.01)",
    )
    server.deploy(app(tmp_path, waits))
    with ThreadPoolExecutor(1) as pool:
        torn = pool.submit(server.invoke, "tiny", {"x": 1})
        wait_until(
            lambda: any(r["progress"] > 0 for r in server.request("GET", "/api/v1/runs").json()),
            "progress",
        )
        server.kill()
        with pytest.raises(Exception):  # noqa: B017,PT011  (the connection breaks in one of several ways)
            torn.result()
    server.start()
    assert server.deployment("tiny")["needs_model"] is True
    gate.touch()
    assert server.invoke("tiny", {"x": 2}).json() == {"y": 6}
    # The model serves a moment before its run is over.
    wait_until(
        lambda: [one["state"] for one in server.request("GET", "/api/v1/runs").json()] != ["running"],
        "its end",
    )
    [run] = server.request("GET", "/api/v1/runs").json()
    assert (run["state"], run["exit"], run["slices"], run["attempts"]) == ("succeeded", "finished", 2, 0)


def test_a_job_that_fails_tells_those_who_wait(server: RunningServer, tmp_path: Path) -> None:
    server.deploy(app(tmp_path, TRAINED.replace("run.report(loss=0.05)", "raise ValueError('too weak')")))
    answer = server.invoke("tiny", {"x": 1})
    assert (answer.status, answer.json()["code"]) == (502, "training_failed")
    assert "too weak" in answer.json()["detail"]


def test_an_accepted_asynchronous_invocation_survives_the_kill(server: RunningServer, tmp_path: Path) -> None:
    server.deploy(f"{app(tmp_path, SLEEPER)}:handler", "--name", "nap")
    accepted = [server.invoke("nap", {"n": n, "s": 0.3}, Prefer="respond-async") for n in range(8)]
    assert {reply.status for reply in accepted} == {202}
    server.kill()
    server.start()
    for number, reply in enumerate(accepted):
        where = reply.headers["Location"]
        wait_until(lambda where=where: server.request("GET", where).status == 200, f"the result of {number}")
        assert server.request("GET", where).json()["n"] == number


def test_a_server_that_is_asked_to_stop_finishes_what_runs(server: RunningServer, tmp_path: Path) -> None:
    server.deploy(f"{app(tmp_path, SLEEPER)}:handler", "--name", "nap")
    server.invoke("nap", {})
    begun = tmp_path / "begun"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.invoke, "nap", {"s": 1, "begun": str(begun)})
        wait_until(begun.exists, "the call to begin")
        below = server.processes()[1:]
        assert server.stop() == 0
        assert running.result().json() == {"s": 1, "begun": str(begun)}
    wait_until_ended(below)
    assert not (server.state_dir / "server.json").exists()


def test_what_does_not_finish_in_time_is_answered_and_billed_and_a_follower_holds_nothing_up(
    tmp_path: Path,
) -> None:
    server = RunningServer(tmp_path / "state", {"LAMBENT_DRAIN_S": "0.5"}).start()
    server.deploy(f"{app(tmp_path, SLEEPER)}:handler", "--name", "nap")
    server.invoke("nap", {})
    key = {"Authorization": f"Bearer {server.about['api_key']}"}
    follower = server.http.request(
        "GET", f"{server.url}/api/v1/deployments/nap/logs?follow=true", headers=key, preload_content=False
    )
    begun = tmp_path / "begun"
    with follower, ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.invoke, "nap", {"s": LONG_S, "begun": str(begun)})
        wait_until(begun.exists, "the call to begin")
        assert server.stop() == 0
        assert running.result().status == 502
        assert running.result().json()["code"] == "worker_exited"
        assert follower.read() == b""  # ended in good order, not broken off
    assert "Traceback" not in server.log()
    server.start()
    usage = json.loads(server.cli("usage", "--json").stdout)
    assert (usage["total"]["invocations"], usage["total"]["failed"]) == (2, 1)
    assert server.stop() == 0


def test_a_second_server_on_the_same_state_is_refused(server: RunningServer) -> None:
    second = RunningServer(server.state_dir)
    about = (server.state_dir / "server.json").read_text()
    with pytest.raises(AssertionError, match="already"):
        second.start()
    (server.state_dir / "server.json").write_text(about)


@pytest.mark.parametrize("what", ["usage", "runs", "master.key"])
def test_a_state_directory_that_is_not_one_of_ours_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if what == "master.key":
        (state / what).mkdir()
    else:
        (state / what).write_text("not a folder")
    server = RunningServer(state)
    with pytest.raises(AssertionError, match="cannot use"):
        server.start()
    assert len(server.log().splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root; CI runs as root")
def test_a_full_disk_refuses_the_deploy_and_keeps_serving(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=True)
    try:
        server = RunningServer(small / "state").start()
        server.deploy(f"{app(tmp_path, SLEEPER)}:handler", "--name", "nap")
        big = tmp_path / "big"
        big.mkdir()
        shutil.copy(app(tmp_path, SLEEPER), big / "app.py")
        (big / "weights.bin").write_bytes(os.urandom(32 * 1024 * 1024))
        (big / "lambent.toml").write_text('[app]\ntarget = "app.py:handler"\n')
        done = server.cli("deploy", str(big), "--name", "big")
        assert done.returncode == 1
        assert "disk" in done.stderr or "room" in done.stderr or "space" in done.stderr
        assert server.invoke("nap", {"still": 1}).json() == {"still": 1}
        assert not list((server.state_dir / "tmp").iterdir())
        assert server.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_server_that_starts_on_a_full_disk_says_where_it_is_once_there_is_room(tmp_path: Path) -> None:
    """make chaos SEED=43 SECONDS=60: the server was killed while its disk was full."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=True)
    try:
        server = RunningServer(small / "state").start()
        server.deploy(f"{app(tmp_path, SLEEPER)}:handler", "--name", "nap")
        server.kill()
        said = tmp_path / "server.log"
        (server.state_dir / "test-server.log").unlink()
        (server.state_dir / "test-server.log").symlink_to(said)
        (server.state_dir / "server.json").unlink(missing_ok=True)
        filler = small / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        starting = threading.Thread(target=server.start)
        starting.start()
        wait_until(lambda: said.exists() and "not_announced" in said.read_text(), "the server to start")
        filler.unlink()
        starting.join(PATIENT_S)
        assert server.invoke("nap", {"still": 1}).json() == {"still": 1}
        assert server.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
