"""States of runs on a real server: what is in memory may go, and what is on disk may be damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambent.jobs.arenas import MEMORY, ON_DISK_DIR, STATES_DIR
from lambent.wire import arena
from tests.support.server import RunningServer, wait_until

JOBS = """
import pathlib
import lambent

app = lambent.App("jobs")

@app.job(grace_s=60)
def counts(run):
    total, step = run.restore() or (1, 0)
    while not pathlib.Path(run.params.gate).exists():
        total, step = total * 31 % 1_000_003, step + 1
        run.checkpoint((total, step), step=step)
        pathlib.Path(run.params.gate).parent.joinpath("step").write_text(str(step))
    return [total, step]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("state")).start()
    code = tmp_path_factory.mktemp("code") / "jobs.py"
    code.write_text(JOBS)
    running.deploy(code)
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def started(server: RunningServer, gate: Path) -> str:
    done = server.cli("run", "jobs-counts", "--set", f"gate={gate}", "--detach", "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["run"])


def seen(server: RunningServer, run: str) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", f"/api/v1/runs/{run}").json()
    return found


def further(server: RunningServer, run: str, than: int) -> int:
    """A step after that one, committed and known."""
    wait_until(lambda: seen(server, run)["step"] > than, f"run {run} to come further")
    return int(seen(server, run)["step"])


def right(server: RunningServer, run: str, gate: Path) -> int:
    """The steps that it came to in all, each done once upon the one before."""
    gate.touch()
    wait_until(lambda: seen(server, run)["ended_unix_ms"] is not None, f"run {run} to end")
    end = seen(server, run)
    assert end["state"] == "succeeded", end
    total, step = end["result"]
    wanted = 1
    for _ in range(step):
        wanted = wanted * 31 % 1_000_003
    assert total == wanted
    return int(step)


def arenas_of(server: RunningServer, run: str) -> list[Path]:
    in_memory = [root / run for root in MEMORY.glob("lambent-*") if (root / run).is_dir()]
    on_disk = [server.state_dir / "runs" / run / name for name in (ON_DISK_DIR, arena.SPILL)]
    return [*in_memory, *(path for path in on_disk if path.is_dir())]


def machine_restarts(server: RunningServer, run: str) -> None:
    """The server stops in order, and what was in memory is gone."""
    assert server.stop() == 0, server.log()
    for folder in arenas_of(server, run):
        shutil.rmtree(folder)


def test_after_a_restart_of_the_machine_a_run_goes_on_from_the_disk(
    server: RunningServer, gate: Path
) -> None:
    run = started(server, gate)
    before = further(server, run, 2)
    machine_restarts(server, run)
    server.start()
    assert right(server, run, gate) >= before
    assert arenas_of(server, run) == []


def test_a_state_that_is_damaged_on_disk_is_skipped_to_the_one_before(
    server: RunningServer, gate: Path
) -> None:
    run = started(server, gate)
    further(server, run, 2)
    assert server.stop() == 0, server.log()
    server.start()
    further(server, run, int((gate.parent / "step").read_text()))
    machine_restarts(server, run)
    states = sorted(
        (server.state_dir / "runs" / run / STATES_DIR).glob("*.ckpt"),
        key=lambda path: int(path.stem.split("-")[0]),
    )
    assert len(states) == 2
    content = bytearray(states[-1].read_bytes())
    content[-1] ^= 1
    states[-1].write_bytes(content)
    server.start()
    assert right(server, run, gate) >= int(states[0].stem.split("-")[0])
    assert "state_broken" in server.log()
