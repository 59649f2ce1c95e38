"""WebSockets through the front door, with the `websockets` client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

Write = Callable[[str, str], Path]
MIB = 1 << 20

CHAT = """
import asyncio, os
import lambent

app = lambent.App("chat")

@app.websocket
async def chat(socket):
    if socket.path == "/first":
        await socket.send("first")
    try:
        async for message in socket:
            if message == "bye":
                await socket.close(4001, "as you said")
            elif message == "fail":
                raise ValueError("a fault of mine")
            elif message == "where":
                await socket.send({"path": socket.path, "query": socket.query})
            elif message == "return":
                return
            else:
                await socket.send(message)
    finally:
        left = socket.headers.get("x-left")
        if left:
            open(left, "w").close()

@app.websocket
async def billed(socket):
    async for message in socket:
        if message == "fail":
            raise ValueError("a fault of mine")
        await socket.send(message)

@app.websocket(socket_idle_s=1)
async def idle(socket):
    async for message in socket:
        await socket.send(message)

@app.websocket(socket_s=1)
async def short(socket):
    async for message in socket:
        await socket.send(message)
"""
SITE = """
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

app = FastAPI()

@app.websocket("/own")
async def own(socket: WebSocket):
    await socket.accept(subprotocol="two" if "two" in socket.scope["subprotocols"] else None,
                        headers=[(b"x-own", b"1")])
    try:
        while True:
            message = await socket.receive_json()
            await socket.send_json({"got": message, "path": socket.url.path, "scheme": socket.url.scheme})
    except WebSocketDisconnect as end:
        open(socket.query_params["left"], "w").write(f"{end.code} {end.reason}")

@app.websocket("/no")
async def no(socket: WebSocket):
    await socket.close()

@app.websocket("/denied")
async def denied(socket: WebSocket):
    headers = {"X-Why": "key", "Set-Cookie": "a=1"}
    await socket.send_denial_response(Response("no such key", 401, headers, "image/own"))

@app.websocket("/unsayable")
async def unsayable(socket: WebSocket):
    answer = Response("no", 401)
    answer.raw_headers.append((b"x-bad", b"a\\x00b"))
    await socket.send_denial_response(answer)

@app.get("/")
def page():
    return "page"
"""


@pytest.fixture(scope="module")
def chat(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    folder = tmp_path_factory.mktemp("chat")
    (folder / "chat.py").write_text(CHAT)
    (folder / "site_of_mine.py").write_text(SITE)
    server.deploy(folder / "chat.py")
    server.deploy(f"{folder / 'site_of_mine.py'}:app", "--name", "site")
    return server


@contextmanager
def opened(server: RunningServer, path: str, **changes: Any) -> Iterator[ClientConnection]:
    key = changes.pop("key", server.about["api_key"])
    headers = {"Authorization": f"Bearer {key}", **changes.pop("headers", {})}
    url = server.url.replace("http", "ws", 1) + f"/invoke/{path}"
    with connect(
        url,
        additional_headers=headers,
        max_size=None,
        open_timeout=PATIENT_S,
        close_timeout=PATIENT_S,
        **changes,
    ) as socket:
        yield socket


def usage(server: RunningServer, name: str) -> tuple[int, int]:
    """How many are on the bill, and how many of them failed."""
    lines = server.request("GET", "/api/v1/usage").json()["lines"]
    return next(
        ((line["invocations"], line["failed"]) for line in lines if line["deployment"] == name), (0, 0)
    )


def ended(socket: ClientConnection) -> tuple[int, str]:
    """How the other end closes it."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(PATIENT_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_messages_go_both_ways_as_they_are(chat: RunningServer) -> None:
    with opened(chat, "chat/first?a=1&b=ü") as socket:
        assert socket.recv(PATIENT_S) == "first"
        for message in ("hello", "", "ü\u2028\n", b"\x00\xff", b"", "x" * MIB, bytes(5 * MIB)):
            socket.send(message)
            assert socket.recv(PATIENT_S) == message
        socket.send("where")
        assert json.loads(socket.recv(PATIENT_S))["path"] == "/first"


def test_many_messages_keep_their_order_and_a_slow_reader_gets_them_all(chat: RunningServer) -> None:
    with opened(chat, "chat") as socket:
        for number in range(500):
            socket.send(f"{number:05d}" * 200)
            if number % 100 == 99:
                for expected in range(number - 99, number + 1):
                    assert socket.recv(PATIENT_S)[:5] == f"{expected:05d}"


def test_a_message_over_the_limit_closes_it_and_one_at_the_limit_does_not(chat: RunningServer) -> None:
    with opened(chat, "chat") as socket:
        socket.send(bytes(16 * MIB))
        assert len(socket.recv(PATIENT_S)) == 16 * MIB
        socket.send(bytes(16 * MIB + 1))
        assert ended(socket)[0] == 1009


@pytest.mark.parametrize(
    ("word", "code", "reason"), [("bye", 4001, "as you said"), ("return", 1000, ""), ("fail", 1011, "")]
)
def test_user_code_says_how_it_is_closed(chat: RunningServer, word: str, code: int, reason: str) -> None:
    with opened(chat, "chat") as socket:
        socket.send(word)
        assert ended(socket) == (code, reason)


def test_user_code_hears_how_its_client_left(chat: RunningServer, tmp_path: Path) -> None:
    left = tmp_path / "left"
    with opened(chat, f"site/own?left={left}") as socket:
        socket.send('{"x": 1}')
        answer = json.loads(socket.recv(PATIENT_S))
        assert answer == {"got": {"x": 1}, "path": "/invoke/site/own", "scheme": "ws"}
        socket.close(4321, "enough")
    wait_until(lambda: left.exists() and left.read_text(), "the end of user code")
    assert left.read_text() == "4321 enough"


def test_a_client_that_vanishes_is_a_client_that_left(chat: RunningServer, tmp_path: Path) -> None:
    left = tmp_path / "left"
    with opened(chat, "chat", headers={"X-Left": str(left)}) as socket:
        socket.send("hello")
        socket.recv(PATIENT_S)
        socket.socket.shutdown(2)
        wait_until(left.exists, "the finally of user code")


def test_protocols_and_headers_of_the_handshake_are_the_applications(
    chat: RunningServer, tmp_path: Path
) -> None:
    with opened(chat, f"site/own?left={tmp_path / 'left'}", subprotocols=["one", "two"]) as socket:
        assert socket.subprotocol == "two"
        assert socket.response is not None
        assert socket.response.headers["X-Own"] == "1"


@pytest.mark.parametrize(
    ("path", "status"), [("site/no", 403), ("site/nowhere", 403), ("nobody", 404), ("hello", 404)]
)
def test_what_is_refused_is_refused_in_the_handshake(chat: RunningServer, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(chat, path):
        pass
    assert refused.value.response.status_code == status


def test_what_an_application_answers_in_the_place_of_a_handshake_is_passed_on(chat: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(chat, "site/denied"):
        pass
    answer = refused.value.response
    assert (answer.status_code, answer.body) == (401, b"no such key")
    assert (answer.headers["X-Why"], answer.headers["Set-Cookie"]) == ("key", "a=1")
    assert answer.headers["Content-Type"] == "image/own"
    with pytest.raises(InvalidStatus) as refused, opened(chat, "site/unsayable"):
        pass
    assert (refused.value.response.status_code, b"bad_head" in refused.value.response.body) == (502, True)


def test_the_key_is_asked_for(chat: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(chat, "chat", key="wrong"):
        pass
    assert refused.value.response.status_code == 401


def test_a_silent_one_is_closed_and_one_that_talks_is_not(chat: RunningServer) -> None:
    with opened(chat, "idle") as socket:
        socket.send("hello")
        assert socket.recv(PATIENT_S) == "hello"
        assert ended(socket)[0] == 1001
    with opened(chat, "idle") as socket:
        socket.send("again")
        assert socket.recv(PATIENT_S) == "again"


def test_one_that_lives_too_long_is_ended(chat: RunningServer) -> None:
    with opened(chat, "short") as socket:
        socket.send("hello")
        assert socket.recv(PATIENT_S) == "hello"
        assert ended(socket)[0] == 1011


def test_one_deployment_answers_http_and_sockets_side_by_side(chat: RunningServer, tmp_path: Path) -> None:
    with opened(chat, f"site/own?left={tmp_path / 'left'}") as socket:
        assert chat.request("GET", "/invoke/site/").json() == "page"
        socket.send("1")
        assert json.loads(socket.recv(PATIENT_S))["got"] == 1
    upgrade = chat.request("GET", "/invoke/chat")
    assert (upgrade.status, upgrade.headers["Upgrade"]) == (426, "websocket")


def test_each_is_on_the_bill_with_what_was_said(chat: RunningServer) -> None:
    with opened(chat, "billed") as socket:
        socket.send("x" * 1000)
        socket.recv(PATIENT_S)
    with opened(chat, "billed") as socket:
        socket.send("fail")
        assert ended(socket)[0] == 1011
    wait_until(lambda: usage(chat, "billed") == (2, 1), "both on the bill")


def test_a_server_that_stops_tells_user_code_and_clients_at_once(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "state").start()
    (tmp_path / "chat.py").write_text(CHAT)
    server.deploy(tmp_path / "chat.py")
    left = tmp_path / "left"
    with opened(server, "chat", headers={"X-Left": str(left)}) as socket:
        socket.send("hello")
        assert socket.recv(PATIENT_S) == "hello"
        assert server.process is not None
        server.process.terminate()
        assert ended(socket)[0] == 1001
        assert left.exists()
        assert server.process.wait(PATIENT_S) == 0, server.log()


def test_a_server_that_is_killed_takes_its_sockets_along(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "state").start()
    (tmp_path / "chat.py").write_text(CHAT)
    server.deploy(tmp_path / "chat.py")
    with opened(server, "chat") as socket:
        socket.send("hello")
        socket.recv(PATIENT_S)
        server.kill()
        with pytest.raises(ConnectionClosed):
            socket.recv(PATIENT_S)
