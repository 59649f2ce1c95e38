"""OpenAI's own client keeps files here and has batches of requests run, whatever happens to the server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.compatibility import note
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

KEY = "openai"
CHAT = "/v1/chat/completions"
ROOM = {"LAMBENT_ASYNC_RUNNING_MAX": "64"}  # so that those that are held keep nobody waiting
CODE = '''
import asyncio
import pathlib

import lambent

app = lambent.App("batched")


@app.model(concurrency=40, async_running_max=40, retry_first_s=0.05)
class Echo:
    """Says what it hears. `wait PATH` is said once there is such a file, `raise` never."""

    async def chat(self, ask: lambent.Chat):
        word, _, path = ask.text.partition(" ")
        if word == "raise":
            raise ValueError("asked to fail")
        if word == "wait":
            while not pathlib.Path(path).exists():
                await asyncio.sleep(0.02)
        return lambent.Part(ask.text, usage=lambent.Usage(1, 2))

    async def complete(self, ask: lambent.Completion):
        return str(ask.prompt).upper()

    async def embed(self, ask: lambent.Embedding):
        return lambent.Embeddings([[1.0, 0.5] for _ in ask.inputs], usage=lambent.Usage(1))
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("batches")
    running = RunningServer(folder / "state", ROOM).start()
    try:
        (folder / "batched.py").write_text(CODE)
        running.deploy(folder / "batched.py")
        yield running
    finally:
        running.stop()


def client_of(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=server.about["api_key"], timeout=PATIENT_S, max_retries=0
    )


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def chat(custom_id: str, text: str, **fields: Any) -> dict[str, Any]:
    body = {"model": "echo", "messages": [{"role": "user", "content": text}]} | fields
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def uploaded(client: openai.OpenAI, lines: Sequence[Any]) -> str:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return client.files.create(file=("in.jsonl", text.encode()), purpose="batch").id


def begun(client: openai.OpenAI, lines: Sequence[Any], endpoint: Any = CHAT, window: Any = "24h") -> str:
    file = uploaded(client, lines)
    return client.batches.create(input_file_id=file, endpoint=endpoint, completion_window=window).id


def ended(client: openai.OpenAI, batch: str) -> Any:
    found: list[Any] = []

    def is_over() -> bool:
        found[:] = [client.batches.retrieve(batch)]
        return found[0].status in ("completed", "failed", "expired", "cancelled")

    wait_until(is_over, f"the end of {batch}")
    return found[0]


def lines_of(client: openai.OpenAI, file: str | None) -> dict[str, Any]:
    """By their ids, each of which must be there once."""
    if file is None:
        return {}
    lines = [json.loads(line) for line in client.files.content(file).text.splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines)
    return {line["custom_id"]: line for line in lines}


def test_a_file_is_kept_shown_listed_read_and_deleted(client: openai.OpenAI) -> None:
    content = bytes(range(256)) * 5000
    made = client.files.create(
        file=("bytes.bin", content),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert (made.object, made.bytes, made.filename) == ("file", len(content), "bytes.bin")
    assert made.expires_at == made.created_at + 7200
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content
    assert made.id in [one.id for one in client.files.list(purpose="user_data")]
    assert made.id not in [one.id for one in client.files.list(purpose="batch")]
    assert client.files.delete(made.id).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    for operation in ("POST /v1/files", "GET /v1/files", "GET /v1/files/{id}", "DELETE /v1/files/{id}"):
        note(KEY, operation)
    note(KEY, "GET /v1/files/{id}/content")


def test_a_list_comes_in_pages(client: openai.OpenAI) -> None:
    made = [client.files.create(file=(f"{n}.txt", b"x"), purpose="vision").id for n in range(5)]
    assert {one.id for one in client.files.list(purpose="vision", limit=2)} == set(made)
    with pytest.raises(openai.BadRequestError):
        client.files.list(after="file-unknown")


def test_a_batch_answers_each_line_and_tells_its_failures_apart(client: openai.OpenAI) -> None:
    lines = [chat(f"good-{n}", f"text {n}", stream=n == 1) for n in range(40)]
    lines += [chat("raises", "raise"), chat("wrong", "x", n="many")]
    lines.append(chat("unknown", "x", model="nobody"))
    batch = ended(client, begun(client, lines))
    assert batch.status == "completed", batch
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        43,
        40,
        3,
    )
    assert batch.in_progress_at
    assert batch.finalizing_at
    assert batch.completed_at
    assert (batch.model, batch.endpoint, batch.errors) == ("echo", CHAT, None)
    good, bad = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
    assert list(good) == [f"good-{n}" for n in range(40)]
    answer = good["good-7"]["response"]
    assert (answer["status_code"], answer["body"]["object"]) == (200, "chat.completion")
    assert answer["body"]["choices"][0]["message"]["content"] == "text 7"
    assert answer["body"]["usage"]["total_tokens"] == 3
    assert {name: line["response"]["status_code"] for name, line in bad.items()} == {
        "raises": 500,
        "wrong": 400,
        "unknown": 404,
    }
    assert "asked to fail" in bad["raises"]["response"]["body"]["error"]["message"]
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"
    assert batch.id in [one.id for one in client.batches.list()]
    for operation in ("POST /v1/batches", "GET /v1/batches", "GET /v1/batches/{id}"):
        note(KEY, operation)


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        ("/v1/completions", {"prompt": "one"}, "text_completion"),
        ("/v1/embeddings", {"input": ["one", "two"]}, "list"),
        ("/v1/responses", {"input": "one"}, "response"),
    ],
)
def test_each_endpoint_has_batches(
    client: openai.OpenAI, endpoint: str, body: dict[str, Any], kind: str
) -> None:
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "echo", **body}}
    batch = ended(client, begun(client, [line], endpoint))
    answer = lines_of(client, batch.output_file_id)["a"]["response"]["body"]
    assert (answer["object"], answer["model"]) == (kind, "echo")


def test_a_file_with_wrong_lines_fails_the_batch_and_says_which(client: openai.OpenAI) -> None:
    file = client.files.create(
        file=(
            "in.jsonl",
            b"\n".join(
                [
                    json.dumps(chat("a", "x")).encode(),
                    b"{half",
                    json.dumps(chat("a", "x")).encode(),
                    json.dumps(chat("b", "x") | {"url": "/v1/embeddings"}).encode(),
                    json.dumps(chat("c", "x") | {"body": []}).encode(),
                    json.dumps(chat("d", "x") | {"method": "GET"}).encode(),
                ]
            ),
        ),
        purpose="batch",
    )
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert batch.status == "validating"
    failed = ended(client, batch.id)
    assert (failed.status, failed.output_file_id) == ("failed", None)
    assert [(one.line, one.code) for one in failed.errors.data] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "mismatched_url"),
        (5, "invalid_request"),
        (6, "invalid_method"),
    ]
    empty = client.files.create(file=("in.jsonl", b"\n\n"), purpose="batch")
    batch = client.batches.create(input_file_id=empty.id, endpoint=CHAT, completion_window="24h")
    assert ended(client, batch.id).errors.data[0].code == "empty_file"


def test_a_cancelled_batch_keeps_what_was_answered(client: openai.OpenAI, tmp_path: Path) -> None:
    lines = [chat("done", "x"), *(chat(f"held-{n}", f"wait {tmp_path}/gate") for n in range(40))]
    batch = begun(client, lines)
    wait_until(lambda: client.batches.retrieve(batch).request_counts.completed == 1, "the first answer")
    assert client.batches.cancel(batch).status in ("cancelling", "cancelled")
    over = ended(client, batch)
    assert (over.status, over.request_counts.completed, over.request_counts.failed) == ("cancelled", 1, 40)
    assert list(lines_of(client, over.output_file_id)) == ["done"]
    bad = lines_of(client, over.error_file_id)
    assert {line["error"]["code"] for line in bad.values()} == {"batch_cancelled"}
    assert client.batches.cancel(batch).status == "cancelled"
    note(KEY, "POST /v1/batches/{id}/cancel")


def test_a_batch_ends_with_its_window(client: openai.OpenAI, tmp_path: Path) -> None:
    lines = [chat(f"held-{n}", f"wait {tmp_path}/gate") for n in range(3)]
    over = ended(client, begun(client, lines, window="1s"))
    assert (over.status, over.output_file_id) == ("expired", None)
    bad = lines_of(client, over.error_file_id)
    assert [line["error"]["code"] for line in bad.values()] == ["batch_expired"] * 3
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        client.batches.cancel(over.id)


def test_a_server_that_is_killed_loses_no_line_and_writes_none_twice(
    server: RunningServer, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    lines = [chat(f"free-{n}", f"text {n}") for n in range(60)]
    lines += [chat(f"held-{n}", f"wait {gate}") for n in range(40)]
    with client_of(server) as client:
        file = uploaded(client, lines)
        made = client.batches.create(
            input_file_id=file, endpoint=CHAT, completion_window="24h", metadata={"of": "us"}
        )
        batch = made.id
        server.kill()  # at once: maybe nothing is done, and it is promised
    server.start()
    with client_of(server) as client:
        client.files.delete(file)  # it is not needed any more
        wait_until(lambda: client.batches.retrieve(batch).request_counts.completed >= 20, "some answers")
        server.kill()
    server.start()
    with client_of(server) as client:
        wait_until(lambda: client.batches.retrieve(batch).request_counts.completed == 60, "the free ones")
        server.kill()
    journal = next((server.state_dir / "batches").iterdir()) / "came.jsonl"
    with journal.open("ab") as torn:  # as a machine leaves it that loses power
        torn.write(b'{"number":61,"came":{"id":')
    server.start()
    with client_of(server) as client:
        gate.touch()
        over = ended(client, batch)
        assert (over.status, over.request_counts.completed) == ("completed", 100)
        assert over.metadata == {"of": "us"}
        good = lines_of(client, over.output_file_id)
        assert list(good) == [line["custom_id"] for line in lines]
        said = {
            name: one["response"]["body"]["choices"][0]["message"]["content"] for name, one in good.items()
        }
        assert said["free-33"] == "text 33"
        server.kill()
    server.start()
    with client_of(server) as client:
        assert client.batches.retrieve(batch) == over
        assert list(lines_of(client, over.output_file_id)) == list(good)
        assert not list((server.state_dir / "batches").iterdir())


BODIES = [
    b"", b"{", b"[]", b"null", b'"x"', b'{"input_file_id": 1}', b'{"input_file_id": "x"}', b"[" * 100_000,
    b'{"input_file_id":"file-x","endpoint":"/v1/chat/completions","completion_window":"24h"}',
    b'{"input_file_id":"x","endpoint":"/v1/moderations","completion_window":"24h"}',
    b'{"input_file_id":"x","endpoint":"/v1/completions","completion_window":"0h"}',
    b'{"input_file_id":"x","endpoint":"/v1/completions","completion_window":"\xc2\xb2h"}',
    b'{"input_file_id":"x","endpoint":"/v1/completions","completion_window":"24h","metadata":{"a":1}}',
]  # fmt: skip
FORM = "multipart/form-data; boundary=b"


@pytest.mark.parametrize("body", BODIES)
def test_a_batch_that_is_none_is_refused_in_words(server: RunningServer, body: bytes) -> None:
    reply = server.request("POST", "/v1/batches", body, Content_Type="application/json")
    assert 400 <= reply.status < 500, reply.body
    assert reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] in ("invalid_request_error", "not_found_error")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        (FORM, b""),
        (FORM, b"--b\r\n"),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--'),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--'),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n'),
    ],
)
def test_a_file_that_is_none_is_refused_in_words(server: RunningServer, kind: str, body: bytes) -> None:
    reply = server.request("POST", "/v1/files", body, Content_Type=kind)
    assert reply.status == 400, reply.body
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/files/file-none", 404),
        ("GET", "/v1/files/..%2f..%2fmaster.key/content", 404),
        ("GET", "/v1/files/x/y/z", 404),
        ("PUT", "/v1/files", 405),
        ("GET", "/v1/batches/" + "b" * 500, 404),
        ("POST", "/v1/batches/none/cancel", 404),
        ("GET", "/v1/batches?limit=x", 400),
        ("GET", "/v1/files?limit=0", 400),
        ("GET", "/openai/v1/files", 200),
    ],
)
def test_paths_that_are_none_are_refused_in_words(
    server: RunningServer, method: str, path: str, status: int
) -> None:
    reply = server.request(method, path)
    assert reply.status == status, reply.body
    assert ("error" in reply.json()) is (status != 200)


def test_without_a_key_nothing_is_told(server: RunningServer) -> None:
    assert server.request("GET", "/v1/files", key="wrong").status == 401


def test_a_file_over_the_limit_is_refused(server: RunningServer) -> None:
    reply = server.request("POST", "/v1/files", b"x" * (33 << 20), Content_Type=FORM)
    assert (reply.status, reply.json()["error"]["type"]) == (413, "invalid_request_error")
