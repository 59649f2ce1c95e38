"""Anthropic's own client, sync and async, against a real server on which small models talk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.support.compatibility import note
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer
from tests.support.talkers import talking

KEY = "anthropic"
TOOLS: list[Any] = [{"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}]


def says(text: Any) -> Any:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with talking(tmp_path_factory.mktemp("anthropic")) as running:
        yield running


@pytest.fixture(scope="module", params=["x-api-key", "bearer"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    key = server.about["api_key"]
    words: Any = {"api_key": key} if request.param == "x-api-key" else {"auth_token": key}
    with anthropic.Anthropic(base_url=server.url, timeout=PATIENT_S, max_retries=0, **words) as made:
        yield made


def test_a_message_is_answered_as_a_whole(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(
        model="parrot",
        max_tokens=50,
        system="repeat",
        messages=says([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]),
    )
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "parrot")
    assert [block.to_dict() for block in answer.content] == [{"type": "text", "text": "one two "}]
    assert answer.stop_reason == "end_turn"
    assert answer._request_id  # noqa: SLF001 - its public name, says the client's documentation
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (1, 1, 2)
    note(KEY, "POST /v1/messages")


def test_a_message_streams_in_all_its_events(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="parrot", max_tokens=2, messages=says("one two")) as stream:
        assert list(stream.text_stream) == ["one ", "two "]
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 2)
    events = client.messages.create(model="parrot", max_tokens=9, messages=says("one"), stream=True)
    kinds = [event.type for event in events]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    note(KEY, "POST /v1/messages (stream)")


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_tools_are_called(client: anthropic.Anthropic, way: str) -> None:
    asked: Any = {"model": "parrot", "max_tokens": 50, "messages": says("weather"), "tools": TOOLS}
    if way == "streamed":
        with client.messages.stream(**asked) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**asked)
    (block,) = answer.content
    assert block.type == "tool_use"
    assert (block.id, block.name, block.input) == ("call_1", "weather", {"city": "Wien"})
    assert answer.stop_reason == "tool_use"
    note(KEY, "POST /v1/messages (tools)")


def test_what_tools_and_the_model_said_before_reaches_the_model(client: anthropic.Anthropic) -> None:
    history: Any = [
        {"role": "user", "content": "weather"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Wien"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "sun"}]},
        {"role": "user", "content": "roles"},
    ]
    answer = client.messages.create(model="parrot", max_tokens=50, system="be brief", messages=history)
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == "system user assistant tool user"


def test_tokens_are_counted_by_the_model(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model="parrot", messages=says("one two three")).input_tokens == 3
    note(KEY, "POST /v1/messages/count_tokens")


def test_models_are_listed_in_pages(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list(limit=2)] == [
        "both",
        "chorus",
        "crowd",
        "ear",
        "judge",
        "parrot",
        "plain",
    ]
    assert client.models.retrieve("parrot").display_name == "parrot"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")
    note(KEY, "GET /v1/models")
    note(KEY, "GET /v1/models/{model}")


def test_errors_are_those_that_the_client_knows(client: anthropic.Anthropic, server: RunningServer) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="nobody", max_tokens=1, messages=says("one"))
    body: Any = unknown.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    assert unknown.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="parrot", messages=says("one"), max_tokens=None)
    with pytest.raises(anthropic.InternalServerError, match="asked to fail"):
        client.messages.create(model="parrot", max_tokens=1, messages=says("raise"))
    with client.messages.stream(model="parrot", max_tokens=9, messages=says("a break")) as stream:
        texts = stream.text_stream
        assert [next(texts), next(texts)] == ["a ", "break "]
        with pytest.raises(anthropic.APIStatusError, match="broke in the middle"):
            next(texts)
    stranger = anthropic.Anthropic(base_url=server.url, api_key="lk_no", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.models.list()


def test_an_async_client_is_answered(server: RunningServer) -> None:
    async def chat() -> str:
        async with (
            anthropic.AsyncAnthropic(base_url=server.url, api_key=server.about["api_key"]) as client,
            client.messages.stream(model="chorus", max_tokens=9, messages=says("1")) as stream,
        ):
            return await stream.get_final_text()

    assert asyncio.run(chat()) == "here together"
