"""Programs that serve HTTP on $PORT: what they say and hear is passed on as it is."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_programs import COMMAND, as_raw, get, write_program
from tests.support.raw_http import Raw
from tests.support.server import RunningServer, wait_until

MIB = 1 << 20
KEY_OF_SOCKET = base64.b64encode(bytes(16)).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(tmp_path_factory.mktemp("programs") / "actor")


@pytest.fixture(scope="module")
def actor(server: RunningServer, folder: Path) -> RunningServer:
    """A program that does as it is told, deployed as `actor`."""
    assert "deployed  actor" in server.deploy(folder, "--cmd", COMMAND, "--name", "actor")
    return server


def test_a_request_arrives_as_it_was_sent_but_for_its_way(actor: RunningServer) -> None:
    with Raw(actor) as raw:
        raw.ask(
            "GET", "/invoke/actor/a%2Fb/../caf%C3%A9;v=1?q=%20&q=&q", None,
            "X-Twice: 1", "X-Twice: 2", "Cookie: c=3", "Connection: X-Hop", "X-Hop: 1", "TE: trailers",
            "X-Forwarded-For: 10.0.0.7", "X-Forwarded-Proto: https", "Accept-Encoding: br",
        )  # fmt: skip
        _, headers = raw.answered()
        said = json.loads(raw.body(int(dict(headers)["content-length"])))
    assert (said["method"], said["target"]) == ("GET", "/a%2Fb/../caf%C3%A9;v=1?q=%20&q=&q")
    told = dict(said["headers"])
    assert [value for name, value in said["headers"] if name == "x-twice"] == ["1", "2"]
    assert (told["cookie"], told["accept-encoding"], told["host"]) == ("c=3", "br", "here")
    assert not {"x-hop", "authorization"} & told.keys()
    assert (told["te"], told["connection"]) == ("trailers", "te")  # said anew, for this connection
    assert told["x-forwarded-for"] == "10.0.0.7, 127.0.0.1"
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("https", "here")
    assert told["x-forwarded-prefix"] == "/invoke/actor"
    assert told["forwarded"] == 'for=127.0.0.1;proto=http;host="here"'
    assert told["traceparent"].startswith("00-")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
def test_every_method_is_the_programs(actor: RunningServer, method: str) -> None:
    body = None if method in ("GET", "HEAD", "OPTIONS") else b"\0\xff"
    answer = actor.request(method, "/invoke/actor/x", body)
    assert answer.status == 200
    if method == "HEAD":
        assert (answer.body, int(answer.headers["content-length"]) > 50) == (b"", True)
    else:
        assert answer.json()["method"] == method
        assert base64.b64decode(answer.json()["body"]) == (body or b"")


def test_its_root_is_where_it_is_deployed(actor: RunningServer) -> None:
    assert get(actor, "").json()["target"] == "/"
    assert get(actor, "?a=1").json()["target"] == "/?a=1"
    assert actor.invoke("actor", {"x": 1}).json()["target"] == "/"


def test_it_is_told_what_other_platforms_tell(actor: RunningServer) -> None:
    told = get(actor, "/environ").json()
    port = told["PORT"]
    assert (told["HOST"], told["AIP_HTTP_PORT"], told["SAGEMAKER_BIND_TO_PORT"]) == ("127.0.0.1", port, port)
    assert (told["K_SERVICE"], told["K_CONFIGURATION"], told["K_REVISION"]) == (
        "actor",
        "actor",
        "actor-00001",
    )
    assert (told["AIP_HEALTH_ROUTE"], told["AIP_PREDICT_ROUTE"]) == ("/health", "/predict")
    assert Path(told["AIP_STORAGE_URI"]).samefile(told["cwd"])
    assert (Path(told["cwd"]) / "actor.py").exists()
    assert not [name for name in told if name.startswith("AWS_LAMBDA")]


def test_the_headers_of_an_answer_are_passed_on_but_for_those_of_its_connection(actor: RunningServer) -> None:
    answer = (
        b"HTTP/1.1 418 Short\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Hop: 1\r\n"
        b"Connection: x-hop, close\r\nKeep-Alive: 5\r\nServer: own\r\nContent-Length: 3\r\n\r\nabc"
    )
    with Raw(actor) as raw:
        raw.ask("GET", as_raw(answer) + "&close")
        status, headers = raw.answered()
        assert (status, raw.body(3)) == (418, b"abc")
        assert [value for name, value in headers if name == "set-cookie"] == ["a=1", "b=2"]
        told = dict(headers)
        assert (told["server"], told["content-length"]) == ("own", "3")
        assert not {"x-hop", "keep-alive"} & told.keys()
        assert [name for name, _ in headers].count("date") == 1


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_leaves_both_connections_usable(actor: RunningServer, status: int) -> None:
    with Raw(actor) as raw:
        for _ in range(2):
            raw.ask("GET", as_raw(b'HTTP/1.1 %d X\r\nETag: "x"\r\n\r\n' % status))
            said, headers = raw.answered()
            assert (said, dict(headers)["etag"]) == (status, '"x"')


def test_what_is_said_before_an_answer_is_not_taken_for_it(actor: RunningServer) -> None:
    with Raw(actor) as raw:
        answer = (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        )
        raw.ask("GET", as_raw(answer))
        status, headers = raw.answered()
        assert (status, raw.body(2), "link" in dict(headers)) == (200, b"ok", False)


BEHIND = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\n"
    b"X-Sum: 900150983cd2\r\nGrpc-Status: 0\r\nContent-Type: x/y\r\nSet-Cookie: a=1\r\n\r\n"
)


def test_what_stands_behind_a_body_is_passed_on_to_who_reads_it(actor: RunningServer) -> None:
    with Raw(actor) as raw:
        for _ in range(2):  # on the same connections
            raw.ask("GET", as_raw(BEHIND), None, "TE: trailers;q=0.5", "Connection: TE")
            status, headers = raw.answered()
            assert (status, dict(headers)["transfer-encoding"]) == (200, "chunked")
            assert raw.with_trailers() == (b"abc", [("x-sum", "900150983cd2"), ("grpc-status", "0")])
        raw.ask("GET", as_raw(BEHIND))  # who does not say that it reads them: the body is whole by then
        assert raw.answered()[0] == 200
        assert raw.body(3) == b"abc"


def test_an_answer_may_end_with_its_connection(actor: RunningServer) -> None:
    for first in (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK"):
        answer = actor.request("GET", as_raw(first + b"\r\n\r\nall of it") + "&close")
        assert (answer.status, answer.body) == (200, b"all of it")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"this is no HTTP\r\n\r\n", id="garbage"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", id="two lengths"
        ),
        pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: own\r\nConnection: upgrade\r\n\r\n", id="switch"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="half a head"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 600 + b"\r\n", id="too many headers"),
    ],
)
def test_what_is_no_answer_is_a_bad_gateway(actor: RunningServer, answer: bytes) -> None:
    reply = actor.request("GET", as_raw(answer) + "&close")
    assert (reply.status, reply.json()["error_type"]) == (502, "Lambent.NoResponse")
    assert get(actor, "/").status == 200


@pytest.mark.parametrize(
    ("answer", "host", "status"),
    [
        pytest.param(b"this is no HTTP\r\n\r\n", "here", 502, id="garbage"),
        pytest.param(b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n", "here:99999", 401, id="no such port"),
        pytest.param(b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n", "here/echo?", 401, id="no host"),
    ],
)
def test_a_handshake_that_fails_is_told_as_a_request_that_does(
    actor: RunningServer, answer: bytes, host: str, status: int
) -> None:
    with Raw(actor) as raw:
        opening = (
            f"GET {as_raw(answer)}&close HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY_OF_SOCKET}\r\n"
            f"Authorization: Bearer {actor.about['api_key']}\r\n\r\n"
        )
        raw.socket.sendall(opening.encode())
        assert raw.answered()[0] == status


def test_what_a_program_answers_in_the_place_of_a_handshake_is_passed_on(actor: RunningServer) -> None:
    answer = (
        b"HTTP/1.1 401 Who\r\nDate: 1\r\nDate: 2\r\nContent-Type: text/own\r\nContent-Type: text/other\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
    )
    with Raw(actor) as raw:
        opening = (
            f"GET {as_raw(answer)}&close HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY_OF_SOCKET}\r\n"
            f"Authorization: Bearer {actor.about['api_key']}\r\n\r\n"
        )
        raw.socket.sendall(opening.encode())
        status, headers = raw.answered()
        assert (status, raw.body(2)) == (401, b"no")
    assert [value for name, value in headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert [value for name, value in headers if name in ("content-type", "content-length")] == [
        "text/own",
        "2",
    ]


def test_half_an_answer_is_not_taken_for_a_whole_one(actor: RunningServer) -> None:
    with Raw(actor) as raw:
        raw.ask("GET", as_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\nabc") + "&close")
        assert dict(raw.answered()[1])["content-length"] == "900000"
        with pytest.raises(ConnectionError):
            raw.body(900_000)


def test_an_answer_streams_as_it_is_made(actor: RunningServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Raw(actor) as raw:
        raw.ask("GET", f"/invoke/actor/gated?gate={gate}")
        _, headers = raw.answered()
        assert dict(headers)["content-type"] == "text/event-stream"
        chunks = raw.chunks()
        assert next(chunks) == b"first "
        gate.touch()
        assert b"".join(chunks) == b"second"
        raw.ask("GET", "/invoke/actor/")
        assert raw.answered()[0] == 200


def test_an_upload_streams_with_and_without_a_length(actor: RunningServer) -> None:
    size = 20 * MIB
    assert actor.request("POST", "/invoke/actor/upload", bytes(size)).json() == {
        "total": size,
        "pieces": True,
    }
    with Raw(actor) as raw:
        raw.head("POST", "/invoke/actor/upload", "Transfer-Encoding: chunked", "Expect: 100-continue")
        for _ in range(20):
            raw.socket.sendall(b"%x\r\n" % MIB + bytes(MIB) + b"\r\n")
        raw.socket.sendall(b"0\r\n\r\n")
        status, headers = raw.answered()
        if status == 100:
            _, headers = raw.answered()
        assert json.loads(raw.body(int(dict(headers)["content-length"])))["total"] == size


def test_an_answer_may_come_before_its_request_is_whole(actor: RunningServer) -> None:
    with Raw(actor) as raw:
        raw.head("POST", "/invoke/actor/early", f"Content-Length: {20 * MIB}")
        raw.socket.sendall(bytes(65536))
        assert raw.answered()[0] == 200
        assert raw.body(6) == b"enough"
    assert get(actor, "/").status == 200


def test_a_program_is_read_no_faster_than_its_client_reads_and_hears_that_it_left(
    actor: RunningServer, tmp_path: Path
) -> None:
    sent, left = tmp_path / "sent", tmp_path / "left"
    with Raw(actor) as raw:
        raw.ask("GET", f"/invoke/actor/forever?sent={sent}&left={left}")
        raw.answered()
        chunks = raw.chunks()
        next(chunks)
        wait_until(sent.exists, "it to have written")
        before = -1
        while before != (now := int(sent.read_text())):  # until it has stood still for a while
            before = now
            for _ in range(20):
                get(actor, "/")
        assert now < 64 * MIB
        raw.vanish()
    wait_until(left.exists, "the program to hear that its client left")


def test_a_client_that_leaves_before_the_answer_is_heard_of(actor: RunningServer, tmp_path: Path) -> None:
    asked, gate, left = tmp_path / "asked", tmp_path / "gate", tmp_path / "left"
    raw = Raw(actor)
    raw.ask("GET", f"/invoke/actor/held?asked={asked}&gate={gate}&left={left}")
    wait_until(asked.exists, "the request")
    raw.vanish()
    wait_until(left.exists, "the program to hear that its client left")


def test_connections_to_it_are_used_again(actor: RunningServer) -> None:
    connections = {get(actor, "/").json()["connection"] for _ in range(20)}
    assert len(connections) < 20


def test_it_is_invoked_later_as_a_post_to_its_root(actor: RunningServer) -> None:
    later = actor.invoke("actor", {"x": 1}, Prefer="respond-async")
    where = later.headers["Location"]
    wait_until(lambda: actor.request("GET", where).status == 200, "the result")
    said: dict[str, Any] = actor.request("GET", where).json()
    assert (said["method"], said["target"], base64.b64decode(said["body"])) == ("POST", "/", b'{"x": 1}')
