"""Google's functions-framework, unmodified, as a command: HTTP functions, CloudEvents and streams."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.compatibility import note
from tests.support.programs import environment
from tests.support.raw_http import Raw
from tests.support.server import RunningServer, wait_until

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

FUNCTIONS = """
import os, time
import flask
import functions_framework

@functions_framework.http
def hello(request):
    if request.args.get("raise"):
        raise ValueError("unforeseen")
    return flask.jsonify(method=request.method, path=request.path, got=request.get_json(silent=True),
                         target=os.environ["FUNCTION_TARGET"], service=os.environ["K_SERVICE"])

@functions_framework.cloud_event
def told(event):
    print("event", event["type"], event["source"], event.data, flush=True)

def background(data, context):
    print("background", context.event_type, data, flush=True)

@functions_framework.http
def stream(request):
    def pieces():
        yield "data: first\\n\\n"
        while not os.path.exists(request.args["gate"]):
            time.sleep(0.005)
        yield "data: second\\n\\n"
    return flask.Response(pieces(), mimetype="text/event-stream")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("functions") / "functions"
    folder.mkdir()
    (folder / "main.py").write_text(FUNCTIONS)
    return folder


def deploy(server: RunningServer, folder: Path, target: str, signature: str = "http") -> str:
    name = target.replace("_", "-")
    server.deploy(
        folder, "--cmd", str(environment("functions-framework") / "bin" / "functions-framework"),
        "--name", name, "--set", "memory=1GiB", "--set", f"env.FUNCTION_TARGET={target}",
        "--set", f"env.FUNCTION_SIGNATURE_TYPE={signature}", "--set", "keep_alive_s=0.5",
    )  # fmt: skip
    return name


def test_a_function_of_http(server: RunningServer, folder: Path) -> None:
    name = deploy(server, folder, "hello")
    answer = server.request("PUT", f"/invoke/{name}/a/b", b'{"x": 1}', Content_Type="application/json")
    assert answer.json() == {
        "method": "PUT", "path": "/a/b", "got": {"x": 1}, "target": "hello", "service": "hello"
    }  # fmt: skip
    assert json.loads(server.cli("invoke", name, "-d", "[2]").stdout)["got"] == [2]
    failed = server.request("GET", f"/invoke/{name}?raise=1")
    assert (failed.status, failed.headers["x-google-status"]) == (500, "crash")
    assert server.request("GET", f"/invoke/{name}/robots.txt").status == 404
    assert "unforeseen" in server.cli("logs", name).stdout
    note("programs", "functions-framework: http")


def test_a_function_of_events(server: RunningServer, folder: Path) -> None:
    name = deploy(server, folder, "told", "cloudevent")
    binary = server.request(
        "POST", f"/invoke/{name}", b'{"n": 1}', Content_Type="application/json",
        ce_id="1", ce_source="/here", ce_type="own.binary", ce_specversion="1.0",
    )  # fmt: skip
    assert (binary.status, binary.body) == (200, b"OK")
    event = {"id": "2", "source": "/here", "type": "own.structured", "specversion": "1.0", "data": {"n": 2}}
    structured = server.request(
        "POST", f"/invoke/{name}", json.dumps(event).encode(), Content_Type="application/cloudevents+json"
    )
    assert (structured.status, structured.body) == (200, b"OK")
    printed = server.cli("logs", name).stdout
    assert ("event own.binary /here {'n': 1}" in printed, "event own.structured" in printed) == (True, True)
    no_event = server.request("POST", f"/invoke/{name}", b"no event", Content_Type="application/json")
    assert no_event.status == 400
    note("programs", "functions-framework: cloudevent")


def test_a_function_of_events_as_they_were(server: RunningServer, folder: Path) -> None:
    name = deploy(server, folder, "background", "event")
    event = {"context": {"eventId": "3", "eventType": "own.old", "resource": "r"}, "data": {"n": 3}}
    answer = server.request(
        "POST", f"/invoke/{name}", json.dumps(event).encode(), Content_Type="application/json"
    )
    assert answer.status == 200, answer.body
    assert "background own.old {'n': 3}" in server.cli("logs", name).stdout
    note("programs", "functions-framework: event")


def test_a_function_that_streams_and_sleeps(server: RunningServer, folder: Path, tmp_path: Path) -> None:
    name = deploy(server, folder, "stream")
    gate = tmp_path / "gate"
    with Raw(server) as raw:
        raw.ask("GET", f"/invoke/{name}?gate={gate}")
        assert dict(raw.answered()[1])["content-type"].startswith("text/event-stream")
        chunks = raw.chunks()
        assert next(chunks) == b"data: first\n\n"
        gate.touch()
        assert b"".join(chunks) == b"data: second\n\n"
    wait_until(lambda: server.deployment(name)["workers"] == 0, "it to sleep")
    woken = server.request("GET", f"/invoke/{name}?gate={gate}")
    assert (woken.status, woken.headers["lambent-revision"] != "") == (200, True)
    assert woken.body == b"data: first\n\ndata: second\n\n"
    note("programs", "functions-framework: streams")
