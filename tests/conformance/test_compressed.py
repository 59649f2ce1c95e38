"""What clients of V1, OpenAI and Anthropic compress is read, and what they want compressed is sent so."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.support.compatibility import note
from tests.support.openai_client import says
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer
from tests.support.talkers import talking

CODE = """
class Half:
    def predict(self, inputs):
        return [one / 2 for one in inputs]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("compressed")
    (folder / "code.py").write_text(CODE)
    with talking(folder) as running:
        running.deploy(folder / "code.py:Half", "--name", "half")
        yield running


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_predictions_may_be_compressed_both_ways(server: RunningServer, coding: str, pack: Any) -> None:
    rows = [float(number) for number in range(2000)]
    packed = pack(json.dumps({"instances": rows}).encode())
    path = "/v1/models/half:predict"
    told = server.request("POST", path, packed, Content_Encoding=coding, Accept_Encoding=coding)
    assert (told.status, told.headers["content-encoding"]) == (200, coding)
    assert told.json() == {"predictions": [row / 2 for row in rows]}
    plain = server.request("POST", path, packed, Content_Encoding=coding, Accept_Encoding="gzip, deflate")
    assert "content-encoding" not in plain.headers  # a client on this machine gains nothing
    assert plain.json() == told.json()
    note("predict-v1", "POST /v1/models/{model}:predict (compressed)")


class Zipping(httpx2.HTTPTransport):
    """Sends bodies compressed."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {**request.headers, "content-encoding": "gzip"}
        del headers["content-length"]
        zipped = gzip.compress(request.read())
        return super().handle_request(httpx2.Request("POST", request.url, headers=headers, content=zipped))


def test_chats_may_be_compressed_both_ways(server: RunningServer) -> None:
    text = "one two " * 1000
    with (
        httpx2.Client(transport=Zipping(), timeout=PATIENT_S) as zipping,
        openai.OpenAI(
            base_url=f"{server.url}/v1",
            api_key=server.about["api_key"],
            http_client=zipping,
            default_headers={"Accept-Encoding": "gzip"},
        ) as client,
    ):
        raw = client.chat.completions.with_raw_response.create(model="parrot", messages=says(text))
        assert raw.headers["content-encoding"] == "gzip"
        assert int(raw.headers["content-length"]) < len(text) / 10
        assert raw.parse().choices[0].message.content == text
        with client.chat.completions.stream(model="parrot", messages=says("one two")) as events:
            assert events.get_final_completion().choices[0].message.content == "one two "
    note("openai", "POST /v1/chat/completions (compressed)")


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/models/half:predict", "/v1/files"]
)
def test_a_body_that_unpacks_to_too_much_or_to_nothing_known_is_refused(
    server: RunningServer, path: str
) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024), 1)
    for body, coding, status in ((bomb, "gzip", 413), (b"{}", "gzip", 400), (b"{}", "zstd", 415)):
        answer = server.request("POST", path, body, Content_Encoding=coding)
        assert answer.status == status
        assert answer.json()["error"]
