"""A run from a file to its curves, log, files and price, through the front door and across a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lambent.core.series import NAMES_MAX, POINTS_MAX, RUN_POINTS_MAX, Points
from lambent.storage.run_records import RunRecords
from tests.support.server import RunningServer, wait_until

Write = Callable[[str, str], Path]

# Each function is a job that no decorator says anything of; gates are files that a test makes.
JOBS = """
import threading, time
from pathlib import Path

def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.01)

def fit(run):
    print("begins with", run.params.lr, run.params.deep)
    for step in range(50):
        run.log(step, progress=(step + 1) / 50, loss=1 / (step + 1), lr=run.params.lr)
    run.log(loss=float("nan"))
    run.save("notes.txt", "learnt")
    (run.artifacts_dir / "plots").mkdir()
    (run.artifacts_dir / "plots/loss.png").write_bytes(bytes(3_000_000))
    (run.artifacts_dir / "passwd").symlink_to("/etc/passwd")
    return {"accuracy": 0.9}

def two(run):
    print("line of", run.params.name, flush=True)
    Path(run.params.folder, run.params.name).touch()
    wait_for(run.params.gate)
    print("last of", run.params.name)

def floods(run):
    for step in range(200_000):
        run.log(step, loss=step / 7)
    for step in range(40):
        run.log(step, **{f"m{name}": name for name in range(1500)})

def counts(run):
    start = run.restore() or 0
    Path(run.params.folder, f"began-{start}").touch()
    for step in range(start, run.params.n):
        run.log(loss=step, often=step * 2)
        run.log(step=step, named=step)
        if step % 10 == 9:
            run.checkpoint(step + 1, step=step + 1)
        if step == run.params.stop and start == 0:
            Path(run.params.folder, "stands").touch()
            threading.Event().wait()

def endless(run):
    step = run.restore() or 0
    while not Path(run.params.gate).exists():
        step += 1
        run.log(step, progress=0.5, loss=1 / step)
        run.checkpoint(step, step=step)
        time.sleep(0.01)
    return {"steps": step}

def hoards(run):
    run.save("first.bin", bytes(1000))
    for number in range(4):
        time.sleep(0.02)
        run.save(f"big-{number}.bin", bytes(400_000))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    state_dir = tmp_path_factory.mktemp("state")
    running = RunningServer(state_dir, {"LAMBENT_RUN_SAVED_BYTES_MAX": "1000000"}).start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "jobs.py"
    path.write_text(JOBS)
    return path


def api(server: RunningServer, path: str) -> Any:
    answer = server.request("GET", f"/api/v1/runs/{path}")
    assert answer.status == 200, answer.body
    return answer.json()


def started(server: RunningServer, target: str, **params: object) -> str:
    words = [word for key, value in params.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    done = server.cli("run", target, "--detach", "--json", *words)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["run"])


def ended(server: RunningServer, run: str) -> dict[str, Any]:
    wait_until(lambda: api(server, run)["ended_unix_ms"] is not None, f"the end of run {run}")
    found: dict[str, Any] = api(server, run)
    return found


def logged(server: RunningServer, run: str) -> list[str]:
    """What it printed, without times and workers."""
    text = server.request("GET", f"/api/v1/runs/{run}/logs?tail=1000").body.decode()
    return [line.split(" ", 2)[2] for line in text.splitlines()]


@pytest.fixture(scope="module")
def fit(server: RunningServer, code: Path) -> Any:
    """A run of `fit`, followed by the command to its end."""
    return server.cli("run", f"{code}:fit", "--set", "lr=0.01", "--set", "deep=true", "--follow", "--json")


def test_a_run_from_a_file_is_followed_to_its_end(server: RunningServer, fit: Any) -> None:
    assert fit.returncode == 0, fit.stderr
    run = json.loads(fit.stdout)
    assert (run["state"], run["job"], run["metrics"]["accuracy"]) == ("succeeded", "fit", 0.9)
    assert run["params"] == {"lr": 0.01, "deep": True}
    assert "deployed  fit  (job, revision 1)" in fit.stderr
    assert "begins with 0.01 True" in fit.stderr
    assert 0 < run["cost_usd"] < 1
    assert run["forecast_usd"] is None


def test_its_curves_are_at_the_api_and_drawn_by_the_command(server: RunningServer, fit: Any) -> None:
    run = json.loads(fit.stdout)["run"]
    curves = api(server, f"{run}/metrics")["curves"]
    assert sorted(curves) == ["loss", "lr"]
    assert curves["loss"]["steps"] == list(range(50))
    assert curves["loss"]["values"] == [1 / (step + 1) for step in range(50)]
    assert curves["loss"]["skipped"] == 1
    assert list(api(server, f"{run}/metrics?name=lr")["curves"]) == ["lr"]
    assert server.request("GET", f"/api/v1/runs/{run}/metrics?name=no").status == 404
    shown = server.cli("runs", run[:8])
    assert "loss  0.02 at step 49; 1 value not finite" in shown.stdout
    assert "plots/loss.png" in shown.stdout
    assert json.loads(server.cli("runs", run, "--json").stdout)["curves"] == curves


def test_its_files_are_listed_and_downloaded_and_no_other(
    server: RunningServer, fit: Any, tmp_path: Path
) -> None:
    run = json.loads(fit.stdout)["run"]
    # 3 MB were more than it may keep, and came last.
    assert [file["path"] for file in api(server, f"{run}/artifacts")] == ["notes.txt"]
    assert "plots/loss.png" in json.loads(fit.stdout)["warning"]
    done = server.cli("runs", run, "--download", str(tmp_path / "out"))
    assert done.stdout == f"wrote 1 file to {tmp_path / 'out'}\n"
    assert (tmp_path / "out/notes.txt").read_text() == "learnt"
    for path in ("passwd", "../curves", "/etc/passwd", "", "no"):
        assert server.request("GET", f"/api/v1/runs/{run}/artifact?path={path}").status == 404


def test_what_is_over_the_bound_was_saved_last(server: RunningServer, code: Path) -> None:
    run = ended(server, started(server, f"{code}:hoards"))
    kept = [file["path"] for file in api(server, f"{run['run']}/artifacts")]
    assert kept == ["big-0.bin", "big-1.bin", "first.bin"]
    assert run["warning"].endswith("big-2.bin, big-3.bin")


def test_the_lines_of_runs_that_overlap_are_told_apart(
    server: RunningServer, code: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    runs = {
        name: started(server, f"{code}:two", name=name, folder=str(tmp_path), gate=str(gate)) for name in "ab"
    }
    wait_until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists(), "both to begin")
    assert logged(server, runs["a"]) == ["line of a"]
    gate.touch()
    followed = server.cli("logs", "--run", runs["b"], "-f")
    assert [line.split(" ", 2)[2] for line in followed.stdout.splitlines()] == ["line of b", "last of b"]
    ended(server, runs["a"])
    assert logged(server, runs["a"]) == ["line of a", "last of a"]
    both = server.cli("logs", "two").stdout
    assert all(f"last of {name}" in both for name in "ab")


def test_a_job_that_logs_without_measure_is_kept_in_bounds(server: RunningServer, code: Path) -> None:
    run = ended(server, started(server, f"{code}:floods"))
    assert run["state"] == "succeeded"
    curves = api(server, f"{run['run']}/metrics")["curves"]
    assert len(curves) == NAMES_MAX
    assert sum(len(curve["steps"]) for curve in curves.values()) <= RUN_POINTS_MAX + NAMES_MAX
    loss = curves["loss"]
    assert len(loss["steps"]) <= POINTS_MAX
    assert (loss["steps"][0], loss["steps"][-1], loss["values"][-1]) == (0, 199_999, 199_999 / 7)
    assert curves["m0"]["steps"][-1] == 39
    assert (server.state_dir / "records" / run["run"] / "curves").stat().st_size < 5_000_000


def test_a_run_over_its_budget_ends_with_a_checkpoint_and_goes_on_with_more(
    server: RunningServer, code: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate_word = f"gate={json.dumps(str(gate))}"
    bound = server.cli("run", f"{code}:endless", "--set", gate_word, "--max-cost", "0.0001", "--json")
    run = json.loads(bound.stdout)
    assert (bound.returncode, run["state"], run["exit"]) == (1, "failed", "over_budget")
    assert run["cost_usd"] >= 0.0001
    assert run["step"] > 0
    again = server.cli("retry", run["run"])
    assert again.returncode == 1
    assert "a larger --max-cost lets it go on" in again.stderr
    assert server.cli("retry", run["run"], "--max-cost", "100").returncode == 0
    wait_until(lambda: api(server, run["run"])["step"] > run["step"], "it to go on")
    gate.touch()
    done = ended(server, run["run"])
    assert (done["state"], done["max_cost_usd"]) == ("succeeded", 100)
    assert done["cost_usd"] > run["cost_usd"]
    assert done["running_ms"] > run["running_ms"]
    loss = api(server, f"{run['run']}/metrics")["curves"]["loss"]
    assert loss["steps"] == list(range(1, loss["steps"][-1] + 1)) or loss["stride"] > 1
    assert done["result"]["steps"] == loss["steps"][-1]


def test_the_budget_of_a_job_is_that_of_its_runs(server: RunningServer, write: Write, tmp_path: Path) -> None:
    code = f"import lambent\napp = lambent.App('thrifty')\n{JOBS}\napp.job(max_cost=0.0001)(endless)\n"
    done = server.cli("run", str(write("thrifty.py", code)), "--set", f"gate={tmp_path / 'never'}", "--json")
    run = json.loads(done.stdout)
    assert (run["job"], run["exit"], run["max_cost_usd"]) == ("thrifty-endless", "over_budget", 0.0001)


def test_a_run_is_forgotten_with_all_that_is_kept_of_it(server: RunningServer, code: Path) -> None:
    run = ended(server, started(server, f"{code}:hoards"))["run"]
    assert (server.state_dir / "records" / run).is_dir()
    done = server.cli("runs", run, "--forget")
    assert done.stdout == f"forgot {run}\n", done.stderr
    assert server.request("GET", f"/api/v1/runs/{run}").status == 404
    assert not (server.state_dir / "records" / run).exists()


def test_a_run_that_goes_on_is_not_forgotten(server: RunningServer, code: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = started(server, f"{code}:endless", gate=str(gate))
    assert server.request("DELETE", f"/api/v1/runs/{run}").status == 409
    gate.touch()
    assert ended(server, run)["state"] == "succeeded"


@pytest.mark.parametrize("below", ["metrics", "logs", "artifacts", "artifact?path=a"])
def test_what_is_kept_of_no_run_is_not_found(server: RunningServer, below: str) -> None:
    for run in ("nobody", "..%2f..", "%00"):
        assert server.request("GET", f"/api/v1/runs/{run}/{below}").status in (400, 404)


def test_a_curve_across_a_kill_of_the_server_is_that_of_an_unbroken_run(
    server: RunningServer, code: Path, tmp_path: Path
) -> None:
    count, stop = 120, 57
    run = started(server, f"{code}:counts", n=count, stop=stop, folder=str(tmp_path))
    wait_until((tmp_path / "stands").exists, "the job to stand still")
    records = RunRecords(server.state_dir / "records")
    wait_until(lambda: _last_step(records.curves(run)) == stop, "what it logged to be in its file")
    server.kill()
    server.start()
    assert ended(server, run)["state"] == "succeeded"
    assert [one.name for one in tmp_path.glob("began-*")] != ["began-0"]
    curves = api(server, f"{run}/metrics")["curves"]
    for name, factor in (("loss", 1), ("often", 2), ("named", 1)):
        assert curves[name]["steps"] == list(range(count)), name
        assert curves[name]["values"] == [factor * step for step in range(count)], name


def _last_step(curves: Mapping[str, Points]) -> int:
    return curves["loss"].steps[-1] if "loss" in curves else -1
