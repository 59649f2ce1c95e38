"""tritonclient calls models over HTTP and gRPC, cold and warm, and hears what is wrong in Triton's words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest
import tritonclient.grpc.aio
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from tests.support import compatibility, triton
from tests.support.server import RunningServer
from tests.support.triton import Triton, address_of

INFER = "POST /v2/models/{model}/infer"
BINARY = f"{INFER} (binary tensors)"
DATATYPES = {
    "BOOL": bool, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
X = np.array([[0, 1, 2], [3, 4, 5]])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = triton.start(tmp_path_factory.mktemp("triton"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module", params=["http", "grpc"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[Triton]:
    with triton.connected(server, request.param) as found:
        yield found


def refused(status: str, code: str, client: Triton, call: Any, *words: Any, **named: Any) -> str:
    """What a call is refused with, which must be this status or this code."""
    with pytest.raises(InferenceServerException) as caught:
        call(*words, **named)
    assert str(caught.value.status()).endswith(status if client.kind == "http" else code)
    return str(caught.value.message())


def test_the_server_lives_and_says_what_it_is(client: Triton) -> None:
    assert client.client.is_server_live()  # without a key
    assert client.client.is_server_ready()
    about = client.get_server_metadata()
    assert (about["name"] if client.kind == "http" else about.name) == "lambent"
    client.note("GET /v2/health/live", "ServerLive")
    client.note("GET /v2/health/ready", "ServerReady")
    client.note("GET /v2", "ServerMetadata")


def test_a_cold_model_is_ready_and_an_inference_wakes_it(client: Triton, server: RunningServer) -> None:
    client.unload_model("digits")
    assert server.deployment("digits")["temperature"] == "cold"
    assert client.is_model_ready("digits")
    assert server.deployment("digits")["temperature"] == "cold"
    image = np.random.default_rng(1).random((3, 784), np.float32)
    for _ in range(2):
        told = client.infer("digits", [client.input("image", image, "FP32")], request_id="7")
        assert told.as_numpy("probabilities").shape == (3, 10)
        assert told.as_numpy("digit").tolist() == told.as_numpy("probabilities").argmax(1).tolist()
        answer = told.get_response()
        assert (answer["id"] if client.kind == "http" else answer.id) == "7"
    client.load_model("digits")
    client.note("POST /v2/repository/models/{model}/load", "RepositoryModelLoad")
    client.note("POST /v2/repository/models/{model}/unload", "RepositoryModelUnload")
    client.note("GET /v2/models/{model}/ready", "ModelReady")
    client.note(BINARY, "ModelInfer")


def test_a_model_file_says_what_it_takes_and_gives(client: Triton) -> None:
    told = client.get_model_metadata("digits", **({} if client.kind == "http" else {"as_json": True}))
    assert told["platform"] == "onnxruntime_onnx"
    assert [one["name"] for one in told["outputs"]] == ["probabilities", "digit"]
    assert [int(size) for size in told["inputs"][0]["shape"]] == [-1, 784]
    assert told["inputs"][0]["datatype"] == "FP32"
    client.note("GET /v2/models/{model}", "ModelMetadata")
    config = client.get_model_config("digits", **({} if client.kind == "http" else {"as_json": True}))
    config = config.get("config", config)
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert [int(size) for size in config["input"][0]["dims"]] == [784]
    assert config["max_batch_size"] == 64
    client.note("GET /v2/models/{model}/config", "ModelConfig")


def test_a_class_says_what_it_declares_and_is_held_to_it(client: Triton) -> None:
    told = client.get_model_metadata("declared", **({} if client.kind == "http" else {"as_json": True}))
    assert [(one["name"], one["datatype"]) for one in told["outputs"]] == [("sum", "FP32"), ("half", "BF16")]
    a, b = np.array([[1, 2]], np.float32), np.array([3])
    given = [client.input("a", a, "FP32"), client.input("b", b, "INT64")]
    answer = client.infer("declared", given)
    assert answer.as_numpy("sum").tolist() == [[4, 5]]
    assert np.asarray(answer.as_numpy("half"), np.float32).tolist() == [3]
    only = [client.module.InferRequestedOutput("sum")]
    answer = client.infer("declared", given, outputs=only)
    assert answer.as_numpy("half") is None
    assert answer.as_numpy("sum").tolist() == [[4, 5]]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_comes_back_as_it_went(client: Triton, datatype: str) -> None:
    value = X.astype(DATATYPES[datatype])
    told = client.infer_one("echo", value, datatype)
    assert told.dtype == value.dtype
    assert told.tolist() == value.tolist()


def test_text_and_bfloat16_come_back(client: Triton) -> None:
    value = np.array([["a", "ü"], ["", "b" * 300]], object)
    assert client.infer_one("echo", value, "BYTES").tolist() == [
        [one.encode() for one in row] for row in value.tolist()
    ]
    half = client.infer_one("echo", np.array([1.0, -2.5], ml_dtypes.bfloat16), "BF16")
    assert np.asarray(half, np.float32).tolist() == [1.0, -2.5]


@pytest.mark.parametrize("name", ["echo", "sealed"])
def test_over_http_bytes_that_are_no_text_are_told_to_be_asked_for_as_binary(
    server: RunningServer, name: str
) -> None:
    with triton.connected(server, "http") as client:
        given = [client.input("x", np.array([b"\xff\xfe"], object), "BYTES")]
        wanted = [client.module.InferRequestedOutput("output_0", binary_data=False)]
        message = refused("400", "", client, client.infer, name, given, outputs=wanted)
        assert "binary_data" in message
        assert client.infer(name, given).as_numpy("output_0").tolist() == [b"\xff\xfe"]


def test_over_http_tensors_may_be_json(server: RunningServer) -> None:
    with triton.connected(server, "http") as client:
        wanted = [client.module.InferRequestedOutput("output_0", binary_data=False)]
        for datatype, kind in DATATYPES.items():
            if datatype == "FP16":
                continue
            value = X.astype(kind)
            given = [client.input("x", value, datatype, binary_data=False)]
            told = client.infer("echo", given, outputs=wanted)
            assert told.as_numpy("output_0").tolist() == value.tolist()
        text = [client.input("x", np.array(["ü"], object), "BYTES", binary_data=False)]
        assert client.infer("echo", text, outputs=wanted).as_numpy("output_0").tolist() == ["ü"]
        compatibility.note("open-inference-rest", INFER)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(client: Triton, coding: str) -> None:
    value = np.zeros((64, 1024), np.float32)  # large enough for a thread of its own, small when compressed
    if client.kind == "http":
        how = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    else:
        how = {"compression_algorithm": coding}
    assert client.infer_one("echo", value, "FP32", **how).tolist() == value.tolist()
    compatibility.note("open-inference-rest", f"{INFER} (compressed)")


def test_a_version_is_a_revisions_number(client: Triton) -> None:
    assert client.infer_one("echo", X, "INT64", model_version="1").tolist() == X.tolist()
    said = refused("404", "NOT_FOUND", client, client.infer_one, "echo", X, "INT64", model_version="9")
    assert said == "Request for unknown model: 'echo' version 9 is not found"
    compatibility.note("open-inference-rest", "POST /v2/models/{model}/versions/{version}/infer")


def test_functions_take_tensors_as_lists_and_see_the_parameters(client: Triton) -> None:
    given = [client.input("x", np.array([1, 2]), "INT64")]
    told = client.infer("plain", given, parameters={"kind": "odd"})
    assert told.as_numpy("doubled").tolist() == [2, 4]
    assert told.as_numpy("kind").tolist() == [b"odd"]


def test_the_repository_lists_what_takes_tensors(client: Triton) -> None:
    told = client.get_model_repository_index(**({} if client.kind == "http" else {"as_json": True}))
    listed = told if client.kind == "http" else told["models"]
    assert {one["name"] for one in listed} == {
        "broken", "declared", "digits", "echo", "hang", "plain", "sealed", "shout", "words",
    }  # fmt: skip
    assert {one["state"] for one in listed} == {"READY"}
    client.note("POST /v2/repository/index", "RepositoryIndex")


def test_statistics_count_what_ended_well_and_badly(client: Triton) -> None:
    def counts(name: str) -> tuple[int, int]:
        told = client.get_inference_statistics(name, **({} if client.kind == "http" else {"as_json": True}))
        ended = told["model_stats"][0]["inference_stats"]
        return int(ended["success"].get("count", 0)), int(ended["fail"].get("count", 0))

    good, bad = counts("broken")
    refused("500", "INTERNAL", client, client.infer_one, "broken", X, "INT64")
    assert counts("broken") == (good, bad + 1)
    client.note("GET /v2/models/{model}/stats", "ModelStatistics")
    everything = client.get_inference_statistics()
    assert everything
    compatibility.note("open-inference-rest", "GET /v2/models/stats")


def test_errors_are_told_as_triton_tells_them(client: Triton) -> None:
    def says(status: str, code: str, model: str, value: Any, datatype: str, name: str = "image") -> str:
        given = [client.input(name, value, datatype)]
        return refused(status, code, client, client.infer, model, given)

    bad = ("400", "INVALID_ARGUMENT")
    flat = np.zeros((1, 784), np.float32)
    said = says("404", "NOT_FOUND", "nobody", flat, "FP32")
    assert said == "Request for unknown model: 'nobody' is not found"
    assert "unexpected shape for input 'image'" in says(*bad, "digits", flat[:, :5], "FP32")
    assert "data-type is 'INT64'" in says(*bad, "digits", X, "INT64")
    assert "unexpected inference input 'other'" in says(*bad, "digits", flat, "FP32", "other")
    assert "it is broken" in says("500", "INTERNAL", "broken", flat, "FP32")
    unknown = [client.module.InferRequestedOutput("nothing")]
    given = [client.input("x", X, "INT64")]
    assert "'nothing'" in refused(*bad, client, client.infer, "echo", given, outputs=unknown)
    assert "key" in refused("401", "UNAUTHENTICATED", client, client.client.infer, "echo", given)
    assert client.is_model_ready("nobody") is False


def test_what_is_not_here_is_said_to_be_not_here(client: Triton) -> None:
    bad = ("400", "INVALID_ARGUMENT")
    shared = client.module.InferInput("x", [1], "INT64")
    shared.set_shared_memory("region", 8)
    assert "no memory is shared" in refused(*bad, client, client.infer, "echo", [shared])
    given = [client.input("x", X, "INT64")]
    classes = [client.module.InferRequestedOutput("output_0", class_count=2)]
    assert "classes" in refused(*bad, client, client.infer, "echo", given, outputs=classes)


def test_both_asynchronous_clients_infer_side_by_side(server: RunningServer) -> None:
    key = {"authorization": f"Bearer {server.about['api_key']}"}

    async def ask(kind: str, module: Any) -> list[Any]:
        async with module.InferenceServerClient(address_of(server, kind)) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("echo", headers=key)

            async def one(number: int) -> Any:
                given = module.InferInput("x", [2], "INT64")
                given.set_data_from_numpy(np.array([number, 1]))
                told = await client.infer("echo", [given], headers={**key}, request_id=str(number))
                return told.as_numpy("output_0").tolist()

            return list(await asyncio.gather(*map(one, range(20))))

    for kind, module in (("http", tritonclient.http.aio), ("grpc", tritonclient.grpc.aio)):
        assert asyncio.run(ask(kind, module)) == [[number, 1] for number in range(20)]


def test_a_stream_has_a_response_for_each_piece_and_says_its_last(server: RunningServer) -> None:
    heard: list[tuple[Any, Any]] = []
    with triton.connected(server, "grpc") as client:
        client.client.start_stream(
            lambda result, error: heard.append((result, error)), headers=client.headers
        )
        text = client.input("text_input", np.array(["one two three"], object), "BYTES")
        client.client.async_stream_infer("words", [text], request_id="a", enable_empty_final_response=True)
        client.client.async_stream_infer("echo", [client.input("x", X, "INT64")], request_id="b")
        client.client.async_stream_infer("nobody", [client.input("x", X, "INT64")], request_id="c")
        client.client.stop_stream()  # once all is answered
    told = [result for result, error in heard if error is None]
    words = [one for one in told if one.get_response().id == "a"]
    finals = [one.get_response().parameters["triton_final_response"].bool_param for one in words]
    assert [one.as_numpy("output_0").tolist() for one in words[:-1]] == [[b"one "], [b"two "], [b"three "]]
    assert finals == [False, False, False, True]
    (echo,) = [one for one in told if one.get_response().id == "b"]
    assert echo.get_response().parameters["triton_final_response"].bool_param is True
    assert [str(error) for _, error in heard if error] == ["Request for unknown model: 'nobody' is not found"]
    compatibility.note("open-inference-grpc", "ModelStreamInfer")


def test_a_deadline_of_grpc_ends_what_nobody_waits_for(server: RunningServer) -> None:
    with triton.connected(server, "grpc") as client:
        quick, endless = np.array([0]), np.array([1])
        assert client.infer_one("hang", quick, "INT64").tolist() == [0]
        given = [client.input("x", endless, "INT64")]
        refused("", "DEADLINE_EXCEEDED", client, client.infer, "hang", given, client_timeout=1.0)
        # Its only worker is free again.
        assert client.infer_one("hang", quick, "INT64").tolist() == [0]


def test_text_is_generated_whole_and_as_events(server: RunningServer) -> None:
    body = b'{"text_input": "so it is", "max_tokens": 3}'
    told = server.request("POST", "/v2/models/shout/generate", body)
    assert told.json() == {"model_name": "shout", "model_version": "1", "text_output": "SO IT IS"}
    whole = server.request("POST", "/v2/models/words/generate", body)
    assert whole.json()["text_output"] == "so it is "
    events = server.request("POST", "/v2/models/words/generate_stream", body)
    assert events.headers["content-type"].startswith("text/event-stream")
    each = [msgspec.json.decode(line[6:]) for line in events.body.split(b"\n\n") if line]
    assert [one["text_output"] for one in each] == ["so ", "it ", "is "]
    assert {one["model_name"] for one in each} == {"words"}
    compatibility.note("open-inference-rest", "POST /v2/models/{model}/generate")
    compatibility.note("open-inference-rest", "POST /v2/models/{model}/generate_stream")
