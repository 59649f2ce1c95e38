"""Every verb as a user types it, against a real server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.models import linear
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

Write = Callable[[str, str], Path]
HELLO = "def handler(event, context):\n    print('saw', event)\n    return {'hello': event.get('x')}\n"


def test_a_file_is_deployed_invoked_listed_logged_and_billed(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('hello.py', HELLO)}:handler", "--name", "hello")
    assert json.loads(server.cli("invoke", "hello", "-d", '{"x": 1}').stdout) == {"hello": 1}
    assert "hello" in server.cli("ls").stdout
    assert "hello" in [d["name"] for d in json.loads(server.cli("ls", "--json").stdout)]
    wait_until(lambda: "saw {'x': 1}" in server.cli("logs", "hello").stdout, "the log line")
    assert "hello" in server.cli("show", "hello").stdout
    usage = json.loads(server.cli("usage", "--json").stdout)
    line = next(line for line in usage["lines"] if line["deployment"] == "hello")
    assert (line["invocations"], line["failed"], line["cold_starts"]) == (1, 0, 1)
    assert line["billed_ms"] >= 1


def test_code_is_imported_with_the_variables_and_the_memory_that_it_was_deployed_with(
    server: RunningServer, write: Write
) -> None:
    code = (
        "import os\nTABLE, ROOM = os.environ['TABLE'], bytearray(700 << 20)\n"
        "def handler(event, context):\n    return [TABLE, len(ROOM) >> 20]\n"
    )
    target = f"{write('wanting.py', code)}:handler"
    server.deploy(target, "--name", "wanting", "--set", "env.TABLE=users", "--set", "memory=1GiB")
    assert server.invoke("wanting").json() == ["users", 700]
    refused = server.cli("deploy", target, "--name", "narrow", "--set", "env.TABLE=users")
    assert refused.returncode != 0
    assert "MemoryError" in refused.stderr


def test_the_headers_of_an_invocation_say_what_it_took(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('echo.py', HELLO)}:handler", "--name", "echo")
    first, second = server.invoke("echo", {"x": 1}), server.invoke("echo", {"x": 2})
    assert (first.status, second.status) == (200, 200)
    assert first.headers["Lambent-Temperature"] in ("cold", "warm", "primed")
    assert second.headers["Lambent-Temperature"] == "hot"
    assert int(second.headers["Lambent-Billed-Ms"]) >= 1
    assert "restore" in first.headers["Server-Timing"]  # a fork only where none was made ahead
    assert "run" in second.headers["Server-Timing"]
    assert first.headers["Lambent-Invocation-Id"] != second.headers["Lambent-Invocation-Id"]
    assert first.headers["Lambent-Revision"] == second.headers["Lambent-Revision"]


def test_a_rollback_serves_the_revision_before(server: RunningServer, write: Write) -> None:
    for word in ("one", "two"):
        server.deploy(
            f"{write('word.py', f'def handler(e, c):{chr(10)}    return {word!r}{chr(10)}')}:handler",
            "--name",
            "word",
        )
        assert server.invoke("word").json() == word
    assert server.cli("rollback", "word").returncode == 0
    assert server.invoke("word").json() == "one"
    shown = json.loads(server.cli("show", "word", "--json").stdout)
    assert [(r["number"], r["active"]) for r in shown["revisions"]] == [(2, False), (1, True)]


def test_a_removed_deployment_is_gone(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('gone.py', HELLO)}:handler", "--name", "gone")
    assert server.cli("rm", "gone").returncode == 0
    assert server.invoke("gone").status == 404
    again = server.cli("rm", "gone")
    assert again.returncode == 1
    assert "gone" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1


def test_an_asynchronous_invocation_can_be_asked_for_later(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('later.py', HELLO)}:handler", "--name", "later")
    accepted = server.invoke("later", {"x": 5}, Prefer="respond-async")
    assert accepted.status == 202
    where = accepted.headers["Location"]
    wait_until(lambda: server.request("GET", where).status == 200, "the result")
    assert server.request("GET", where).json() == {"hello": 5}


def test_a_model_file_is_served_without_code(server: RunningServer, tmp_path: Path) -> None:
    server.deploy(linear(tmp_path / "rows.onnx", inputs=3, outputs=2))
    answer = server.invoke("rows", {"instances": [[1, 2, 3], [0, 0, 0]]})
    assert answer.json() == {"predictions": [[7, 13], [0, 0]]}
    wrong = server.invoke("rows", {"instances": [[1, 2]]})
    assert (wrong.status, wrong.json()["code"]) == (400, "invalid_request")
    assert "3" in wrong.json()["detail"]
    aws = server.request("POST", "/2015-03-31/functions/rows/invocations", b'{"instances": [[1, 2]]}')
    assert (aws.status, aws.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert aws.json()["errorType"] == "ValueError"


def test_idle_workers_go_to_zero_and_wake_from_their_template(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('nap.py', HELLO)}:handler", "--name", "nap", "--set", "keep_alive_s=0.5")
    server.invoke("nap", {})
    wait_until(lambda: server.deployment("nap")["workers"] == 0, "zero workers")
    assert server.deployment("nap")["temperature"] == "primed"
    woken = server.invoke("nap", {})
    assert (woken.status, woken.headers["Lambent-Temperature"]) == (200, "primed")


@pytest.mark.parametrize("verb", ["ls", "usage", "doctor", "runs", "models", "keys ls"])
def test_every_verb_speaks_json(server: RunningServer, verb: str) -> None:
    done = server.cli(*verb.split(), "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_a_following_log_shows_what_comes(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('chatty.py', HELLO)}:handler", "--name", "chatty")
    server.invoke("chatty", {"x": "first"})
    stream = server.http.request(
        "GET",
        f"{server.url}/api/v1/deployments/chatty/logs?tail=10&follow=true",
        headers={"Authorization": f"Bearer {server.about['api_key']}"},
        preload_content=False,
        timeout=PATIENT_S,
    )
    try:
        server.invoke("chatty", {"x": "second"})
        seen = b""
        while b"second" not in seen:
            seen += stream.read1(4096)
        assert b"first" in seen
    finally:
        stream.close()


def test_a_deployment_is_chilled_and_primed_by_hand(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('cool.py', HELLO)}:handler", "--name", "cool")
    server.invoke("cool", {})
    for temperature in ("warm", "cold"):
        done = server.cli("chill", "cool", "--to", temperature)
        assert done.returncode == 0, done.stderr
        assert server.deployment("cool")["temperature"] in (
            temperature,
            "warm",
        )  # others share its environment
        assert server.deployment("cool")["workers"] == 0
    assert json.loads(server.cli("prime", "cool", "--json").stdout)["temperature"] == "primed"
    assert server.invoke("cool", {}).headers["Lambent-Temperature"] == "primed"


def test_what_is_in_use_is_not_chilled(server: RunningServer, write: Write, tmp_path: Path) -> None:
    held = "def handler(event, context):\n    return open(event).read()\n"
    server.deploy(f"{write('busy.py', held)}:handler", "--name", "busy")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.invoke, "busy", str(gate))
        with gate.open("w"):  # opens when the handler is there to read, and lets it end when it closes
            done = server.cli("chill", "busy")
        assert done.returncode == 1
        assert "in use" in done.stderr
        assert running.result().status == 200


def test_the_metrics_say_what_wakes_were_made_of(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('seen.py', HELLO)}:handler", "--name", "seen")
    server.invoke("seen", {})
    page = server.request("GET", "/metrics").body.decode()
    assert 'lambent_invocations_total{deployment="seen",status="ok",temperature="primed"} 1.0' in page
    assert 'lambent_wake_seconds_count{deployment="seen",temperature="primed"} 1.0' in page
    for part in ("restore", "other", "queue", "first_run"):
        assert f'lambent_wake_part_seconds_count{{deployment="seen",part="{part}"}} 1.0' in page
    assert 'lambent_workers{deployment="seen"} 1.0' in page
