"""KServe's own client calls models by V1, with and without events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import models
from tests.support.programs import told_by
from tests.support.server import RunningServer

CODE = """
class Half:
    def predict(self, inputs):
        return [one / 2 for one in inputs]

    def explain(self, inputs):
        return {"explanations": [str(one) for one in inputs]}
"""
PROGRAM = """
import asyncio, json, sys
import httpx
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http
from kserve import InferenceRESTClient, RESTConfig

url, key = sys.argv[1:]
headers = {"Authorization": "Bearer " + key}
told = {}

async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=300))
    told["ready"] = await client.is_model_ready(url, "half", headers=headers)
    told["rows"] = await client.infer(url, {"instances": [1, 2]}, model_name="half", headers=headers)
    told["columns"] = await client.infer(url, {"inputs": [[1, 2]]}, model_name="linear", headers=headers)
    told["explained"] = await client.explain(url, "half", {"instances": [1]}, headers=headers)
    for name, data in (("nobody", {"instances": [1]}), ("half", {"instances": "x"})):
        try:
            await client.infer(url, data, model_name=name, headers=headers)
        except httpx.HTTPStatusError as error:
            told.setdefault("errors", []).append([error.response.status_code, error.response.json()["error"]])
    event = CloudEvent({"type": "ask", "source": "here"}, {"instances": [8]})
    for write in (to_binary, to_structured):
        sent, body = write(event)
        where = url + "/v1/models/half:predict"
        answer = await client._client.post(where, content=body, headers={**headers, **sent})
        read = from_http(answer.headers, answer.content)
        told.setdefault("events", []).append([read["type"], read["source"], read.data])
    await client.close()

asyncio.run(main())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("kserve")
    (folder / "code.py").write_text(CODE)
    models.linear(folder / "linear.onnx", inputs=2, outputs=2)
    server = RunningServer(folder / "state").start()
    try:
        server.deploy(f"{folder / 'code.py'}:Half", "--name", "half")
        server.deploy(folder / "linear.onnx")
        yield told_by("kserve", PROGRAM, server.url, server.about["api_key"])[-1]
    finally:
        server.stop()


@pytest.mark.programs
def test_its_client_predicts_and_explains(told: Any) -> None:
    assert told["ready"] is True
    assert told["rows"] == {"predictions": [0.5, 1.0]}
    assert told["columns"] == {"outputs": [[1.0, 4.0]]}
    assert told["explained"] == {"explanations": ["1"]}


@pytest.mark.programs
def test_its_client_is_told_what_is_wrong(told: Any) -> None:
    (missing, whose), (bad, why) = told["errors"]
    assert (missing, whose) == (404, "Servable not found for request: Latest(nobody)")
    assert bad == 400
    assert "Expecting 'instances' to be an list/array" in why


@pytest.mark.programs
def test_an_event_is_answered_by_the_event_that_kserve_answers_by(told: Any) -> None:
    answer = ["io.kserve.inference.response", "io.kserve.inference.half", {"predictions": [4.0]}]
    assert told["events"] == [answer, answer]
