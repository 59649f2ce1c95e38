"""Two projects with deployments of the same names: at no door does one see or get what is the other's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest

from lambent.wire.inference_proto import MESSAGES, SERVICE
from tests.support.patience import PATIENT_S
from tests.support.server import Reply, RunningServer, wait_until
from tests.support.tenants import deploy_as, key_of

CODE = """
import lambent

app = lambent.App("tenant")

@app.model
class Same:
    def predict(self, inputs):
        return [WHO for _ in inputs]

    def chat(self, ask):
        return WHO

@app.function
def told(event, context):
    return {"who": WHO, "got": event}

@app.function
def own_OF(event, context):
    return WHO
"""
OURS, THEIRS = "ours", "theirs"


class Tenant:
    """A project's key at a server."""

    def __init__(self, server: RunningServer, key: str) -> None:
        self.server = server
        self.key = key

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if not isinstance(body, bytes) and body is not None:
            headers.setdefault("Content_Type", "application/json")
        return self.server.request(method, path, sent, key=self.key, **headers)

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        told = self.ask(method, path, body, **headers)
        assert told.status < 300, (told.status, told.body)
        return told.json()

    def upload(self, content: bytes) -> str:
        form = (
            b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\n'
            b'content-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
            + content + b"\r\n--x--\r\n"
        )  # fmt: skip
        told = self.json("POST", "/v1/files", form, Content_Type="multipart/form-data; boundary=x")
        return str(told["id"])


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tenant, Tenant]]:
    folder = tmp_path_factory.mktemp("projects")
    their_key = key_of(folder / "state", "other")
    running = RunningServer(folder / "state").start()
    try:
        for who, key in ((OURS, running.about["api_key"]), (THEIRS, their_key)):
            file = folder / who / "app.py"
            file.parent.mkdir()
            file.write_text(CODE.replace("WHO", repr(who)).replace("own_OF", f"own_{who}"))
            deploy_as(running, key, str(file))
        yield Tenant(running, running.about["api_key"]), Tenant(running, their_key)
    finally:
        running.stop()


@pytest.fixture(params=[OURS, THEIRS])
def each(request: pytest.FixtureRequest, tenants: tuple[Tenant, Tenant]) -> tuple[str, Tenant, Tenant]:
    """Who asks, and the other."""
    mine, other = tenants if request.param == OURS else tenants[::-1]
    return request.param, mine, other


def test_each_key_gets_the_answer_of_its_own_project_at_every_door(each: tuple[str, Tenant, Tenant]) -> None:
    who, mine, _ = each
    tensors = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}
    chat = {"model": "same", "messages": [{"role": "user", "content": "?"}], "max_tokens": 9}
    event = {"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": {}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "told", "arguments": {}}}
    for path, body, headers in [
        ("/invoke/told", {}, {}),
        ("/invoke/told", event, {"Content_Type": "application/cloudevents+json"}),
        ("/v2/models/same/infer", tensors, {}),
        ("/v1/models/same:predict", {"instances": [1]}, {}),
        ("/v1/chat/completions", chat, {}),
        ("/v1/responses", {"model": "same", "input": "?"}, {}),
        ("/v1/messages", chat, {}),
        ("/predictions/told", {}, {}),
        ("/v1/models/x/told/predictions", {"input": {}}, {"Prefer": "wait"}),
        ("/runpod/v2/told/runsync", {"input": {}}, {}),
        ("/mcp", call, {"Accept": "application/json, text/event-stream"}),
        ("/endpoints/told/invocations", {}, {}),
    ]:
        told = mine.ask("POST", path, body, **headers)
        assert told.status in (200, 201), (path, told.status, told.body)
        assert who.encode() in told.body, (path, told.body)
        assert {OURS: THEIRS, THEIRS: OURS}[who].encode() not in told.body, path


def test_each_key_sees_its_own_alone(each: tuple[str, Tenant, Tenant]) -> None:
    who, mine, _ = each
    own = f"own-{who}"
    not_own = {OURS: "own-theirs", THEIRS: "own-ours"}[who]
    listed = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    assert [one["id"] for one in mine.json("GET", "/v1/models")["data"]] == ["same"]
    tools = mine.json("POST", "/mcp", listed, **accept)["result"]["tools"]
    index = mine.json("POST", "/v2/repository/index", {})
    stats = mine.json("GET", "/v2/models/stats")["model_stats"]
    for names in ([one["name"] for one in rows] for rows in (tools, index, stats)):
        assert own in names
        assert not_own not in names
    for method, path in [
        ("GET", f"/v2/models/{not_own}"),
        ("POST", f"/v2/models/{not_own}/infer"),
        ("POST", f"/v2/repository/models/{not_own}/unload"),
        ("POST", f"/v1/models/{not_own}:predict"),
        ("GET", f"/v1/models/{not_own}/metadata"),
        ("GET", f"/v1/models/{not_own}"),
        ("POST", f"/predictions/{not_own}"),
        ("POST", f"/invoke/{not_own}"),
        ("POST", f"/v1/models/other/{not_own}/predictions"),
        ("GET", f"/v1/models/other/{not_own}/versions"),
        ("GET", f"/runpod/v2/{not_own}/health"),
    ]:
        body = {"input": {}, "instances": [1]} if method == "POST" else None
        assert mine.ask(method, path, body).status == 404, path


def test_over_grpc_each_key_sees_its_own_alone(each: tuple[str, Tenant, Tenant]) -> None:
    who, mine, _ = each
    with grpc.insecure_channel(mine.server.about["grpc_url"]) as channel:
        asked = channel.unary_unary(
            f"/{SERVICE}/RepositoryIndex",
            request_serializer=MESSAGES["RepositoryIndexRequest"].SerializeToString,
            response_deserializer=MESSAGES["RepositoryIndexResponse"].FromString,
        )
        key = [("authorization", f"Bearer {mine.key}")]
        told = asked(MESSAGES["RepositoryIndexRequest"](), metadata=key, timeout=PATIENT_S)
        assert sorted(one.name for one in told.models) == [f"own-{who}", "same", "told"]


def test_what_one_project_has_run_is_not_counted_for_the_other(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants

    def counted(tenant: Tenant) -> tuple[int, int]:
        stats = tenant.json("GET", "/v2/models/told/stats")["model_stats"][0]["inference_count"]
        return stats, tenant.json("GET", "/runpod/v2/told/health")["jobs"]["completed"]

    before = counted(theirs)
    own = counted(ours)[0]
    for _ in range(3):
        ours.json("POST", "/invoke/told", {})
    assert counted(theirs) == before
    assert counted(ours)[0] == own + 3
    assert theirs.ask("GET", "/metrics").status == 403  # they tell of everybody
    lines = ours.ask("GET", "/metrics").body.decode().splitlines()
    names = [line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")]
    assert len(set(names)) == len(names)


def test_files_and_batches_are_a_projects_own(each: tuple[str, Tenant, Tenant]) -> None:
    who, mine, other = each
    body = {"model": "same", "messages": [{"role": "user", "content": "?"}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = mine.upload(json.dumps(line).encode())
    batch = mine.json(
        "POST", "/v1/batches",
        {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    )["id"]  # fmt: skip
    wait_until(lambda: mine.json("GET", f"/v1/batches/{batch}")["status"] == "completed", "the batch")
    out = mine.json("GET", f"/v1/batches/{batch}")["output_file_id"]
    assert who.encode() in mine.ask("GET", f"/v1/files/{out}/content").body
    seen = [one["id"] for path in ("/v1/files", "/v1/batches") for one in other.json("GET", path)["data"]]
    assert not {file, batch, out} & set(seen)
    begun = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    asked = {"purpose": "batch", "filename": "a.jsonl", "bytes": 1, "mime_type": "application/jsonl"}
    upload = mine.json("POST", "/v1/uploads", asked)["id"]
    for method, path, sent in [
        ("GET", f"/v1/files/{file}", None),
        ("GET", f"/v1/files/{out}/content", None),
        ("DELETE", f"/v1/files/{file}", None),
        ("GET", f"/v1/batches/{batch}", None),
        ("POST", f"/v1/batches/{batch}/cancel", {}),
        ("POST", "/v1/batches", begun),
        ("POST", f"/v1/uploads/{upload}/complete", {"part_ids": []}),
        ("POST", f"/v1/uploads/{upload}/cancel", {}),
    ]:
        assert other.ask(method, path, sent).status == 404, (method, path)
    assert mine.ask("GET", f"/v1/files/{file}").status == 200


def test_work_for_later_is_a_projects_own(each: tuple[str, Tenant, Tenant]) -> None:
    _, mine, other = each
    prediction = mine.json("POST", "/v1/models/x/told/predictions", {"input": {}}, Prefer="wait")["id"]
    job = mine.json("POST", "/runpod/v2/told/run", {"input": {}})["id"]
    later = mine.ask("POST", "/invoke/told", {}, Prefer="respond-async").headers["Location"]
    for method, path in [
        ("GET", f"/v1/predictions/{prediction}"),
        ("POST", f"/v1/predictions/{prediction}/cancel"),
        ("GET", f"/runpod/v2/told/status/{job}"),
        ("GET", f"/runpod/v2/told/stream/{job}"),
        ("POST", f"/runpod/v2/told/cancel/{job}"),
        ("GET", later),
        ("DELETE", later),
    ]:
        assert other.ask(method, path).status == 404, (method, path)
    assert mine.ask("GET", f"/v1/predictions/{prediction}").status == 200
    assert mine.ask("POST", f"/runpod/v2/same/cancel/{job}").status == 404  # it is another deployment's


def test_a_key_of_idempotency_is_a_projects_own(tenants: tuple[Tenant, Tenant]) -> None:
    named = str(uuid4())
    said = [tenant.json("POST", "/invoke/told", {}, Idempotency_Key=named)["who"] for tenant in tenants]
    assert said == [OURS, THEIRS]


def test_a_key_that_may_invoke_changes_nothing_and_one_that_may_read_runs_nothing(
    tenants: tuple[Tenant, Tenant],
) -> None:
    admin, _ = tenants
    invoking, reading = (
        Tenant(admin.server, admin.json("POST", "/api/v1/keys", {"name": role, "role": role})["api_key"])
        for role in ("invoke", "read")
    )
    body = {"model": "same", "messages": [{"role": "user", "content": "?"}], "max_tokens": 9}
    tensors = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}
    runs: list[tuple[str, Any]] = [
        ("/invoke/told", {}),
        ("/v2/models/same/infer", tensors),
        ("/v2/models/told/generate", {"text_input": "?"}),
        ("/v1/models/same:predict", {"instances": [1]}),
        ("/v1/chat/completions", body),
        ("/v1/messages", body),
        ("/v1/messages/count_tokens", body),
        ("/predictions/told", {}),
        ("/v1/models/x/told/predictions", {"input": {}}),
        ("/v1/predictions", {"version": "told:1", "input": {}}),
        ("/runpod/v2/told/run", {"input": {}}),
        ("/runpod/v2/told/runsync", {"input": {}}),
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        ("/endpoints/told/invocations", {}),
        ("/v1/batches", {"input_file_id": "file-1", "endpoint": "/v1/embeddings"}),
    ]
    for path, sent in runs:
        told = reading.ask("POST", path, sent)
        assert (told.status, b"role" in told.body) == (403, True), (path, told.status, told.body)
    assert reading.ask("POST", "/v1/files", b"").status == 403
    for method, path in [
        ("POST", "/v2/repository/models/same/load"),
        ("POST", "/v2/repository/models/same/unload"),
        ("GET", "/v1/webhooks/default/secret"),
        ("POST", "/api/v1/deployments"),
        ("DELETE", "/api/v1/deployments/told"),
        ("POST", "/api/v1/keys"),
    ]:
        for key in (invoking, reading):
            told = key.ask(method, path, {} if method == "POST" else None)
            assert (told.status, b"role" in told.body) == (403, True), (path, told.status, told.body)
    for method, path in [
        ("DELETE", "/v1/files/file-1"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("POST", "/v1/predictions/1/cancel"),
        ("POST", "/runpod/v2/told/cancel/1"),
        ("DELETE", "/invocations/1"),
    ]:
        assert reading.ask(method, path).status == 403, path
