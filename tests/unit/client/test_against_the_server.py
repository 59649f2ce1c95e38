"""The client and the real server understand each other."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambent.client.client import Client
from lambent.client.errors import ApiError, FunctionFailed
from lambent.client.replies import Reply
from lambent.wire.api import AsyncReply
from tests.support.server import RunningServer, wait_until

CODE = """
import lambent
app = lambent.App("client")

@app.function(env={"FACTOR": "3"})
def times(event, context):
    import os
    print("times", event["n"])
    return event["n"] * int(os.environ["FACTOR"])

app.deploy()
"""
ARTIFACT_BYTES_MAX = 2**20


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    state_dir = tmp_path_factory.mktemp("state")
    server = RunningServer(state_dir, {"LAMBENT_ARTIFACT_BYTES_MAX": str(ARTIFACT_BYTES_MAX)}).start()
    file = tmp_path_factory.mktemp("code") / "client_app.py"
    file.write_text(CODE)
    with Client(server.url, server.about["api_key"]) as client:
        assert client.deploy(file).changed == ("times",)
        yield client
    server.stop()


def outcome(client: Client, invocation_id: str) -> Reply:
    seen: list[Reply | AsyncReply] = []
    wait_until(lambda: seen.append(client.result(invocation_id)) or isinstance(seen[-1], Reply), "a result")
    assert isinstance(seen[-1], Reply)
    return seen[-1]


def test_a_value_goes_there_and_back(client: Client) -> None:
    assert client.invoke("times", {"n": 2}) == 6


def test_a_call_tells_how_it_went(client: Client) -> None:
    reply = client.call("times", b'{"n": 2}')
    assert reply.billed_ms >= 1
    assert reply.revision
    assert "run" in reply.timing_ms


def test_an_error_of_the_function_is_its_own(client: Client) -> None:
    with pytest.raises(FunctionFailed) as failed:
        client.invoke("times", {})
    assert failed.value.error_type == "KeyError"
    assert "client_app.py" in "".join(failed.value.stack_trace)


def test_an_asynchronous_result_is_fetched_later(client: Client) -> None:
    assert outcome(client, client.invoke_async("times", {"n": 4})).value == 12


def test_log_lines_are_followed(client: Client) -> None:
    client.invoke("times", {"n": 77})
    lines = client.follow_logs("times")
    assert any("times 77" in line for line in lines)


def test_what_is_deployed_is_listed_shown_and_billed(client: Client) -> None:
    assert [one.name for one in client.list()] == ["times"]
    assert client.show("times").revisions[0].spec.env == {"FACTOR": "3"}
    assert any(one.pid != os.getpid() and one.role == "server" for one in client.processes())
    assert client.usage().total.invocations >= 0
    assert all(check.state == "ok" for check in client.doctor() if check.name == "store")
    assert (client.models(), client.runs()) == ((), ())


def test_a_key_of_its_own_does_what_its_role_allows(client: Client) -> None:
    made = client.create_key("ci")
    with Client(client.url, made.api_key) as invoker:
        assert invoker.invoke("times", {"n": 1}) == 3
        with pytest.raises(ApiError) as refused:
            invoker.remove("times")
        assert refused.value.status == 403
        client.revoke_key(made.key.key_id)
        with pytest.raises(ApiError) as unknown:
            invoker.invoke("times", {"n": 1})
        assert unknown.value.status == 401


def test_an_upload_that_the_server_refuses_half_way_says_why(client: Client, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(os.urandom(64 * ARTIFACT_BYTES_MAX))
    with pytest.raises(ApiError) as refused:
        client.deploy(tmp_path / "model.onnx")
    assert refused.value.status == 413
