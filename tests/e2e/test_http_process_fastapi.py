"""A FastAPI application under uvicorn, as a command: it does what it does by itself, through every door."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import boto3
import pytest
import websockets.exceptions
from botocore.config import Config
from websockets.sync.client import ClientConnection, connect

from tests.support.compatibility import note
from tests.support.http_programs import SITE, write_program
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until


@pytest.fixture(scope="module")
def site(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    folder = write_program(tmp_path_factory.mktemp("programs") / "site", SITE, "site_app.py")
    server.deploy(
        folder, "--cmd", "uvicorn site_app:app --host $HOST --port $PORT --ws websockets-sansio",
        "--name", "site", "--set", "ready_path=/ping", "--set", "memory=1GiB",
    )  # fmt: skip
    return server


def client(server: RunningServer, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.about["access_key_id"],
        aws_secret_access_key=server.about["secret_access_key"],
        config=Config(retries={"max_attempts": 1}, read_timeout=PATIENT_S),
    )


def chat(server: RunningServer, query: str = "", **options: Any) -> ClientConnection:
    url = server.url.replace("http", "ws", 1) + f"/invoke/site/chat{query}"
    key = {"Authorization": f"Bearer {server.about['api_key']}"}
    return connect(url, additional_headers=key, open_timeout=PATIENT_S, **options)


def test_its_requests_are_what_they_are_without_us(site: RunningServer) -> None:
    answer = site.request("GET", "/invoke/site/items/caf%C3%A9?q=1", X_Forwarded_Proto="https")
    assert answer.json() == {"item": "café", "query": "q=1", "scheme": "https", "client": "127.0.0.1"}
    assert site.request("GET", "/invoke/site/nowhere").json() == {"detail": "Not Found"}
    assert site.request("DELETE", "/invoke/site/ping").status == 405
    assert site.request("GET", "/invoke/site/openapi.json").json()["paths"]["/ping"]
    note("programs", "FastAPI under uvicorn: requests")


def test_its_events_are_passed_on(site: RunningServer) -> None:
    answer = site.request("GET", "/invoke/site/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    note("programs", "FastAPI under uvicorn: server-sent events")


def test_a_websocket_passes_text_bytes_its_protocol_and_how_it_is_closed(site: RunningServer) -> None:
    with chat(site, subprotocols=["first", "second"]) as chatting:
        assert (chatting.subprotocol, chatting.response and chatting.response.headers["x-own"]) == (
            "second",
            "1",
        )
        chatting.send("grüße")
        assert chatting.recv(PATIENT_S) == "GRÜSSE"
        chatting.send(b"\0\1" * 100_000)
        assert chatting.recv(PATIENT_S) == b"\1\0" * 100_000
        chatting.send("close")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            chatting.recv(PATIENT_S)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4002, "as you wish")
    note("programs", "FastAPI under uvicorn: WebSockets")


def test_a_websocket_that_its_client_closes_or_leaves_is_closed(site: RunningServer) -> None:
    with chat(site) as chatting:
        chatting.close(4001, "enough")
    wait_until(lambda: "closed: 4001" in site.cli("logs", "site").stdout, "the program to hear of it")
    left = chat(site)
    left.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: "closed: 1000" in site.cli("logs", "site").stdout, "the program to hear of it")


def test_a_websocket_that_it_refuses_is_refused(site: RunningServer) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        chat(site, "?no=1")
    assert refused.value.response.status_code == 403


def test_the_clients_of_aws_reach_it_as_they_reach_applications(site: RunningServer) -> None:
    answered = client(site, "sagemaker-runtime").invoke_endpoint(
        EndpointName="site", ContentType="application/json", Body=b'{"inputs": [1]}'
    )
    assert json.loads(answered["Body"].read()) == {"predicted": [1]}
    invoked = client(site, "lambda").invoke(FunctionName="site", Payload=b'{"x": 1}')
    said = json.loads(invoked["Payload"].read())
    assert said == {"got": '{"x": 1}', "type": "application/json"}


def test_an_event_is_posted_to_its_root_or_to_a_path(site: RunningServer, tmp_path: Path) -> None:
    assert json.loads(site.cli("invoke", "site", "-d", '{"x":1}').stdout)["got"] == '{"x":1}'
    said = site.cli("invoke", "site", "--path", "/invocations", "-d", '{"inputs":[2]}')
    assert json.loads(said.stdout) == {"predicted": [2]}
