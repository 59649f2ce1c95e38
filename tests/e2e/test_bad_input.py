"""Bad code and bad requests: each gets a clear answer, and the others do not notice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.server import RunningServer, wait_until

Write = Callable[[str, str], Path]

BAD = """
import os, signal, sys, threading, time

def handler(event, context):
    how = event["how"]
    if how == "raise":
        raise KeyError("no such thing")
    if how == "not json":
        return {"it": object()}
    if how == "exit":
        sys.exit(3)
    if how == "hard exit":
        os._exit(4)
    if how == "print":
        print("x" * 1_000_000)
        return "printed"
    if how == "closed":
        os.close(1)
        sys.stdout.close()
        print("to nowhere")
    if how == "memory":
        return len(bytearray(2_000_000_000))
    if how == "loop":
        while True:
            pass
    if how == "fork":
        if os.fork() == 0:
            return "the child"
        return "the parent"
    if how == "fork and stay":
        child = os.fork()
        if child == 0:
            os.setsid()
            time.sleep(600)
        tell(event, child)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "thread":
        threading.Thread(target=time.sleep, args=(600,)).start()
        return "a thread stays"
    if how == "close all":
        os.closerange(3, 100_000)
        return "closed"
    if how == "sleep":
        tell(event, os.getpid())
        time.sleep(600)
    return "fine"

def tell(event, pid):
    if "file" in event:
        with open(event["file"] + ".part", "w") as file:
            file.write(str(pid))
        os.rename(event["file"] + ".part", event["file"])
"""


@pytest.fixture(scope="module")
def bad(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    """The server with a function that misbehaves on request."""
    path = tmp_path_factory.mktemp("code") / "bad.py"
    path.write_text(BAD)
    server.deploy(f"{path}:handler", "--name", "bad", "--set", "memory=256MiB")
    return server


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ("raise", 500, "KeyError"),
        ("not json", 500, "Runtime.MarshalError"),
        ("exit", 502, "Runtime.ExitError"),
        ("hard exit", 502, "Runtime.ExitError"),
        ("closed", 500, "ValueError"),
        ("memory", 500, "MemoryError"),
        ("fork and stay", 502, "Runtime.ExitError"),
        ("close all", 502, "Runtime.ExitError"),
    ],
)
def test_what_fails_is_named_and_the_next_invocation_is_served(
    bad: RunningServer, how: str, status: int, kind: str
) -> None:
    answer = bad.invoke("bad", {"how": how})
    problem = answer.json()
    assert (answer.status, problem["error_type"]) == (status, kind), problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Lambent-Billed-Ms"]) >= 1
    assert bad.invoke("bad", {"how": "fine"}).json() == "fine"


def test_text_that_is_none_is_its_senders_fault(bad: RunningServer) -> None:
    answer = bad.request("POST", "/invoke/bad", b"caf\xe9", Content_Type="text/plain")
    problem = answer.json()
    assert (answer.status, problem["code"]) == (400, "invalid_request")
    assert problem["error_type"] == "Runtime.UnmarshalError"
    assert "utf-8" in problem["detail"]


def test_what_never_ends_is_ended_at_its_limit_and_the_next_invocation_is_served(
    bad: RunningServer, write: Write
) -> None:
    bad.deploy(f"{write('loops.py', BAD)}:handler", "--name", "loops", "--set", "timeout_s=3")
    answer = bad.invoke("loops", {"how": "loop"})
    assert (answer.status, answer.json()["error_type"]) == (504, "Sandbox.Timedout")
    assert int(answer.headers["Lambent-Billed-Ms"]) >= 3000
    assert bad.invoke("loops", {"how": "fine"}).json() == "fine"


@pytest.mark.parametrize(
    ("how", "answer"), [("print", "printed"), ("fork", "the parent"), ("thread", "a thread stays")]
)
def test_what_is_odd_but_allowed_is_answered(bad: RunningServer, how: str, answer: str) -> None:
    assert bad.invoke("bad", {"how": how}).json() == answer
    assert bad.invoke("bad", {"how": "fine"}).json() == "fine"


def test_a_stray_child_of_a_dead_worker_is_ended(bad: RunningServer, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    bad.invoke("bad", {"how": "fork and stay", "file": str(told)})
    stray = int(told.read_text())
    wait_until(lambda: stray not in {process.pid for process in bad.processes()}, "the stray to be ended")


def test_a_worker_killed_in_the_middle_is_an_answer_and_the_bill_knows(
    bad: RunningServer, tmp_path: Path
) -> None:
    told = tmp_path / "pid"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bad.invoke, "bad", {"how": "sleep", "file": str(told)})
        wait_until(told.exists, "the handler to begin")
        os.kill(int(told.read_text()), signal.SIGKILL)
        problem = answer.result().json()
    assert problem["error_type"] == "Runtime.ExitError"
    assert "SIGKILL" in problem["detail"]


def test_a_body_over_the_limit_is_refused_with_the_limit(bad: RunningServer) -> None:
    answer = bad.request("POST", "/invoke/bad", b"x" * (33 * 1024 * 1024))
    assert answer.status == 413
    assert "33554432" in answer.json()["detail"] or "32" in answer.json()["detail"]


@pytest.mark.parametrize("key", ["", "lk_00000000_wrong", "nonsense"])
def test_a_wrong_key_is_told_so(bad: RunningServer, key: str) -> None:
    answer = bad.request("POST", "/invoke/bad", b"{}", key=key)
    assert answer.status == 401
    assert answer.json()["code"] == "unauthenticated"


def test_an_unknown_deployment_is_named(bad: RunningServer) -> None:
    answer = bad.invoke("nobody")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert "nobody" in answer.json()["detail"]


def test_a_body_that_is_not_json_is_the_callers_fault(bad: RunningServer) -> None:
    answer = bad.invoke("bad", b"{not json")
    assert answer.status == 400
    assert bad.invoke("bad", {"how": "fine"}).json() == "fine"


@pytest.mark.parametrize(
    ("code", "target", "words"),
    [
        ("def handler(event, context)\n    return 1\n", "handler", ["bad.py", "1"]),
        ("def handler(event, context):\n    return 1\n", "handlr", ["handlr", "handler"]),
        (
            "import no_such_module\ndef handler(event, context):\n    return 1\n",
            "handler",
            ["no_such_module"],
        ),
        ("1 / 0\ndef handler(event, context):\n    return 1\n", "handler", ["ZeroDivisionError"]),
        ("import sys\nsys.exit(5)\n", "handler", ["exit"]),
        ("import os\nos._exit(5)\n", "handler", ["5"]),
        ("handler = 3\n", "handler", ["handler"]),
    ],
)
def test_a_deploy_of_broken_code_says_what_is_wrong_in_one_line(
    server: RunningServer, write: Write, code: str, target: str, words: list[str]
) -> None:
    done = server.cli("deploy", f"{write('bad.py', code)}:{target}", "--name", "broken")
    assert done.returncode == 1
    first = done.stderr.strip().splitlines()[0]
    for word in words:
        assert word in done.stderr, first
    assert "Traceback" not in done.stderr.splitlines()[0]
    assert server.invoke("broken").status == 404


def test_a_broken_deploy_leaves_the_old_revision_serving(server: RunningServer, write: Write) -> None:
    good = "def handler(event, context):\n    return 'old'\n"
    server.deploy(f"{write('app.py', good)}:handler", "--name", "steady")
    assert (
        server.cli("deploy", f"{write('app.py', 'import nowhere')}:handler", "--name", "steady").returncode
        == 1
    )
    assert server.invoke("steady").json() == "old"


def test_two_deploys_of_one_name_at_once_both_end_well(server: RunningServer, tmp_path: Path) -> None:
    targets = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "app.py").write_text(f"def handler(event, context):\n    return {number}\n")
        targets.append(f"{folder / 'app.py'}:handler")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda target: server.cli("deploy", target, "--name", "twice"), targets))
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    shown = json.loads(server.cli("show", "twice", "--json").stdout)
    assert sorted(r["number"] for r in shown["revisions"]) == [1, 2]
    assert server.invoke("twice").json() in (0, 1)


def test_a_setting_that_does_not_exist_is_named(server: RunningServer, write: Write) -> None:
    target = f"{write('app.py', 'def handler(e, c):' + chr(10) + '    return 1' + chr(10))}:handler"
    done = server.cli("deploy", target, "--name", "odd", "--set", "memroy=1GiB")
    assert done.returncode != 0
    assert "memroy" in done.stderr
