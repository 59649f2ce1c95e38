"""What a call is, whatever its door: one record of usage, one revision to its end, one training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Reply, RunningServer, wait_until
from tests.support.usage import records_of

CODE = """
import os, pathlib, time
import lambent

app = lambent.App("calls")

def until(path):
    while not os.path.exists(path):
        time.sleep(0.01)

@app.model(max_batch=8)
class Talk:
    def chat(self, ask):
        yield "VERSION "
        if "wait" in str(ask):
            pathlib.Path("FOLDER/said").touch()
            until("FOLDER/gate")
        yield "VERSION"

    def embed(self, ask):
        return [[1.0, 2.0] for _ in ask.texts]

    def predict(self, inputs):
        return [1 for _ in inputs]

@app.function
def words(event, context):
    yield "VERSION "
    if "wait" in str(event):
        pathlib.Path("FOLDER/said").touch()
        until("FOLDER/gate")
    yield "VERSION"

@app.function
def told(event, context):
    return {"got": event}

@app.function
def bad(event, context):
    raise ValueError("it is bad")

@app.job
def fit(run):
    until("FOLDER/data")
    (pathlib.Path(run.model_dir) / "weights").write_text("7")

@app.model(train="fit")
class Trained:
    def load(self, model):
        self.weights = 7

    def chat(self, ask):
        return "seven"

    def predict(self, inputs):
        return [self.weights for _ in inputs]
"""
CHAT = {"model": "talk", "messages": [{"role": "user", "content": "?"}], "max_tokens": 9}
TENSORS = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}
EVENT = {"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": {}}
ONE_EVENT = {"Content_Type": "application/cloudevents+json"}
EVENTS = {"Content_Type": "application/cloudevents-batch+json"}
MCP = {"Accept": "application/json, text/event-stream"}


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calls")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    running = RunningServer(folder / "state").start()
    try:
        deploy(running, folder, "first")
        yield running
    finally:
        (folder / "gate").touch()
        (folder / "data").touch()
        running.stop()


def deploy(server: RunningServer, folder: Path, version: str) -> None:
    (folder / "app.py").write_text(CODE.replace("VERSION", version).replace("FOLDER", str(folder)))
    server.deploy(folder / "app.py")


def post(server: RunningServer, path: str, body: Any, headers: dict[str, str] | None = None) -> Reply:
    told = {"Content_Type": "application/json", **(headers or {})}
    return server.request("POST", path, json.dumps(body).encode(), **told)


@pytest.mark.parametrize(
    ("path", "body", "headers", "records"),
    [
        ("/invoke/told", {}, {}, 1),
        ("/invoke/words", {}, {}, 1),
        ("/invoke/bad", {}, {}, 1),
        ("/invoke/told", {}, {"Prefer": "respond-async"}, 1),
        ("/invoke/told", EVENT, ONE_EVENT, 1),
        ("/invoke/told", [EVENT] * 3, EVENTS, 3),
        ("/invoke/bad", [EVENT] * 3, EVENTS, 3),
        ("/v2/models/talk/infer", TENSORS, {}, 1),
        ("/v2/models/talk/infer", {"inputs": []}, {}, 0),
        ("/v2/models/words/generate", {"text_input": ""}, {}, 1),
        ("/v2/models/words/generate_stream", {"text_input": ""}, {}, 1),
        ("/v1/models/talk:predict", {"instances": [1, 2, 3]}, {}, 1),
        ("/v1/models/talk:predict", {}, {}, 0),
        ("/v1/chat/completions", CHAT, {}, 1),
        ("/v1/chat/completions", {**CHAT, "stream": True}, {}, 1),
        ("/v1/completions", {"model": "talk", "prompt": "?"}, {}, 0),
        ("/v1/embeddings", {"model": "talk", "input": ["a", "b"]}, {}, 1),
        ("/v1/responses", {"model": "talk", "input": "?"}, {}, 1),
        ("/v1/messages", CHAT, {}, 1),
        ("/v1/messages", {**CHAT, "stream": True}, {}, 1),
        ("/v1/models/x/told/predictions", {"input": {}}, {"Prefer": "wait"}, 1),
        ("/runpod/v2/told/runsync", {"input": {}}, {}, 1),
        ("/predictions/told", {}, {}, 1),
        ("/predictions/bad", {}, {}, 1),
        ("/mcp", tool("told"), MCP, 1),
        ("/mcp", tool("words"), MCP, 1),
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, MCP, 0),
        ("/endpoints/told/invocations", {}, {}, 1),
    ],
)
def test_each_call_has_one_record_of_usage(
    server: RunningServer, path: str, body: Any, headers: dict[str, str], records: int
) -> None:
    before = len(records_of(server.state_dir))
    told = post(server, path, body, headers)
    if told.status == 202:
        where = told.headers["Location"]
        wait_until(lambda: server.request("GET", where).status == 200, "what was asked for later")
    post(server, "/invoke/told", "a call behind it")
    found = records_of(server.state_dir)[before:]
    assert found[-1].request_bytes == len(json.dumps("a call behind it"))
    assert len(found) == records + 1
    assert len({one.invocation for one in found}) == len(found)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/chat/completions", {**CHAT, "stream": True, "user": "wait"}, {}),
        ("/v1/chat/completions", {**CHAT, "user": "wait"}, {}),
        ("/v1/messages", {**CHAT, "stream": True, "system": "wait"}, {}),
        ("/v2/models/words/generate_stream", {"text_input": "wait"}, {}),
        ("/v2/models/words/generate", {"text_input": "wait"}, {}),
        ("/invoke/words", {**EVENT, "data": "wait"}, ONE_EVENT),
        ("/mcp", tool("words", wait=1), MCP),
    ],
    ids=["openai stream", "openai", "anthropic stream", "generate stream", "generate", "event", "tool"],
)
def test_a_deploy_in_the_middle_of_an_answer_changes_nothing_of_it(
    server: RunningServer, folder: Path, path: str, body: Any, headers: dict[str, str]
) -> None:
    said, gate = folder / "said", folder / "gate"
    said.unlink(missing_ok=True)
    gate.unlink(missing_ok=True)
    deploy(server, folder, "first")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, server, path, body, headers)
        try:
            wait_until(said.exists, "the first word")
            deploy(server, folder, "second")
        finally:
            gate.touch()
        told = asked.result()
    assert told.status == 200
    assert (told.body.count(b"first"), told.body.count(b"second")) == (2, 0), told.body
    after = post(server, path, body, headers).body
    assert (after.count(b"first"), after.count(b"second")) == (0, 2), after


def test_the_first_calls_at_any_door_wait_for_one_training(server: RunningServer, folder: Path) -> None:
    chat = {**CHAT, "model": "trained"}
    late = post(server, "/v2/models/trained/infer", TENSORS, {"Lambent_Timeout_Ms": "100"})
    assert (late.status, "was not trained" in late.json()["error"]) == (504, True)
    calls: list[tuple[str, Any, bytes]] = [
        ("/v2/models/trained/infer", TENSORS, b"7"),
        ("/v1/models/trained:predict", {"instances": [1]}, b"7"),
        ("/v1/chat/completions", chat, b"seven"),
        ("/v1/chat/completions", {**chat, "stream": True}, b"seven"),
        ("/v1/messages", chat, b"seven"),
        ("/invoke/trained", [1], b"7"),
        ("/predictions/trained", [1], b"7"),
        ("/runpod/v2/trained/runsync", {"input": [1]}, b"7"),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        asked: list[Future[Reply]] = [pool.submit(post, server, path, body) for path, body, _ in calls]
        later = post(server, "/invoke/trained", [1], {"Prefer": "respond-async"})
        assert later.status == 202
        (folder / "data").touch()
        told = [one.result() for one in asked]
    for (path, _, wanted), reply in zip(calls, told, strict=True):
        assert (reply.status, wanted in reply.body) == (200, True), (path, reply.body)
    runs = server.request("GET", "/api/v1/runs").json()
    assert [one["state"] for one in runs] == ["succeeded"]
