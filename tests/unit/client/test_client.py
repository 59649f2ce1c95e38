"""What the client sends, and what becomes of the answers."""

import io
import socket
import tarfile
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.client.client import Client
from lambent.client.discovery import Endpoint
from lambent.client.errors import ApiError, BundleError, FunctionFailed, NoServer
from lambent.client.replies import Reply
from lambent.client.transport import Transport
from lambent.core.errors import CallerFault, InvalidSpec, LambentError, PlatformFault
from lambent.core.invocation import Role
from lambent.core.spec import Kind, Temperature
from lambent.wire.api import ArtifactReply, AsyncReply, DeploymentView, DeployReply, DeployRequest, Problem
from lambent.wire.keys import KeyReply, KeyView
from tests.support.fake_control import API_KEY, FakeControl, Told, json_told, problem_told
from tests.support.patience import PATIENT_S

VIEW = DeploymentView(
    name="hello",
    kind=Kind.FUNCTION,
    revision="sha256:1",
    number=1,
    url="http://127.0.0.1:8700/invoke/hello",
    temperature=Temperature.COLD,
    workers=0,
    queued=0,
    pss_bytes=0,
    private_bytes=0,
    created_unix_ms=0,
)
NOT_FOUND = Problem("Not found", 404, "not_found", "no deployment 'nope'")


def test_a_deploy_uploads_then_deploys(control: FakeControl, client: Client, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("def handler(event, context): ...\n")
    control.tell("POST", "/api/v1/artifacts", json_told(ArtifactReply("sha256:1", 10, 1), 201))
    control.tell("POST", "/api/v1/deployments", json_told(DeployReply((VIEW,), ("hello",))))
    progress: list[tuple[int, int]] = []
    target = f"{tmp_path}/hello.py:handler"
    reply = client.deploy(
        target, name="hello", settings={"memory": "1GiB"}, sent=lambda *now: progress.append(now)
    )
    assert reply == DeployReply((VIEW,), ("hello",))
    upload, deploy = control.asked
    assert upload.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(upload.body)) as tar:
        assert tar.getnames() == ["hello.py"]
    assert msgspec.json.decode(deploy.body, type=DeployRequest) == DeployRequest(
        "sha256:1", "hello.py:handler", "hello", {"memory": "1GiB"}
    )
    assert progress[-1] == (len(upload.body), len(upload.body))


@pytest.mark.parametrize(
    ("target", "settings", "error"),
    [
        ("hello.py", {"memroy": 1}, InvalidSpec),
        ("hello.py", {"workers_min": 5, "workers_max": 4}, InvalidSpec),
        ("broken.py", {}, BundleError),
        ("gone.py", {}, BundleError),
    ],
)
def test_a_deploy_that_cannot_be_is_refused_before_anything_is_sent(
    control: FakeControl, client: Client, tmp_path: Path, target: str, settings: dict[str, int], error: type
) -> None:
    (tmp_path / "hello.py").write_text("")
    (tmp_path / "broken.py").write_text("def")
    with pytest.raises(error):
        client.deploy(tmp_path / target, settings=settings)
    assert control.asked == []


HEADERS = {
    "Content-Type": "application/json",
    "Lambent-Invocation-Id": "id-1",
    "Lambent-Revision": "sha256:1",
    "Lambent-Temperature": "primed",
    "Lambent-Billed-Ms": "7",
    "Server-Timing": 'queue;dur=0.5, fork;desc="from template";dur=2.25, odd, bad;dur=x',
}


def test_a_call_tells_what_the_headers_say(control: FakeControl, client: Client) -> None:
    control.tell("POST", "/invoke/hello", Told(body=b'{"x":1}', headers=HEADERS))
    assert client.call("hello", b"{}") == Reply(
        body=b'{"x":1}',
        content_type="application/json",
        invocation_id="id-1",
        revision="sha256:1",
        temperature="primed",
        billed_ms=7,
        timing_ms={"queue": 0.5, "fork": 2.25},
    )


class Array:
    def tolist(self) -> list[float]:
        return [1.5]


@pytest.mark.parametrize(
    ("event", "body", "kind"),
    [
        ({"x": 1}, b'{"x":1}', "application/json"),
        ("text", b'"text"', "application/json"),
        (Array(), b"[1.5]", "application/json"),
        (None, b"", "application/json"),
        (b"\xff\xd8", b"\xff\xd8", "application/octet-stream"),
    ],
)
def test_an_event_travels_as_what_it_is(
    control: FakeControl, client: Client, event: object, body: bytes, kind: str
) -> None:
    control.tell("POST", "/invoke/hello", json_told("done"))
    assert client.invoke("hello", event) == "done"
    assert (control.asked[0].body, control.asked[0].headers["content-type"]) == (body, kind)


@pytest.mark.parametrize("event", [object(), {"x": object()}, {1, object()}])
def test_an_event_that_json_cannot_hold_is_refused_here(
    control: FakeControl, client: Client, event: object
) -> None:
    with pytest.raises(CallerFault, match="the event cannot be written as JSON: no JSON form for object"):
        client.invoke("hello", event)
    assert control.asked == []


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("application/json; charset=utf-8", b"[1]", [1]),
        ("application/json", b"", None),
        ("text/plain; charset=utf-8", "né".encode(), "né"),
        ("application/octet-stream", b"\x00", b"\x00"),
        ("image/png", b"\x89", b"\x89"),
    ],
)
def test_a_result_is_decoded_by_its_content_type(
    control: FakeControl, client: Client, kind: str, body: bytes, value: object
) -> None:
    control.tell("POST", "/invoke/hello", Told(body=body, headers={"Content-Type": kind}))
    assert client.invoke("hello") == value


def test_a_function_that_failed_raises_its_own_error(control: FakeControl, client: Client) -> None:
    problem = Problem(
        "User code failed",
        500,
        "user_code_failed",
        "no such key",
        error_type="KeyError",
        stack_trace=("  a",),
    )
    control.tell("POST", "/invoke/hello", problem_told(problem))
    with pytest.raises(FunctionFailed, match="no such key") as failed:
        client.invoke("hello")
    assert (failed.value.error_type, failed.value.stack_trace) == ("KeyError", ("  a",))
    assert isinstance(failed.value, ApiError)


def test_an_asynchronous_invocation_gives_its_id(control: FakeControl, client: Client) -> None:
    control.tell("POST", "/invoke/hello", Told(status=202, headers={"Location": "/invocations/id-1"}))
    assert client.invoke_async("hello", {"x": 1}) == "id-1"
    assert control.asked[0].headers["prefer"] == "respond-async"


@pytest.mark.parametrize("kind", ["text/plain\nx-api-key: lk", "text/plän"])
def test_a_content_type_that_is_none_is_refused_here(control: FakeControl, client: Client, kind: str) -> None:
    with pytest.raises(CallerFault, match="content-type"):
        client.call("hello", b"x", content_type=kind)
    assert control.asked == []


def test_a_result_is_waited_for_then_there(control: FakeControl, client: Client) -> None:
    queued = AsyncReply("id-1", "hello", "queued", 0)
    done = Told(body=b"7", headers={"Content-Type": "application/json", "Lambent-Status": "ok"})
    control.tell("GET", "/invocations/id-1", json_told(queued, 202), done)
    assert client.result("id-1") == queued
    reply = client.result("id-1")
    assert isinstance(reply, Reply)
    assert reply.value == 7


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"errorMessage":"no","errorType":"ValueError","stackTrace":["a"]}', ("no", "ValueError", ("a",))),
        (b"torn", ("torn", "Unknown", ())),
    ],
)
def test_a_result_that_is_a_failure_raises_it(
    control: FakeControl, client: Client, body: bytes, said: tuple[Any, ...]
) -> None:
    control.tell("GET", "/invocations/id-1", Told(body=body, headers={"Lambent-Status": "failed"}))
    with pytest.raises(FunctionFailed) as failed:
        client.result("id-1")
    assert (failed.value.detail, failed.value.error_type, failed.value.stack_trace) == said


def test_a_refusal_keeps_the_servers_words(control: FakeControl, client: Client) -> None:
    shed = Problem("Queue full", 429, "queue_full", "hello has 1000 waiting", retryable=True)
    control.tell("POST", "/invoke/hello", problem_told(shed, {"Retry-After": "3"}))
    with pytest.raises(ApiError, match="hello has 1000 waiting") as refused:
        client.invoke("hello")
    error = refused.value
    assert (error.code, error.status, error.retryable, error.retry_after_s) == ("queue_full", 429, True, 3.0)
    assert isinstance(error, LambentError)
    assert LambentError.code == "internal"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            Told(status=502, body=b"<h1>Bad gateway</h1>\n"),
            "status 502 that is not from Lambent: <h1>Bad gateway</h1>",
        ),
        (
            Told(status=302, headers={"Location": "/x"}),
            "status 302 that is not from Lambent: an empty answer",
        ),
        (
            Told(status=500, body=b"{", headers={"Content-Type": "application/problem+json"}),
            "status 500 that is not from Lambent: {",
        ),
        (Told(status=200, body=b"{}"), "the server's answer has no known form"),
    ],
)
def test_an_answer_from_somebody_else_is_shown(
    control: FakeControl, client: Client, told: Told, said: str
) -> None:
    control.tell("GET", "/api/v1/deployments/hello", told)
    with pytest.raises(LambentError, match=said):
        client.show("hello")


def test_a_wrong_key_is_refused(control: FakeControl) -> None:
    with Client(control.url, "wrong") as client, pytest.raises(ApiError) as refused:
        client.list()
    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("call", "method", "path", "query"),
    [
        (lambda c: c.list(), "GET", "/api/v1/deployments", {}),
        (lambda c: c.show("a"), "GET", "/api/v1/deployments/a", {}),
        (lambda c: c.show("a/b?c"), "GET", "/api/v1/deployments/a%2Fb%3Fc", {}),
        (lambda c: c.remove("a"), "DELETE", "/api/v1/deployments/a", {}),
        (lambda c: c.rollback("a", 3), "POST", "/api/v1/deployments/a/rollback", {}),
        (lambda c: c.models(), "GET", "/api/v1/models", {}),
        (lambda c: c.models("a"), "GET", "/api/v1/models", {"name": "a"}),
        (lambda c: c.runs(job="j"), "GET", "/api/v1/runs", {"job": "j"}),
        (lambda c: c.runs(deployment="a"), "GET", "/api/v1/runs", {"deployment": "a"}),
        (lambda c: c.run("j", {"epochs": 1}), "POST", "/api/v1/runs", {}),
        (lambda c: c.show_run("r"), "GET", "/api/v1/runs/r", {}),
        (lambda c: c.usage(since_unix_ms=0), "GET", "/api/v1/usage", {"since_unix_ms": "0"}),
        (lambda c: c.processes(), "GET", "/api/v1/processes", {}),
        (lambda c: c.doctor(), "GET", "/api/v1/doctor", {}),
        (lambda c: c.keys(), "GET", "/api/v1/keys", {}),
        (lambda c: c.revoke_key("k"), "DELETE", "/api/v1/keys/k", {}),
        (lambda c: c.logs("a", tail=5), "GET", "/api/v1/deployments/a/logs", {"tail": "5"}),
        (
            lambda c: c.follow_logs("a"),
            "GET",
            "/api/v1/deployments/a/logs",
            {"tail": "100", "follow": "true"},
        ),
    ],
)
def test_each_verb_asks_at_its_place(
    control: FakeControl, client: Client, call: Any, method: str, path: str, query: dict[str, str]
) -> None:
    with pytest.raises(ApiError):
        call(client)
    assert [(one.method, one.path, one.query) for one in control.asked] == [(method, path, query)]


def test_a_new_key_comes_with_its_secret(control: FakeControl, client: Client) -> None:
    view = KeyView(key_id="k1", name="ci", role="deploy", created_unix_ms=0)
    control.tell("POST", "/api/v1/keys", json_told(KeyReply(view, "lk_k1_s", "LAMBK1", "s"), 201))
    assert client.create_key("ci", Role.DEPLOY).api_key == "lk_k1_s"
    assert control.asked[0].body == b'{"name":"ci","role":"deploy"}'


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_reach_another_resource_is_not_sent(
    control: FakeControl, client: Client, name: str
) -> None:
    with pytest.raises(CallerFault, match="names nothing"):
        client.remove(name)
    assert control.asked == []


def test_log_lines_arrive_before_the_stream_ends(control: FakeControl, client: Client) -> None:
    chunks = (b"one\ntw", b"o\nthr\xc3", b"\xa9e\n")  # the last cut goes through a character
    control.tell("GET", "/api/v1/deployments/a/logs", Told(chunks=chunks))
    lines = client.follow_logs("a")
    assert [next(lines), next(lines)] == ["one", "two"]
    control.go_on()
    assert list(lines) == ["thr\xe9e"]


def test_log_lines_that_are_not_text_are_shown_all_the_same(control: FakeControl, client: Client) -> None:
    control.tell("GET", "/api/v1/deployments/a/logs", Told(body=b"\xff\nend"))
    assert list(client.logs("a")) == ["\ufffd", "end"]


def test_connections_are_kept(control: FakeControl, client: Client) -> None:
    control.tell("POST", "/invoke/hello", json_told(1))
    for _ in range(3):
        client.invoke("hello")
    assert client._transport._pool.num_connections == 1  # noqa: SLF001  # urllib3 counts, nobody else


def test_nobody_at_the_port_is_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NoServer, match=f"no server answers at {url}; start one with: lambent up"):
            Client(url, "k").list()


def hang_up(listener: socket.socket, said: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(said)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[", b"nonsense\r\n\r\n"]
)
def test_a_server_that_hangs_up_is_a_fault_of_the_platform(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=hang_up, args=(listener, said), daemon=True)
        server.start()
        with pytest.raises(PlatformFault, match="broke before the answer was complete"):
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "k").list()
        server.join(PATIENT_S)


def test_a_server_that_is_silent_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PlatformFault, match=r"gave no answer within 0\.05 s"):
            Client(url, "k").call("hello", timeout_s=0.05)


@pytest.mark.parametrize("url", ["", "localhost:8700", "ftp://a", "http://", "http://a:port", "/x"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CallerFault, match="is not a URL of a server"):
        Transport(Endpoint(url, "k", "told"))


def test_a_key_that_would_break_the_header_is_refused() -> None:
    with pytest.raises(CallerFault, match="check LAMBENT_API_KEY"):
        Client("http://127.0.0.1:1", "lk_a\nHost: b")


def test_a_prefix_in_the_url_is_kept(control: FakeControl) -> None:
    control.tell("GET", "/lambent/api/v1/deployments", json_told([VIEW]))
    with Client(control.url + "/lambent/", API_KEY) as client:
        assert client.list() == (VIEW,)
