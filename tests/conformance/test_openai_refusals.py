"""What OpenAI's client hears where it is refused, and what it meets in a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.openai_client import client_of, says
from tests.support.raw_http import Raw
from tests.support.server import RunningServer
from tests.support.talkers import bodies, talking

PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/score",
    "/v1/messages",
    "/v1/messages/count_tokens",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with talking(tmp_path_factory.mktemp("openai")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI, server: RunningServer) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody", messages=says("one"))
    assert (unknown.value.code, unknown.value.type, unknown.value.param) == (
        "model_not_found",
        "invalid_request_error",
        "model",
    )
    assert unknown.value.request_id
    with pytest.raises(openai.BadRequestError) as unable:
        client.chat.completions.create(model="plain", messages=says("one"))
    assert (unable.value.code, unable.value.param) == ("unsupported_model", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="parrot", messages="hello")
    assert (wrong.value.type, wrong.value.param) == ("invalid_request_error", "messages")
    with pytest.raises(openai.InternalServerError, match="ValueError: asked to fail") as failed:
        client.chat.completions.create(model="parrot", messages=says("raise"))
    assert failed.value.response.headers["x-should-retry"] == "false"
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="lk_no", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.models.list()
    assert refused.value.code == "invalid_api_key"


def test_a_stream_that_fails_before_it_begins_has_a_status_and_later_an_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="asked to fail"):
        client.chat.completions.create(model="parrot", messages=says("raise"), stream=True)
    stream = client.chat.completions.create(model="parrot", messages=says("a break"), stream=True)
    heard = [next(stream).choices[0].delta.content for _ in range(3)]
    assert heard == ["", "a ", "break "]
    with pytest.raises(openai.APIError, match="broke in the middle"):
        next(stream)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/v1/chat/completions", b"", 400, id="nothing"),
        pytest.param("/v1/chat/completions", b"[" * 100_000, 400, id="nested"),
        pytest.param("/v1/chat/completions", b'{"model": "parrot", "messages": [1]}', 400, id="no message"),
        pytest.param("/v1/chat/completions", b'{"model": 1, "messages": []}', 400, id="no name"),
        pytest.param("/v1/chat/completions", b'{"model": "parrot", "messages": []}', 400, id="no messages"),
        pytest.param("/v1/responses", b'{"model": "parrot", "input": []}', 400, id="nothing said"),
        pytest.param(
            "/v1/chat/completions", b'{"model": "parrot", "messages": [], "n": 0}', 400, id="out of range"
        ),
        pytest.param("/v1/chat/completions", b'{"model": "parrot:x", "messages": [{}]}', 404, id="no alias"),
        pytest.param("/v1/completions", b'{"model": "parrot", "prompt": []}', 400, id="no prompt"),
        pytest.param("/v1/embeddings", b'{"model": "parrot", "input": [1.5]}', 400, id="no input"),
        pytest.param("/v1/rerank", b'{"model": "plain", "query": "", "documents": []}', 400, id="no ranker"),
        pytest.param("/v1/audio/transcriptions", b"{}", 400, id="no form"),
        pytest.param("/openai/v1/nothing", b"{}", 404, id="no path"),
    ],
)
def test_bad_requests_are_refused_in_openais_shape(
    server: RunningServer, path: str, body: bytes, status: int
) -> None:
    answer = server.request("POST", path, body, Content_Type="application/json")
    assert answer.status == status, answer.body
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("content", ["[]", '[{"role": "user", "content": [{"type": "unknown"}]}]'])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_conversation_without_words_is_refused_in_anthropics_shape(
    server: RunningServer, path: str, content: str
) -> None:
    body = f'{{"model": "parrot", "max_tokens": 3, "messages": {content}}}'.encode()
    answer = server.request("POST", path, body, Content_Type="application/json")
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "messages" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/parrot:predict", b'{"instances": [1]}'),
        (
            "/v2/models/parrot/infer",
            b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}',
        ),
    ],
)
def test_a_model_that_only_talks_says_what_it_takes_to_who_wants_a_prediction(
    server: RunningServer, path: str, body: bytes
) -> None:
    answer = server.request("POST", path, body)
    assert answer.status == 400, answer.body
    assert "has no method predict" in answer.json()["error"]


def test_what_is_asked_and_what_is_predicted_may_meet_in_a_batch(
    client: openai.OpenAI, server: RunningServer
) -> None:
    def chat(text: str) -> str:
        stream = client.chat.completions.create(model="both", messages=says(text), stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    def predict(number: int) -> Any:
        return server.invoke("both", [number, number]).json()

    with ThreadPoolExecutor(8) as threads:
        predicted = [threads.submit(predict, number) for number in range(16)]
        said = [threads.submit(chat, str(number)) for number in range(16)]
        failed = [threads.submit(chat, "raise") for _ in range(4)]
    assert [one.result() for one in predicted] == [[2 * number] * 2 for number in range(16)]
    assert [one.result() for one in said] == [f"you said {number}" for number in range(16)]
    assert all("asked to fail" in str(one.exception()) for one in failed)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/chat/completions", "invalid_request_error"), ("/v1/messages", "request_too_large")],
)
def test_a_body_over_the_limit_is_refused_in_the_protocols_words(
    server: RunningServer, path: str, kind: str
) -> None:
    with Raw(server) as wire:
        wire.head("POST", path, f"Content-Length: {1 << 40}")
        status, headers = wire.answered()
        error = json.loads(wire.body(int(dict(headers)["content-length"])))["error"]
    assert (status, error["type"]) == (413, kind)


def test_half_a_body_is_no_request(server: RunningServer) -> None:
    with Raw(server) as wire:
        wire.head("POST", "/v1/chat/completions", "Content-Length: 100")
        wire.socket.sendall(b'{"model": "par')
        wire.vanish()
    assert server.request("GET", "/v1/models").status == 200
    assert "request_crashed" not in server.log()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PATHS), bodies)
def test_whatever_is_sent_is_answered_without_a_fault_of_ours(
    server: RunningServer, path: str, body: dict[str, Any]
) -> None:
    sent = json.dumps({"max_tokens": 3, **body, "model": "parrot"}).encode()
    answer = server.request("POST", path, sent, Content_Type="application/json")
    assert answer.status in (200, 400), answer.body
    if answer.status == 400:
        assert answer.json()["error"]["message"]


def test_who_talks_may_take_as_long_as_openais_clients_wait(server: RunningServer) -> None:
    def timeout_s(name: str) -> float:
        revision = server.request("GET", f"/api/v1/deployments/{name}").json()["revisions"][0]
        return float(revision["spec"]["timeout_s"])

    assert [timeout_s(name) for name in ("parrot", "ear", "plain")] == [600, 600, 60]


def test_another_method_is_told_which_one(server: RunningServer) -> None:
    answer = server.request("GET", "/v1/chat/completions")
    assert (answer.status, answer.json()["error"]["code"]) == (405, "method_not_allowed")
