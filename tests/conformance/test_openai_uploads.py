"""OpenAI's own client sends large files in parts, and has them as files."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from tests.support.compatibility import note
from tests.support.openai_client import client_of
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

KEY = "openai"
BODY_BYTES_MAX = 100_000
SETTINGS = {"LAMBENT_BODY_BYTES_MAX": str(BODY_BYTES_MAX)}  # parts have a limit of their own
PART = 150_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    running = RunningServer(folder / "state", SETTINGS).start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def begun(client: openai.OpenAI, size: int, **changes: Any) -> Any:
    how: dict[str, Any] = {"filename": "a.bin", "purpose": "user_data", "mime_type": "text/plain"}
    return client.uploads.create(bytes=size, **(how | changes))


def test_a_file_comes_in_parts_and_is_a_file(client: openai.OpenAI) -> None:
    content = os.urandom(3 * PART + 17)
    upload = begun(client, len(content), expires_after={"anchor": "created_at", "seconds": 7200})
    assert (upload.object, upload.status, upload.bytes, upload.file) == (
        "upload",
        "pending",
        len(content),
        None,
    )
    assert upload.expires_at == upload.created_at + 3600
    pieces = [content[place : place + PART] for place in range(0, len(content), PART)]

    def send(piece: bytes) -> str:
        part = client.uploads.parts.create(upload.id, data=piece)
        assert (part.object, part.upload_id) == ("upload.part", upload.id)
        return part.id

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(send, pieces))
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with pytest.raises(openai.BadRequestError, match="MD5"):
        client.uploads.complete(upload.id, part_ids=parts, md5="0" * 32)
    done = client.uploads.complete(upload.id, part_ids=parts, md5=md5)
    assert done.status == "completed"
    assert done.file is not None
    assert (done.file.filename, done.file.bytes, done.file.purpose) == ("a.bin", len(content), "user_data")
    assert done.file.expires_at == done.file.created_at + 7200
    assert client.uploads.complete(upload.id, part_ids=parts) == done  # whose answer was lost asks again
    assert client.files.retrieve(done.file.id) == done.file
    assert client.files.content(done.file.id).read() == content
    for operation in ("", "/{id}/parts", "/{id}/complete"):
        note(KEY, f"POST /v1/uploads{operation}")


def test_the_clients_own_way_of_sending_a_large_file(client: openai.OpenAI, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"line": 1}\n' * 100_000)
    done = client.uploads.upload_file_chunked(file=file, mime_type="application/jsonl", purpose="batch")
    assert done.file is not None
    assert (done.file.purpose, done.file.filename) == ("batch", "lines.jsonl")
    assert client.files.content(done.file.id).read() == file.read_bytes()


def test_the_order_is_that_in_which_the_parts_are_named(client: openai.OpenAI) -> None:
    upload = begun(client, 6)
    first, second = (client.uploads.parts.create(upload.id, data=one).id for one in (b"two", b"one"))
    done = client.uploads.complete(upload.id, part_ids=[second, first])
    assert done.file is not None
    assert client.files.content(done.file.id).read() == b"onetwo"


def test_what_is_cancelled_takes_no_part_and_leaves_nothing(
    client: openai.OpenAI, server: RunningServer
) -> None:
    upload = begun(client, 6)
    part = client.uploads.parts.create(upload.id, data=b"123456").id
    for _ in range(2):
        assert client.uploads.cancel(upload.id).status == "cancelled"
    assert not (server.state_dir / "uploads" / upload.id).exists()
    with pytest.raises(openai.BadRequestError, match="is cancelled"):
        client.uploads.parts.create(upload.id, data=b"x")
    with pytest.raises(openai.BadRequestError, match="is cancelled"):
        client.uploads.complete(upload.id, part_ids=[part])
    note(KEY, "POST /v1/uploads/{id}/cancel")


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0},
        {"size": 8 * 1024**3 + 1},
        {"purpose": "nothing"},
        {"filename": ""},
        {"filename": "x" * 256},
        {"mime_type": 7},
        {"expires_after": {"anchor": "created_at", "seconds": 1}},
    ],
)
def test_what_cannot_be_kept_is_refused(client: openai.OpenAI, changes: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        begun(client, changes.pop("size", 5), **changes)


def test_parts_that_do_not_fit_are_refused(client: openai.OpenAI) -> None:
    upload = begun(client, 5)
    add = client.uploads.parts.create
    with pytest.raises(openai.BadRequestError, match="more than the 5 bytes"):
        add(upload.id, data=b"123456")
    part = add(upload.id, data=b"1234").id
    for parts, why in (
        ([part], "have 4 bytes"),
        ([part, part], "named twice"),
        ([part, "part_no"], "No such"),
        (["../lambent.db"], "No such"),
        ([], "have 0 bytes"),
    ):
        with pytest.raises(openai.BadRequestError, match=why):
            client.uploads.complete(upload.id, part_ids=parts)
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel("upload_no")


def test_a_part_over_its_limit_is_refused_before_it_is_read(server: RunningServer) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENT_S)
    connection.putrequest("POST", "/v1/uploads/upload_x/parts")
    connection.putheader("Authorization", f"Bearer {server.about['api_key']}")
    connection.putheader("Content-Length", str(65 * 1024**2))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["error"]["type"]) == (413, "invalid_request_error")
    connection.close()
    for body in (b"", b"--x\r\n\r\n--x--", b"{}"):
        told = server.request(
            "POST", "/v1/uploads/upload_x/parts", body, Content_Type="multipart/form-data; boundary=x"
        )
        assert told.status == 400


def test_a_server_that_is_killed_keeps_the_parts_that_it_took(folder: Path) -> None:
    first = RunningServer(folder / "killed", SETTINGS).start()
    with client_of(first) as client:
        upload = begun(client, 6)
        part = client.uploads.parts.create(upload.id, data=b"123").id
    first.kill()
    second = RunningServer(folder / "killed", SETTINGS).start()
    try:
        with client_of(second) as client:
            other = client.uploads.parts.create(upload.id, data=b"456").id
            done = client.uploads.complete(upload.id, part_ids=[part, other])
            assert done.file is not None
            assert client.files.content(done.file.id).read() == b"123456"
    finally:
        assert second.stop() == 0, second.log()
