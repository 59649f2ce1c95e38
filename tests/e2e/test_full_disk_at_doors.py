"""A disk without room: what is kept nowhere runs as ever, what would have to be kept is refused at each door.

In the shape of that door, and with nothing lost that was acknowledged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.full_disk import is_mounted, small_disk
from tests.support.server import RunningServer

CODE = """
import lambent

app = lambent.App("doors")

@app.model
class Same:
    def predict(self, inputs):
        return [1 for _ in inputs]

    def chat(self, ask):
        return "hello"

@app.function
def told(event, context):
    return {"got": event}
"""
ROOM_BYTES = 48 << 20
CHAT = {"model": "same", "messages": [{"role": "user", "content": "?"}], "max_tokens": 9}
TENSORS = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}
EVENT = {"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": {}}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "told", "arguments": {}}}
FORM = (
    b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\n'
    b'content-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n%b\r\n--x--\r\n'
)
LINE = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str]]:
    """A server on a small disk, and a file that it has kept."""
    folder = tmp_path_factory.mktemp("full")
    with small_disk(folder / "disk", room_bytes=ROOM_BYTES) as disk:
        if not is_mounted(disk):
            pytest.skip("needs a disk that can be filled")
        running = RunningServer(disk / "state").start()
        try:
            (folder / "app.py").write_text(CODE)
            running.deploy(folder / "app.py")
            kept = upload(running)
            assert kept[0] == 200
            yield running, kept[1]["id"]
        finally:
            (disk / "ballast").unlink(missing_ok=True)
            assert running.stop() == 0, running.log()


@pytest.fixture
def full(server: tuple[RunningServer, str]) -> tuple[RunningServer, str]:
    """The same when its disk has run full, whatever has left it meanwhile."""
    ballast = server[0].state_dir.parent / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return server


def ask(server: RunningServer, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    headers.setdefault("Content_Type", "application/json")
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = server.request("POST", path, sent, **headers)
    return told.status, told.json()


def upload(server: RunningServer) -> tuple[int, Any]:
    form = FORM % json.dumps(LINE).encode()
    return ask(server, "/v1/files", form, Content_Type="multipart/form-data; boundary=x")


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/invoke/told", {}, {}),
        ("/invoke/told", EVENT, {"Content_Type": "application/cloudevents+json"}),
        ("/invoke/told", [EVENT], {"Content_Type": "application/cloudevents-batch+json"}),
        ("/v2/models/same/infer", TENSORS, {}),
        ("/v1/models/same:predict", {"instances": [1]}, {}),
        ("/v1/chat/completions", CHAT, {}),
        ("/v1/messages", CHAT, {}),
        ("/predictions/told", {}, {}),
        ("/endpoints/told/invocations", {}, {}),
        ("/mcp", CALL, {"Accept": "application/json, text/event-stream"}),
    ],
)
def test_what_is_kept_nowhere_runs(
    full: tuple[RunningServer, str], path: str, body: Any, headers: dict[str, str]
) -> None:
    assert ask(full[0], path, body, **headers)[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "shape"),
    [
        ("/invoke/told", {}, {"Prefer": "respond-async"}, ["code"]),
        ("/v1/models/x/told/predictions", {"input": {}}, {}, ["detail"]),
        ("/v1/models/x/told/predictions", {"input": {}}, {"Prefer": "wait"}, ["detail"]),
        ("/runpod/v2/told/run", {"input": {}}, {}, ["error"]),
        ("/runpod/v2/told/runsync", {"input": {}}, {}, ["error"]),
    ],
)
def test_what_would_have_to_be_kept_is_refused_in_the_shape_of_its_door(
    full: tuple[RunningServer, str], path: str, body: Any, headers: dict[str, str], shape: list[str]
) -> None:
    status, told = ask(full[0], path, body, **headers)
    assert (status, set(shape) <= told.keys()) == (507, True), told


def test_files_and_batches_of_openais_are_refused_and_those_that_are_kept_are_there(
    full: tuple[RunningServer, str],
) -> None:
    server, kept = full
    begun = {"input_file_id": kept, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    for status, told in (upload(server), ask(server, "/v1/batches", begun)):
        assert (status, told["error"]["code"]) == (507, "storage_full")
    assert server.request("DELETE", f"/v1/files/{kept}").status == 507
    assert server.request("GET", f"/v1/files/{kept}/content").json() == LINE


def test_it_is_ready_and_says_how_it_stands(full: tuple[RunningServer, str]) -> None:
    assert full[0].request("GET", "/readyz").status == 200
    assert full[0].request("GET", "/metrics").status == 200
    done = full[0].cli("doctor")
    assert "Traceback" not in done.stdout + done.stderr + full[0].log()
