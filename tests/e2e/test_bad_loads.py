"""Loads, templates and files that go wrong: each is told clearly, and the rest is served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import linear
from tests.support.server import Reply, RunningServer, is_running, wait_until

Write = Callable[[str, str], Path]

WORK = """
import os, time
def handler(event, context):
    if event:
        open(event["begun"], "w").close()
        while not os.path.exists(event["until"]):
            time.sleep(0.01)
    return os.getpid()
"""
WIDTH = 512


@pytest.fixture(scope="module", autouse=True)
def steady(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Somebody else's function is called all the time, and must never notice anything."""
    path = tmp_path_factory.mktemp("steady") / "app.py"
    path.write_text("def handler(event, context):\n    return 1\n")
    server.deploy(f"{path}:handler", "--name", "steady")
    seen: list[int] = []
    over = threading.Event()

    def call() -> None:
        while not over.wait(0.1):
            seen.append(server.invoke("steady").status)

    thread = threading.Thread(target=call)
    thread.start()
    yield seen
    over.set()
    thread.join()
    assert set(seen) == {200}


def pids(server: RunningServer, name: str, role: str) -> list[int]:
    processes: list[dict[str, Any]] = json.loads(server.request("GET", "/api/v1/processes").body)
    return [one["pid"] for one in processes if (one["deployment"], one["role"]) == (name, role)]


def template_of(server: RunningServer, name: str) -> int:
    found: list[int] = []

    def there() -> bool:
        found[:] = pids(server, name, "template")
        return bool(found)

    wait_until(there, f"a template of {name}")
    return found[0]


@contextmanager
def calls_that_run(server: RunningServer, name: str, folder: Path, count: int) -> Iterator[list[Any]]:
    """So many calls that are in user code now, and run until the block ends."""
    events = [
        {"begun": str(folder / f"{name}-{n}"), "until": str(folder / f"{name}-end")} for n in range(count)
    ]
    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(server.invoke, name, event) for event in events]
        try:
            for event in events:
                wait_until(Path(event["begun"]).exists, "the call to begin")
            yield calls
        finally:
            Path(events[0]["until"]).touch()


def test_a_template_that_is_killed_fails_the_calls_that_run_by_name_and_no_other(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    server.deploy(f"{write('app.py', WORK)}:handler", "--name", "killed")
    with calls_that_run(server, "killed", tmp_path, 2) as calls:
        os.kill(template_of(server, "killed"), signal.SIGKILL)
        after = [server.invoke("killed") for _ in range(5)]
        replies: list[Reply] = [call.result() for call in calls]
    assert [reply.status for reply in after] == [200] * 5
    assert [reply.status for reply in replies] == [502, 502]
    assert all("SIGKILL" in reply.json()["detail"] for reply in replies)


def test_a_template_that_is_killed_under_idle_workers_fails_nothing(
    server: RunningServer, write: Write
) -> None:
    server.deploy(f"{write('app.py', WORK)}:handler", "--name", "idle")
    for _ in range(10):
        assert server.invoke("idle").status == 200
        template = template_of(server, "idle")
        os.kill(template, signal.SIGKILL)
        # The kernel has killed its workers by then: one that ran might begin the call and die in it.
        wait_until(lambda template=template: not is_running(template), "the template's end")  # type: ignore[misc]  # of this turn


def test_an_idle_worker_that_is_killed_just_before_a_call_fails_nothing(
    server: RunningServer, write: Write
) -> None:
    server.deploy(f"{write('app.py', WORK)}:handler", "--name", "shot")
    for _ in range(30):
        reply = server.invoke("shot")
        assert reply.status == 200, reply.body
        os.kill(reply.json(), signal.SIGKILL)


def test_a_template_that_is_stopped_goes_on_when_it_is_needed(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    server.deploy(f"{write('app.py', WORK)}:handler", "--name", "stopped", "--set", "keep_alive_s=0.5")
    with calls_that_run(server, "stopped", tmp_path, 1) as calls:
        os.kill(template_of(server, "stopped"), signal.SIGSTOP)
        assert server.invoke("stopped").status == 200
    assert calls[0].result().status == 200


def test_a_load_that_hangs_ends_with_its_client_and_frees_the_name(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    hangs = f"""
import os, time
def handler(event, context):
    return "old"
# Described first, where it must not hang.
if os.environ.get("HANG"):
    open({str(begun)!r}, "w").close()
    time.sleep(3600)
"""
    words = ["deploy", f"{write('hangs.py', hangs)}:handler", "--name", "hangs", "--set", "env.HANG=1"]
    environ = {**os.environ, "LAMBENT_STATE_DIR": str(server.state_dir)}
    client = subprocess.Popen([sys.executable, "-m", "lambent.cli.main", *words], env=environ)
    wait_until(begun.exists, "the load to hang")
    client.kill()
    client.wait()
    server.deploy(f"{write('app.py', WORK)}:handler", "--name", "hangs")  # in its own two minutes
    assert server.invoke("hangs").status == 200
    wait_until(lambda: len(pids(server, "hangs", "template")) == 1, "the load that hung to end")


def test_a_load_that_needs_more_than_its_memory_is_refused_by_name(
    server: RunningServer, write: Write
) -> None:
    hungry = "weights = bytearray(500_000_000)\ndef handler(event, context):\n    return len(weights)\n"
    target = f"{write('app.py', hungry)}:handler"
    done = server.cli("deploy", target, "--name", "hungry", "--set", "memory=128MiB")
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
    server.deploy(target, "--name", "hungry", "--set", "memory=600MiB")
    assert server.invoke("hungry").json() == 500_000_000


def test_a_load_that_succeeds_one_time_in_three_fails_its_callers_by_name_and_is_served_when_it_does(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    tries.touch()
    moody = f"""
import os
def handler(event, context):
    return "served"
if os.environ.get("MOODY"):
    with open({str(tries)!r}, "a") as file:
        file.write("x")
    if os.path.getsize({str(tries)!r}) % 4 in (1, 2):  # a deploy imports it twice: to describe it, to load it
        raise ConnectionError("the registry does not answer")
"""
    words = ["deploy", f"{write('moody.py', moody)}:handler", "--name", "moody", "--set", "env.MOODY=1"]
    deploys = [server.cli(*words) for _ in range(3)]
    assert [done.returncode for done in deploys] == [1, 1, 0]
    assert "the registry does not answer" in deploys[0].stderr
    assert server.cli("chill", "moody", "--to", "cold").returncode == 0
    replies = [server.invoke("moody") for _ in range(3)]
    assert [reply.status for reply in replies] == [502, 502, 200]
    assert "the registry does not answer" in replies[0].json()["detail"]
    assert not server.deployment("moody").get("last_error")


def changed(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 64)


def truncated(path: Path) -> None:
    os.truncate(path, 100)


def deleted(path: Path) -> None:
    path.parent.chmod(0o755)
    path.unlink()


@pytest.mark.parametrize("damage", [changed, truncated, deleted])
def test_a_model_file_that_changes_on_the_disk_is_named_and_a_deploy_mends_it(
    server: RunningServer, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    name = damage.__name__
    width = WIDTH + len(name)  # of its own: equal models are one artifact
    zeros = {"instances": [[0.0] * width]}
    model = linear(tmp_path / f"{name}.onnx", inputs=width, outputs=width)
    server.deploy(model, "--set", "keep_alive_s=600")
    before = server.invoke(name, zeros)
    assert before.status == 200
    digest = json.loads(server.cli("show", name, "--json").stdout)["revisions"][0]["model_digest"]
    folder = server.state_dir / "artifacts" / digest
    largest = max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    largest.chmod(0o644)
    damage(largest)
    checks = {one["name"]: one for one in json.loads(server.cli("doctor", "--json").stdout)}
    assert checks["server: artifacts"]["state"] == "degraded"
    assert name in checks["server: artifacts"]["detail"]
    assert server.cli("chill", name, "--to", "cold").returncode == 0
    problem = server.invoke(name, zeros).json()
    assert problem["code"] == "storage_broken"
    assert largest.name in problem["detail"]
    assert "deploy" in problem["detail"]
    server.deploy(model, "--set", "keep_alive_s=600")
    after = server.invoke(name, zeros)
    assert (after.status, after.body) == (200, before.body)


def test_a_model_file_that_is_cut_short_under_its_workers_ends_in_the_same_words(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    """Pages that are mapped and gone end a process; the next call hears why."""
    reads = """
import mmap, os
file = open(os.path.join(os.path.dirname(__file__), "weights.bin"), "rb")
weights = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
def handler(event, context):
    return sum(weights[at] for at in range(0, len(weights), 4096))
"""
    folder = tmp_path / "mapped"
    folder.mkdir()
    (folder / "app.py").write_text(reads)
    (folder / "weights.bin").write_bytes(b"\1" * 400_000)
    (folder / "lambent.toml").write_text('[app]\ntarget = "app.py:handler"\n')
    server.deploy(folder, "--name", "mapped")
    assert server.invoke("mapped").json() == 98
    digest = json.loads(server.cli("show", "mapped", "--json").stdout)["revisions"][0]["code_digest"]
    weights = server.state_dir / "artifacts" / digest / "weights.bin"
    weights.chmod(0o644)
    os.truncate(weights, 4096)
    problem = server.invoke("mapped").json()
    assert problem["error_type"] == "Runtime.ExitError"
    assert "SIGBUS" in problem["detail"]
    wait_until(lambda: server.invoke("mapped").json().get("code") == "storage_broken", "it to be noticed")
    server.deploy(folder, "--name", "mapped")
    assert server.invoke("mapped").json() == 98


def test_a_load_that_needs_more_than_the_budget_is_served_and_the_doctor_says_so(tmp_path: Path) -> None:
    other = RunningServer(tmp_path / "state", {"LAMBENT_MEMORY_BUDGET_BYTES": "64MiB"}).start()
    try:
        code = "weights = b'x' * 200_000_000\ndef handler(event, context):\n    return len(weights)\n"
        (tmp_path / "app.py").write_text(code)
        other.deploy(f"{tmp_path / 'app.py'}:handler", "--name", "large")
        assert [other.invoke("large").json() for _ in range(3)] == [200_000_000] * 3

        def told() -> str:
            checks = {one["name"]: one for one in json.loads(other.cli("doctor", "--json").stdout)}
            return str(checks["server: budget"])

        wait_until(lambda: "raise --memory-budget" in told(), "the doctor to say so")
    finally:
        assert other.stop() == 0, other.log()
