"""KServe's own client infers by the Open Inference Protocol, over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import compatibility, models
from tests.support.programs import told_by
from tests.support.server import RunningServer

PROGRAM = """
import asyncio, json, sys
import grpc, httpx, numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient, InferenceRESTClient, RESTConfig

url, grpc_url, key = sys.argv[1:]
told = {}
rows = np.array([[1, 2, 3, 4]], np.float32)

def asked(binary):
    one = InferInput("x", [1, 4], "FP32")
    one.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest("linear", [one], request_id="7")

def said(answer):
    return [answer.id, answer.outputs[0].name, answer.outputs[0].as_numpy().tolist()]

async def over_http():
    headers = {"Authorization": "Bearer " + key}
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=300))
    told["http"] = {
        "live": await client.is_server_live(url, headers=headers),
        "ready": await client.is_server_ready(url, headers=headers),
        "model": await client.is_model_ready(url, "linear", headers=headers),
        "json": said(await client.infer(url, asked(False), model_name="linear", headers=headers)),
        "binary": said(await client.infer(url, asked(True), model_name="linear", headers=headers)),
    }
    try:
        nobody = InferRequest("nobody", asked(False).inputs)
        await client.infer(url, nobody, model_name="nobody", headers=headers)
    except httpx.HTTPStatusError as error:
        told["http"]["error"] = [error.response.status_code, error.response.json()["error"]]
    await client.close()

async def over_grpc():
    headers = (("authorization", "Bearer " + key),)
    async with InferenceGRPCClient(grpc_url, timeout=300) as client:
        told["grpc"] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("linear", headers=headers),
            "json": said(await client.infer(asked(False), headers=headers)),
            "binary": said(await client.infer(asked(True), headers=headers)),
        }
        try:
            await client.infer(InferRequest("nobody", asked(True).inputs), headers=headers)
        except grpc.RpcError as error:
            told["grpc"]["error"] = [error.code().name, error.details()]

asyncio.run(over_http())
asyncio.run(over_grpc())
print(json.dumps(told))
"""
MISSING = "Request for unknown model: 'nobody' is not found"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("kserve")
    server = RunningServer(folder / "state").start()
    try:
        server.deploy(models.linear(folder / "linear.onnx"))
        about = server.about
        yield told_by("kserve", PROGRAM, server.url, about["grpc_url"], about["api_key"])[-1]
    finally:
        server.stop()


@pytest.mark.programs
@pytest.mark.parametrize(("kind", "missing"), [("http", 404), ("grpc", "NOT_FOUND")])
def test_its_client_infers_and_hears_what_is_wrong(told: Any, kind: str, missing: object) -> None:
    heard = told[kind]
    assert heard["live"] is heard["ready"] is heard["model"] is True
    assert heard["json"] == heard["binary"] == ["7", "y", [[19.0, 29.0, 39.0]]]
    assert heard["error"] == [missing, MISSING]
    if kind == "http":
        compatibility.note("open-inference-rest", "POST /v2/models/{model}/infer")
    else:
        compatibility.note("open-inference-grpc", "ModelInfer")
