"""OpenAI's own client, sync and async, against a real server on which small models talk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.compatibility import note
from tests.support.openai_client import client_of, says
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer
from tests.support.talkers import talking

KEY = "openai"
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with talking(tmp_path_factory.mktemp("openai")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def test_a_chat_is_answered_as_a_whole(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="parrot", messages=says("one two"))
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant",
        "one two ",
        "stop",
    )
    assert answer.model == "parrot"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        2,
        2,
        4,
    )
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 1
    note(KEY, "POST /v1/chat/completions")


def test_a_chat_streams_its_role_its_words_its_end_and_its_usage(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="parrot",
        messages=says("one two"),
        max_tokens=2,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        *chunks, last = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "one ", "two ", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "length"]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 4
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    note(KEY, "POST /v1/chat/completions (stream)")


def test_a_stream_has_no_usage_for_who_does_not_ask(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="parrot", messages=says("one"), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_calls_of_tools_are_passed_on(client: openai.OpenAI, way: str) -> None:
    if way == "streamed":
        with client.chat.completions.stream(model="parrot", messages=says("weather"), tools=TOOLS) as events:
            answer: Any = events.get_final_completion()
    else:
        answer = client.chat.completions.create(model="parrot", messages=says("weather"), tools=TOOLS)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city": "Wien"}')
    assert choice.message.content in (None, "")
    note(KEY, "POST /v1/chat/completions (tools)")


def test_several_answers_are_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="parrot", messages=says("one"), n=3)
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [
        (0, "one "),
        (1, "one "),
        (2, "one "),
    ]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 6
    chunks = list(client.chat.completions.create(model="parrot", messages=says("one"), n=2, stream=True))
    ends = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason]
    assert ends == [0, 1]


def test_what_is_asked_reaches_the_model_and_what_is_unheard_of_too(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="parrot",
        messages=says("sampling"),
        max_completion_tokens=9,
        temperature=0.5,
        top_p=0.25,
        seed=7,
        stop="end",
        logprobs=True,
        audio={"format": "mp3", "voice": "alloy"},
        prediction={"type": "content", "content": "x"},
        extra_body={"unheard_of": 1},
    )
    said = answer.choices[0].message.content or ""
    for part in (
        "max_tokens=9",
        "temperature=0.5",
        "top_p=0.25",
        "seed=7",
        "stop=('end',)",
        "top_logprobs=0",
    ):
        assert part in said
    assert said.endswith(") 1")


def test_a_text_is_completed(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="parrot", prompt=["ab", "cd"], echo=True)
    assert [choice.text for choice in answer.choices] == ["abAB", "cdCD"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10
    chunks = list(client.completions.create(model="parrot", prompt=[1, 2], stream=True))
    assert [(chunk.choices[0].text, chunk.choices[0].finish_reason) for chunk in chunks] == [
        ("[1, 2]", None),
        ("", "stop"),
    ]
    note(KEY, "POST /v1/completions")
    note(KEY, "POST /v1/completions (stream)")


def test_vectors_come_in_either_form(client: openai.OpenAI) -> None:
    expected = [[1.0, 0.5, -1.25], [3.0, 0.5, -1.25]]
    for words in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = client.embeddings.create(model="parrot", input=["a", "bcd"], **words)
        if words.get("encoding_format") != "base64":
            assert [one.embedding for one in answer.data] == expected
        assert answer.usage.prompt_tokens == 2
    assert client.embeddings.create(model="parrot", input="abc").data[0].embedding == expected[1]
    assert client.embeddings.create(model="parrot", input=[5, 6, 7]).data[0].embedding == expected[1]
    note(KEY, "POST /v1/embeddings")


def test_a_response_has_all_its_keys_and_needs_no_model_where_there_is_one(
    client: openai.OpenAI, server: RunningServer
) -> None:
    answer = client.responses.create(model="parrot", input="one two", instructions="repeat", temperature=0.5)
    assert (answer.output_text, answer.status, answer.temperature) == ("one two ", "completed", 0.5)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (2, 2, 4)
    told = ask(server, "/v1/responses", {"model": "parrot", "input": "one"}).json()
    assert set(type(answer).model_fields) <= told.keys()
    cut = client.responses.create(model="parrot", input="one two", max_output_tokens=2)
    assert cut.status == "incomplete"
    with pytest.raises(openai.BadRequestError, match="parrot"):
        client.responses.create(input="one")
    with pytest.raises(openai.BadRequestError) as kept:
        client.responses.create(model="parrot", input="one", previous_response_id="resp_1")
    assert kept.value.param == "previous_response_id"
    note(KEY, "POST /v1/responses")


def test_a_response_streams_in_numbered_events(client: openai.OpenAI) -> None:
    with client.responses.stream(model="parrot", input="one two") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "one two "
    kinds = [event.type for event in events]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == [*range(len(events))]
    note(KEY, "POST /v1/responses (stream)")


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_tools_are_called_by_a_response(client: openai.OpenAI, way: str) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
    if way == "streamed":
        with client.responses.stream(model="parrot", input="weather", tools=tools) as stream:
            answer: Any = stream.get_final_response()
    else:
        answer = client.responses.create(model="parrot", input="weather", tools=tools)
    (call,) = answer.output
    assert (call.type, call.call_id, call.name, call.arguments) == (
        "function_call",
        "call_1",
        "weather",
        '{"city": "Wien"}',
    )
    history: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "weather"}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
        {"role": "user", "content": "roles"},
    ]
    heard = client.responses.create(model="parrot", input=history).output_text
    assert heard == "user assistant tool user"


def test_a_response_that_breaks_off_has_failed(client: openai.OpenAI) -> None:
    heard = []
    with client.responses.create(model="parrot", input="a break", stream=True) as stream:
        for event in stream:
            heard.append(event)
            if event.type == "response.failed":
                break
    failed: Any = heard[-1]
    assert failed.response.status == "failed"
    assert "broke in the middle" in failed.response.error.message


def test_speech_is_written_down_in_every_form(client: openai.OpenAI) -> None:
    sound = ("a b.wav", bytes(range(256)) * 4 + b"\r\n--x\r\n", "audio/wav")
    said = "1031 bytes of a b.wav"
    hears = client.audio.transcriptions
    assert hears.create(model="ear", file=sound).text == said
    assert hears.create(model="ear", file=sound, response_format="text").strip() == said
    verbose = hears.create(model="ear", file=sound, response_format="verbose_json", language="en")
    assert (verbose.text, verbose.language, verbose.duration) == (said, "en", 3661.25)
    assert [segment.end for segment in verbose.segments or ()] == [1.5, 3661.25]
    assert "2\n00:00:01,500 --> 01:01:01,250\nof a b.wav" in hears.create(
        model="ear", file=sound, response_format="srt"
    )
    assert hears.create(model="ear", file=sound, response_format="vtt").startswith("WEBVTT\n\n00:00:00.000")
    events = [event.to_dict() for event in hears.create(model="ear", file=sound, stream=True)]
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert events[-1]["text"] == said
    with pytest.warns(DeprecationWarning, match="deprecated"):  # the method of the client
        assert client.audio.translations.create(model="ear", file=sound).text == said
    note(KEY, "POST /v1/audio/transcriptions")
    note(KEY, "POST /v1/audio/translations")


def test_models_are_listed_for_every_protocol_that_lists_them_here(
    client: openai.OpenAI, server: RunningServer
) -> None:
    names = ["both", "chorus", "crowd", "ear", "judge", "parrot", "plain"]
    assert [model.id for model in client.models.list()] == names
    assert server.request("GET", "/v1/models").json()["models"] == names
    assert server.request("GET", "/openai/v1/models").json()["models"] == names
    found = client.models.retrieve("parrot")
    assert (found.id, found.object, found.owned_by) == ("parrot", "model", "default")
    told = server.request("GET", "/v1/models/parrot").json()
    assert (told["name"], told["ready"]) == ("parrot", True)
    assert told["model_version_status"][0]["state"] == "AVAILABLE"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"
    note(KEY, "GET /v1/models")
    note(KEY, "GET /v1/models/{model}")


@pytest.mark.parametrize("model", ["chorus", "crowd"])
def test_an_async_client_is_answered_several_at_once(server: RunningServer, model: str) -> None:
    async def chat(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model=model, messages=says("3"), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_three() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/openai/v1", api_key=server.about["api_key"], timeout=PATIENT_S
        ) as client:
            vectors = await client.embeddings.create(model=model, input=["a", "b"])
            assert [one.embedding for one in vectors.data] == [[1.0, 0.0], [1.0, 1.0]]
            return await asyncio.gather(*(chat(client) for _ in range(3)))

    assert asyncio.run(all_three()) == ["here together"] * 3


def test_an_alias_is_a_model_of_its_own(client: openai.OpenAI, server: RunningServer) -> None:
    done = server.cli("alias", "parrot", "set", "live=1")
    assert done.returncode == 0, done.stderr
    answer = client.chat.completions.create(model="parrot:live", messages=says("one"))
    assert (answer.model, answer.choices[0].message.content) == ("parrot:live", "one ")
    assert client.models.retrieve("parrot:live").id == "parrot:live"
    for ask_for in (client.models.retrieve, lambda name: client.completions.create(model=name, prompt="a")):
        with pytest.raises(openai.NotFoundError) as unknown:
            ask_for("parrot:dead")
        assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize("model", ["judge", "parrot"])
def test_documents_are_ranked_by_a_method_or_by_their_vectors(server: RunningServer, model: str) -> None:
    documents = ["b", "a a", "a"] if model == "judge" else ["long text", "aa", "a"]
    body = {"model": model, "query": "a", "documents": documents, "top_n": 2}
    answer = ask(server, "/v1/rerank", body).json()
    best = 1 if model == "judge" else 2
    assert answer["results"][0]["index"] == best
    assert answer["results"][0]["document"] == {"text": documents[best]}
    assert len(answer["results"]) == 2
    scored = ask(server, "/v1/score", {"model": model, "text_1": "a", "text_2": documents}).json()
    scores = [one["score"] for one in scored["data"]]
    assert scores.index(max(scores)) == best


def ask(server: RunningServer, path: str, body: object) -> Any:
    return server.request("POST", path, json.dumps(body).encode(), Content_Type="application/json")
