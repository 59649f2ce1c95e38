"""Replicate's and RunPod's APIs answer whatever is sent in their own words, never with an error of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.raw_http import Raw
from tests.support.server import Reply, RunningServer, wait_until

CODE = """
import time

def handler(event, context):
    if event == "fail":
        raise ValueError("no such name")
    if event == "sleep":
        time.sleep(600)
    if event == "bytes":
        return b"\\x00\\x01"
    return {"got": event}
"""
REPLICATE = ["/v1/predictions", "/v1/models/me/echo/predictions", "/v1/deployments/me/echo/predictions"]
RUNPOD = ["/runpod/v2/echo/run", "/runpod/v2/echo/runsync"]
WRONG = [
    b"", b"null", b"[]", b"{}", b'"text"', b"{", b'{"input": ', b"\xff\xfe", b"[" * 100_000,
    b'{"inputs": {}}', b'{"input": {}, "webhook": 7}', b'{"input": {}, "webhook": "ftp://x"}',
    b'{"input": {}, "webhook": "http://a:b@c/"}',
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environ = {"LAMBENT_BODY_BYTES_MAX": "1MiB"}
    running = RunningServer(tmp_path_factory.mktemp("state"), environ).start()
    code = tmp_path_factory.mktemp("code") / "echo.py"
    code.write_text(CODE)
    try:
        running.deploy(f"{code}:handler", "--name", "echo")
        yield running
    finally:
        status = running.stop()
    assert status == 0, running.log()


def post(server: RunningServer, path: str, body: object, **headers: str) -> Reply:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.request("POST", path, sent, **headers)


def is_replicates(reply: Reply) -> bool:
    said = reply.json()
    return said["status"] == reply.status and {"title", "detail"} < said.keys()


def is_runpods(reply: Reply) -> bool:
    return isinstance(reply.json()["error"], str)


@pytest.mark.parametrize("path", REPLICATE)
@pytest.mark.parametrize("body", [*WRONG, b'{"input": 7}', b'{"input": {}, "webhook_events_filter": "all"}'])
def test_replicate_refuses_what_is_wrong(server: RunningServer, path: str, body: bytes) -> None:
    reply = post(server, path, body, Content_Type="application/json")
    assert 400 <= reply.status < 500
    assert is_replicates(reply)


@pytest.mark.parametrize("path", RUNPOD)
@pytest.mark.parametrize("body", [*WRONG, b'{"input": null}'])
def test_runpod_refuses_what_is_wrong(server: RunningServer, path: str, body: bytes) -> None:
    reply = post(server, path, body, Content_Type="application/json")
    assert 400 <= reply.status < 500
    assert is_runpods(reply)


def test_what_is_too_large_is_refused_in_their_words(server: RunningServer) -> None:
    body = b'{"input": {"x": "' + b"x" * (1 << 20) + b'"}}'
    refused = [post(server, path, body) for path in (REPLICATE[1], RUNPOD[0])]
    assert [reply.status for reply in refused] == [413, 413]
    assert is_replicates(refused[0])
    assert is_runpods(refused[1])


@pytest.mark.parametrize("path", [REPLICATE[1], RUNPOD[1]])
def test_who_leaves_in_the_middle_of_a_body_harms_nobody(server: RunningServer, path: str) -> None:
    with Raw(server) as raw:
        raw.head("POST", path, "Content-Length: 100", "Content-Type: application/json")
        raw.socket.sendall(b'{"input": ')
    assert post(server, RUNPOD[1], {"input": 1}).json()["output"] == {"got": 1}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/predictions", 405),
        ("DELETE", "/v1/predictions/x", 405),
        ("GET", "/v1/predictions/x", 404),
        ("GET", "/v1/predictions/x/cancel", 405),
        ("POST", "/v1/predictions/x/cancel", 404),
        ("POST", "/v1/models/me/nobody/predictions", 404),
        ("POST", "/v1/models/me/%00/predictions", 404),
        ("GET", "/v1/models/me/echo/versions/x", 404),
        ("GET", "/v1/models/me/nobody/versions", 404),
        ("POST", "/v1/webhooks/default/secret", 405),
        ("GET", "/runpod/v2/echo/run", 405),
        ("POST", "/runpod/v2/echo/health", 405),
        ("GET", "/runpod/v2/echo/status/x", 404),
        ("GET", "/runpod/v2/echo/stream/x", 404),
        ("POST", "/runpod/v2/echo/cancel/x", 404),
        ("POST", "/runpod/v2/nobody/run", 404),
        ("GET", "/runpod/v2/nobody/health", 404),
        ("GET", "/runpod/v2/", 404),
        ("GET", "/runpod/v2/echo/everything", 404),
    ],
)
def test_what_there_is_not_is_refused_in_their_words(
    server: RunningServer, method: str, path: str, status: int
) -> None:
    reply = server.request(method, path, b'{"input": {}}' if method == "POST" else None)
    assert reply.status == status
    assert is_runpods(reply) if path.startswith("/runpod") else is_replicates(reply)


@pytest.mark.parametrize("path", ["/v1/predictions/x", "/runpod/v2/echo/health"])
def test_without_a_key_nobody_is_answered(server: RunningServer, path: str) -> None:
    assert server.request("GET", path, key="").status == 401
    assert server.request("GET", path, key="wrong").status == 401


def test_neither_shows_what_was_accepted_elsewhere(server: RunningServer) -> None:
    ours = server.invoke("echo", 1, Prefer="respond-async").headers["lambent-invocation-id"]
    theirs = post(server, RUNPOD[0], {"input": 1}).json()["id"]
    for ticket in (ours, theirs):
        assert server.request("GET", f"/v1/predictions/{ticket}").status == 404
    assert server.request("GET", f"/runpod/v2/echo/status/{ours}").status == 404
    assert server.request("GET", f"/invocations/{theirs}").status in (200, 202)


def test_a_prediction_that_fails_is_final_at_once_and_what_is_no_json_is_a_data_url(
    server: RunningServer,
) -> None:
    failed = post(server, RUNPOD[1], {"input": "fail"}).json()
    assert (failed["status"], failed["error"]) == ("FAILED", "no such name")
    made = post(server, RUNPOD[1], {"input": "bytes"}).json()
    assert made["output"] == "data:application/octet-stream;base64,AAE="


def test_a_prediction_is_cancelled_once_and_stays_so(server: RunningServer) -> None:
    made = post(server, "/runpod/v2/echo/run", {"input": "sleep"}).json()["id"]
    where = f"/runpod/v2/echo/status/{made}"
    wait_until(lambda: server.request("GET", where).json()["status"] == "IN_PROGRESS", "its run")
    for _ in range(2):
        reply = post(server, f"/runpod/v2/echo/cancel/{made}", b"")
        assert (reply.status, reply.json()["status"]) == (200, "CANCELLED")


def test_predictions_survive_the_server(server: RunningServer) -> None:
    made = post(server, REPLICATE[0], {"version": "me/echo", "input": {"x": 1}}, Prefer="wait").json()
    assert (made["status"], made["output"]) == ("succeeded", {"got": {"x": 1}})
    server.kill()
    server.start()
    kept = server.request("GET", f"/v1/predictions/{made['id']}").json()
    assert (kept["output"], kept["input"], kept["model"]) == ({"got": {"x": 1}}, {"x": 1}, "me/echo")
