"""What is no inference is refused in the protocol's own words, and one that is never whole harms nobody."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from lambent.wire.inference_proto import MESSAGES, SERVICE
from tests.support import models
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

INFER = "/v2/models/linear/infer"
GOOD: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("inference")
    running = RunningServer(folder / "state", environ={"LAMBENT_BODY_BYTES_MAX": "100000"}).start()
    try:
        running.deploy(models.linear(folder / "linear.onnx"))
        yield running
    finally:
        running.stop()


def said(server: RunningServer, body: bytes, **headers: str) -> tuple[int, str]:
    told = server.request("POST", INFER, body, **headers)
    return told.status, told.json().get("error", "")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b'{"inputs":', {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"[" * 50_000, {}, 400),
        (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": ["a", {}, None, []]}]}).encode(), {}, 400),
        (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [1, 2, 3]}]}).encode(), {}, 400),
        (json.dumps(GOOD).encode(), {"Inference_Header_Content_Length": "9999"}, 400),
        (json.dumps(GOOD).encode(), {"Inference_Header_Content_Length": "-1"}, 400),
        (json.dumps(GOOD).encode(), {"Content_Encoding": "br"}, 415),
        (json.dumps(GOOD).encode(), {"Content_Encoding": "gzip"}, 400),
        (zlib.compress(json.dumps(GOOD).encode())[:-3], {"Content_Encoding": "deflate"}, 400),
        (zlib.compress(bytes(10_000_000)), {"Content_Encoding": "deflate"}, 413),
        (bytes(100_001), {}, 413),
    ],
)
def test_what_is_no_inference_is_refused(
    server: RunningServer, body: bytes, headers: dict[str, str], status: int
) -> None:
    code, words = said(server, body, **headers)
    assert (code, bool(words)) == (status, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", INFER, 405),
        ("POST", "/v2/models/linear", 405),
        ("GET", "/v2/models/linear/nothing", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/nobody/ready", 404),
        ("GET", "/v2/models/linear/versions/7", 404),
        ("POST", "/v2/repository/models/nobody/load", 404),
    ],
)
def test_what_is_not_there_is_said_in_its_own_words(
    server: RunningServer, method: str, path: str, status: int
) -> None:
    told = server.request(method, path, b"{}" if method == "POST" else None)
    assert (told.status, [*told.json()]) == (status, ["error"])


def test_a_load_does_not_bring_a_model_with_it(server: RunningServer) -> None:
    told = server.request("POST", "/v2/repository/models/linear/load", b'{"parameters":{"config":"{}"}}')
    assert told.status == 400
    assert "lambent deploy" in told.json()["error"]


def test_nobody_is_let_in_without_a_key(server: RunningServer) -> None:
    for method, path in (("GET", "/v2"), ("POST", INFER), ("GET", "/v2/models/linear/ready")):
        assert server.request(method, path, key="").status == 401
    assert server.request("GET", "/v2/health/live", key="").json() == {"live": True, "ready": True}


def test_who_goes_away_in_the_middle_of_a_body_harms_nobody(server: RunningServer) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.about['api_key']}\r\n"
    for _ in range(3):
        with socket.create_connection((host, int(port)), PATIENT_S) as half:
            half.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    told = server.request("POST", INFER, json.dumps(GOOD).encode())
    assert told.json()["outputs"][0]["data"] == [19.0, 29.0, 39.0]


def call(server: RunningServer, channel: grpc.Channel, request: Any, *, key: bool = True) -> Any:
    infer = channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=lambda one: one if isinstance(one, bytes) else one.SerializeToString(),
        response_deserializer=MESSAGES["ModelInferResponse"].FromString,
    )
    metadata = [("x-api-key", server.about["api_key"])] if key else []
    try:
        return infer(request, metadata=metadata, timeout=PATIENT_S)
    except grpc.RpcError as error:
        return error.code()


def asked(*raw: bytes, **changes: Any) -> Any:
    one = {"name": "x", "datatype": "FP32", "shape": [1, 4], **changes}
    return MESSAGES["ModelInferRequest"](model_name="linear", inputs=[one], raw_input_contents=raw)


def test_over_grpc_what_is_no_inference_is_refused(server: RunningServer) -> None:
    code = grpc.StatusCode
    typed = {"contents": {"fp32_contents": [1, 2, 3, 4]}}
    with grpc.insecure_channel(server.about["grpc_url"]) as channel:
        for request, wanted in [
            (asked(bytes(16), **typed), code.INVALID_ARGUMENT),  # both ways at once
            (asked(), code.INVALID_ARGUMENT),
            (asked(bytes(15)), code.INVALID_ARGUMENT),
            (asked(bytes(16), bytes(16)), code.INVALID_ARGUMENT),
            (asked(datatype="INT8", contents={"int_contents": [1, 2, 3, 400]}), code.INVALID_ARGUMENT),
            (asked(datatype="FP16", **typed), code.INVALID_ARGUMENT),
            (asked(bytes(16), shape=[-1, 4]), code.INVALID_ARGUMENT),
            (MESSAGES["ModelInferRequest"](model_name="nobody"), code.NOT_FOUND),
            (asked(bytes(200_000), shape=[1, 50_000]), code.RESOURCE_EXHAUSTED),
            (b"\xff\xff\xff", code.INVALID_ARGUMENT),
            (MESSAGES["ModelInferRequest"](model_name="ä" * 20_000), code.NOT_FOUND),  # told in short
        ]:
            assert call(server, channel, request) is wanted
        assert call(server, channel, asked(bytes(16)), key=False) is code.UNAUTHENTICATED
        told = call(server, channel, asked(**typed))
        assert told.outputs[0].name == "y"
        assert len(told.raw_output_contents[0]) == 12
