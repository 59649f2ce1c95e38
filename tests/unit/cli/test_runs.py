"""Runs on the command line: started from a file, followed, listed, shown whole, their files fetched."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from lambent.cli import following
from lambent.cli.following import live_lines, summary
from lambent.cli.running import value_of
from lambent.core.series import Points
from lambent.core.spec import Kind
from lambent.wire.api import ArtifactReply, DeployReply, DeployRequest, Problem
from lambent.wire.runs import MetricsView, RunRequest, RunView, SavedView
from tests.support.fake_control import API_KEY, FakeControl, Told, json_told, problem_told
from tests.support.patience import PATIENT_S
from tests.unit.cli.conftest import Lambent
from tests.unit.cli.views import DIGITS, run_view

LOSS = Points([0, 10, 20], [1.0, 0.5, 0.25], [0, 0, 0], 1, 2)
STAMP = "2027-01-15T08:00:00.000Z"
PRINTED = f"{STAMP} w1 epoch 1\n{STAMP} w2 epoch  2 of 3\n".encode()
RUNNING = run_view(
    "running", progress=0.4, step=20, slices=2, running_ms=30_000, metrics={"loss": 0.25}, cost_usd=0.002,
    forecast_usd=0.005, left_s=45.0, price_plan="aws-lambda",
)  # fmt: skip
ENDED = run_view(
    "succeeded", exit="finished", progress=1.0, step=40, slices=3, running_ms=75_500, metrics={"loss": 0.125},
    cost_usd=0.005, price_plan="aws-lambda", started_unix_ms=1_800_000_000_000,
    ended_unix_ms=1_800_000_080_000, checkpoint_unix_ms=1_800_000_079_000,
    params={"lr": 0.01, "deep": True},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _a_slow_machine_prints_its_last_lines_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LAST_LINES_S_MAX", PATIENT_S)


def a_run(control: FakeControl, *standing: RunView | Told) -> None:
    """The server starts `run-1`, which then stands so, one after the other."""
    control.tell("POST", "/api/v1/runs", json_told(run_view("queued"), 201))
    control.tell("GET", "/api/v1/runs", json_told([]))
    control.tell(
        "GET", "/api/v1/runs/run-1", *(one if isinstance(one, Told) else json_told(one) for one in standing)
    )
    control.tell("GET", "/api/v1/runs/run-1/metrics", json_told(MetricsView("run-1", {"loss": LOSS})))
    control.tell("GET", "/api/v1/runs/run-1/logs", Told(body=PRINTED))
    saved = SavedView(path="plots/loss.png", size_bytes=2**20, unix_ms=1_800_000_000_000)
    control.tell("GET", "/api/v1/runs/run-1/artifacts", json_told([saved]))
    control.tell("GET", "/api/v1/runs/run-1/artifact", Told(body=b"png"))


def deployed(control: FakeControl, *jobs: str) -> None:
    control.tell("POST", "/api/v1/artifacts", json_told(ArtifactReply("sha256:1", 10, 1), 201))
    views = [msgspec.structs.replace(DIGITS, name=name, kind=Kind.JOB, number=3) for name in jobs]
    control.tell("POST", "/api/v1/deployments", json_told(DeployReply((*views, DIGITS), jobs), 201))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("007", 7),
        ("true", True),
        ("false", False),
        ("null", None),
        ("fast", "fast"),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ('{"a": true}', {"a": True}),
        ("{a", "{a"),
        ("nan", "nan"),
        ("", ""),
    ],
)
def test_a_parameter_is_json_or_a_number_or_text(text: str, value: object) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


def test_a_job_is_run_from_its_file(control: FakeControl, lambent: Lambent, tmp_path: Path) -> None:
    a_run(control, ENDED)
    deployed(control, "digits-fit")
    file = tmp_path / "train.py"
    file.write_text("def fit(run): pass\n")
    printed = lambent("run", f"{file}:fit", "--set", "lr=0.01", "-p", "deep=true", "--max-cost", "2.5")
    assert (printed.code, printed.out) == (0, "run-1  succeeded  loss 0.125  $0.00500000\n")
    assert printed.err == "deployed  digits-fit  (job, revision 3)\n"
    bodies = {asked.path: asked.body for asked in control.asked if asked.method == "POST"}
    request = msgspec.json.decode(bodies["/api/v1/deployments"], type=DeployRequest)
    assert (request.as_job, request.target) == (True, "train.py:fit")
    started = msgspec.json.decode(bodies["/api/v1/runs"], type=RunRequest)
    assert started == RunRequest("digits-fit", {"lr": 0.01, "deep": True}, 2.5)


@pytest.mark.parametrize(("jobs", "said"), [((), "has none"), (("a", "b"), "has a, b")])
def test_a_file_has_to_declare_one_job(
    control: FakeControl, lambent: Lambent, tmp_path: Path, jobs: tuple[str, ...], said: str
) -> None:
    deployed(control, *jobs)
    file = tmp_path / "train.py"
    file.write_text("def fit(run): pass\n")
    printed = lambent("run", str(file))
    assert printed.code == 2
    assert said in printed.err


def test_a_file_that_is_not_there_is_said_to_be_missing(control: FakeControl, lambent: Lambent) -> None:
    assert "nowhere.py" in lambent("run", "nowhere.py:fit").err
    assert not control.asked


def test_where_there_is_no_terminal_a_run_is_followed_in_plain_lines(
    control: FakeControl, lambent: Lambent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.0)
    a_run(control, RUNNING, RUNNING, ENDED)
    printed = lambent("run", "digits-fit", "--follow")
    assert printed.code == 0
    assert printed.out.splitlines() == [
        "epoch 1",
        "epoch  2 of 3",
        "run-1  succeeded  loss 0.125  $0.00500000",
    ]
    assert printed.err.splitlines()[0] == "digits-fit: queued ..."
    assert printed.err.splitlines()[-1].startswith("digits-fit: succeeded  100%  checkpoint 40  slice 3")


def test_followed_as_json_standard_output_is_one_document(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, ENDED)
    printed = lambent("run", "digits-fit", "--follow", "--json")
    assert json.loads(printed.out)["exit"] == "finished"
    assert "epoch 1\n" in printed.err


def test_a_server_that_is_away_for_a_while_is_waited_for(
    control: FakeControl, lambent: Lambent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.0)
    a_run(control, RUNNING)
    # Who follows the log asks nothing before the end has been told.
    told = threading.Event()
    control.tell("GET", "/api/v1/runs/run-1/logs", Told(chunks=tuple(PRINTED.splitlines(keepends=True))))
    threading.Thread(target=lambda: told.wait(PATIENT_S) and control.go_on()).start()
    away = problem_told(Problem("Draining", 503, "draining", "the server stops", retryable=True))
    ended = msgspec.structs.replace(json_told(ENDED), reached=told)
    control.tell("GET", "/api/v1/runs/run-1", json_told(RUNNING), away, away, ended)
    printed = lambent("run", "digits-fit", "--follow")
    assert printed.code == 0
    assert printed.err.count("the server stops: waiting for it ...") == 1


def test_a_run_that_is_no_more_is_not_waited_for(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, problem_told(Problem("Not found", 404, "not_found", "there is no run 'run-1'")))
    printed = lambent("run", "digits-fit", "--follow")
    assert printed.code == 1
    assert "there is no run" in printed.err


def test_follow_and_detach_do_not_go_together(lambent: Lambent) -> None:
    assert lambent("run", "digits-fit", "--follow", "--detach").code == 2


def test_a_run_is_shown_whole(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, ENDED)
    printed = lambent("runs", "run-1")
    assert printed.code == 0
    told = dict(line.split("  ", 1) for line in printed.out.split("\n\n")[0].splitlines())
    said = {name.strip(): value.strip() for name, value in told.items()}
    assert (said["exit"], said["ran for"]) == ("finished", "1 min 16 s in 3 slices")
    assert said["parameters"] == '{"lr":0.01,"deep":true}'
    assert said["cost"] == "$0.00500000 (aws-lambda)"
    assert said["checkpoint"].startswith("step 40, ")
    assert "loss  0.25 at step 20; 2 values not finite" in printed.out
    assert "└───" in printed.out
    assert "plots/loss.png  1.0 MiB" in printed.out


def test_what_a_run_may_cost_and_will_cost_is_shown(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, msgspec.structs.replace(RUNNING, max_cost_usd=2.0))
    out = lambent("runs", "run-1").out
    assert "$0.00200000 of at most $2.00 (aws-lambda)" in out
    assert "$0.00500000 in all, 45 s to go" in out


def test_a_run_as_json_has_its_curves_and_files(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, ENDED)
    whole = json.loads(lambent("runs", "run-1", "--json").out)
    assert whole["run"]["run"] == "run-1"
    assert whole["curves"]["loss"]["values"] == [1.0, 0.5, 0.25]
    assert whole["artifacts"][0]["path"] == "plots/loss.png"


def test_one_metric_of_many_can_be_asked_for(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, ENDED)
    curves = {f"m{number:02}": LOSS for number in range(12)}
    control.tell("GET", "/api/v1/runs/run-1/metrics", json_told(MetricsView("run-1", curves)))
    out = lambent("runs", "run-1").out
    assert "m07" in out
    assert "m08" not in out
    assert "and 4 metrics more" in out
    one = lambent("runs", "run-1", "--metric", "m11").out
    assert "m11" in one
    assert "m07" not in one
    assert "no metric 'm99'" in lambent("runs", "run-1", "--metric", "m99").err


def test_a_run_is_found_by_the_beginning_of_its_id(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, ENDED)
    control.tell("GET", "/api/v1/runs", json_told([ENDED, msgspec.structs.replace(ENDED, run="run-2")]))
    assert "run-1" in lambent("runs", "run-1").out
    assert "2 runs have ids that begin with 'run'" in lambent("runs", "run").err
    assert lambent("runs", "other").code == 1


def test_the_files_of_a_run_are_downloaded(control: FakeControl, lambent: Lambent, tmp_path: Path) -> None:
    a_run(control, ENDED)
    printed = lambent("runs", "run-1", "--download", str(tmp_path / "out"))
    assert printed.out == f"wrote 1 file to {tmp_path / 'out'}\n"
    assert (tmp_path / "out/plots/loss.png").read_bytes() == b"png"
    assert control.asked[-1].query == {"path": "plots/loss.png"}


def test_a_server_cannot_make_the_client_write_elsewhere(
    control: FakeControl, lambent: Lambent, tmp_path: Path
) -> None:
    a_run(control, ENDED)
    bad = SavedView(path="../outside", size_bytes=1, unix_ms=1)
    control.tell("GET", "/api/v1/runs/run-1/artifacts", json_told([bad]))
    printed = lambent("runs", "run-1", "--download", str(tmp_path / "out"))
    assert printed.code == 1
    assert "leads out of" in printed.err
    assert not (tmp_path / "outside").exists()


def test_a_run_is_forgotten(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, ENDED)
    control.tell("DELETE", "/api/v1/runs/run-1", Told(status=204))
    assert lambent("runs", "run-1", "--forget").out == "forgot run-1\n"
    assert json.loads(lambent("runs", "run-1", "--forget", "--json").out) == {"forgotten": "run-1"}


@pytest.mark.parametrize("words", [("--forget",), ("--metric", "loss"), ("--download", "x")])
def test_what_is_for_one_run_is_not_done_to_all(lambent: Lambent, words: tuple[str, ...]) -> None:
    assert lambent("runs", *words).code == 2


def test_the_list_has_exits_slices_steps_and_costs(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/runs", json_told([ENDED]))
    header, row = lambent("runs").out.splitlines()
    assert header.split()[:8] == ["RUN", "JOB", "STATE", "EXIT", "DONE", "STEP", "SLICES", "STARTED"]
    for cell in ("finished", "100%", "40", "3", "1 min 16 s", "$0.00500000"):
        assert cell in row


def test_the_log_of_one_run_is_asked_for(control: FakeControl, lambent: Lambent) -> None:
    a_run(control, ENDED)
    assert lambent("logs", "--run", "run-1").out.encode() == PRINTED
    assert lambent("logs", "--run", "run-1", "-f", "-n", "5").out.encode() == PRINTED
    assert control.asked[-1].query == {"tail": "5", "follow": "true"}
    assert lambent("logs").code == 2
    assert lambent("logs", "fit", "--run", "run-1").code == 2


def test_how_a_run_stands_is_one_line() -> None:
    stands = "digits-fit: running  40%  checkpoint 20  slice 2  loss 0.25  $0.00200000"
    assert summary(RUNNING) == f"{stands}  about $0.00500000 and 45 s to go"
    many = msgspec.structs.replace(RUNNING, metrics={f"m{number}": 1.0 for number in range(50)})
    assert "50 metrics" in summary(many)


def test_curves_grow_in_a_few_lines() -> None:
    curves = {f"metric {number:02} {'x' * 50}": LOSS for number in range(12)} | {"none": Points([], [], [])}
    head, *lines, more = live_lines(RUNNING, curves)
    assert "loss" not in head
    assert len(lines) == following.CURVES_MAX
    assert all("█" in line and line.endswith("0.25") for line in lines)
    assert more == "  and 4 more"


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, control: FakeControl, *words: str) -> None:
        self._leader, follower = pty.openpty()
        self.seen = b""
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40", "LANG": "C.UTF-8"}
        environ |= {"LAMBENT_URL": control.url, "LAMBENT_API_KEY": API_KEY, "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lambent.cli.main", *words],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environ,
            start_new_session=True,
        )
        os.close(follower)

    def read_until(self, text: str) -> None:
        while text.encode() not in self.seen and self._read():
            pass
        assert text.encode() in self.seen, self.seen.decode(errors="replace")

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._leader)
        return self.process.wait(PATIENT_S)

    def _read(self) -> bool:
        try:
            piece = os.read(self._leader, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.seen += piece
        return bool(piece)


def test_on_a_terminal_curves_grow_below_what_is_printed(control: FakeControl) -> None:
    a_run(control, RUNNING)
    control.tell("GET", "/api/v1/runs/run-1/logs", Told(chunks=tuple(PRINTED.splitlines(keepends=True))))
    terminal = Terminal(control, "run", "digits-fit", "--follow")
    terminal.read_until("epoch 1")
    terminal.read_until("█")
    control.tell("GET", "/api/v1/runs/run-1", json_told(ENDED))
    control.go_on()
    terminal.read_until("run-1  succeeded  loss 0.125")
    assert terminal.end() == 0
    assert b"epoch  2 of 3" in terminal.seen
    assert b"\x1b[" in terminal.seen


def test_ctrl_c_ends_the_watching_and_says_where_the_run_goes_on(control: FakeControl) -> None:
    a_run(control, RUNNING)
    logs = Told(chunks=(PRINTED, b"later\n"))
    control.tell("GET", "/api/v1/runs/run-1/logs", logs)
    terminal = Terminal(control, "run", "digits-fit", "--follow")
    terminal.read_until("epoch 1")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until("the run goes on: `lambent runs run-1` shows it")
    assert terminal.end() == 130
    assert not [asked for asked in control.asked if asked.method == "DELETE"]
