"""InvokeWithResponseStream, limits of payloads, and how calls end, through boto3."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, client_of, make, refused
from tests.support.server import RunningServer

STREAMS = """
import time, os

def handler(event, context):
    if event.get("plain"):
        return event
    return pieces(event)

def pieces(event):
    for number in range(event.get("count", 3)):
        yield f"piece {number}\\n"
    if event.get("raise"):
        raise ValueError("in the middle")
    if event.get("exit"):
        os._exit(3)
    if event.get("bytes"):
        yield b"\\xff\\x00"
        yield {"a": 1}
    if event.get("large"):
        for _ in range(30):
            yield b"x" * 100_000
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    limits = {
        "LAMBENT_AWS_STREAM_BYTES_MAX": "2MiB",
        "LAMBENT_AWS_RESPONSE_BYTES_MAX": "1MiB",
        "LAMBENT_AWS_REQUEST_BYTES_MAX": "1MiB",
        "LAMBENT_AWS_EVENT_BYTES_MAX": "1KiB",
    }
    running = RunningServer(tmp_path_factory.mktemp("streams") / "state", environ=limits).start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    found = client_of(server)
    make(found, "streams", STREAMS, Timeout=60)
    return found


def streamed(client: Any, event: object = None, **more: Any) -> tuple[bytes, dict[str, str], Any]:
    """What was streamed, its end, and the answer's head."""
    answer = client.invoke_with_response_stream(
        FunctionName="streams", Payload=json.dumps(event or {}), **more
    )
    chunks, end = [], None
    for one in answer["EventStream"]:
        assert end is None, "something follows the end"
        if "PayloadChunk" in one:
            chunks.append(one["PayloadChunk"]["Payload"])
        else:
            end = one["InvokeComplete"]
    assert end is not None
    return b"".join(chunks), end, answer


def test_what_a_function_yields_is_streamed(client: Any) -> None:
    body, end, answer = streamed(client)
    assert (body, end) == (b"piece 0\npiece 1\npiece 2\n", {})
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    assert streamed(client, {"count": 0, "bytes": True})[0] == b'\xff\x00{"a":1}\n'


def test_what_it_returns_is_one_chunk(client: Any) -> None:
    body, end, _ = streamed(client, {"plain": "x"})
    assert (json.loads(body), end) == ({"plain": "x"}, {})


def test_the_end_of_a_stream_tells_of_errors(client: Any) -> None:
    body, end, _ = streamed(client, {"raise": True})
    assert (body.count(b"piece"), end["ErrorCode"]) == (3, "ValueError")
    assert json.loads(end["ErrorDetails"])["errorMessage"] == "in the middle"
    _, end, _ = streamed(client, {"exit": True})
    assert end["ErrorCode"] == "Runtime.ExitError"


def test_the_end_of_a_stream_has_the_log(client: Any) -> None:
    _, end, answer = streamed(client, {"plain": 1}, LogType="Tail")
    log = base64.b64decode(end["LogResult"]).decode()
    assert log.startswith(f"START RequestId: {answer['ResponseMetadata']['RequestId']} Version: $LATEST\n")
    assert "Version" not in streamed(client)[1].get("LogResult", "")


def test_a_stream_that_is_only_tried(client: Any) -> None:
    answer = client.invoke_with_response_stream(FunctionName="streams", InvocationType="DryRun")
    assert answer["StatusCode"] == 204


def test_a_stream_has_a_limit(client: Any) -> None:
    body, end, _ = streamed(client, {"large": True})
    assert len(body) <= 2 * 1024 * 1024
    assert end["ErrorCode"] == "Function.ResponseSizeTooLarge"


def test_the_limits_of_payloads_are_settings(client: Any) -> None:
    large = json.dumps("x" * 2 * 1024 * 1024)
    assert refused(client.invoke, FunctionName="streams", Payload=large)[:2] == (
        413,
        "RequestTooLargeException",
    )
    event = {"FunctionName": "streams", "InvocationType": "Event", "Payload": json.dumps("x" * 2000)}
    assert refused(client.invoke, **event)[:2] == (413, "RequestTooLargeException")
    make(client, "long", "def handler(event, context): return 'x' * event")
    answer = client.invoke(FunctionName="long", Payload=str(2 * 1024 * 1024))
    assert json.loads(answer["Payload"].read()) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (1048576 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }


def test_a_stream_of_nobody(client: Any) -> None:
    answer = refused(client.invoke_with_response_stream, FunctionName="nobody", Payload=b"{}")
    assert answer == (404, "ResourceNotFoundException", f"Function not found: {PREFIX}nobody:$LATEST")


ENDS = """
import os, sys, time

def handler(event, context):
    if "exit" in event:
        sys.exit(event["exit"])
    if "kill" in event:
        os.kill(os.getpid(), 9)
    if "sleep" in event:
        time.sleep(event["sleep"])
    return {1, 2}
"""


def ended(client: Any, name: str, event: object) -> tuple[dict[str, Any], str, str]:
    """The error of a call, its request's id, and the end of its log."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"], answer["ExecutedVersion"]) == (
        200, "Unhandled", "$LATEST",
    )  # fmt: skip
    log = base64.b64decode(answer["LogResult"]).decode()
    return json.loads(answer["Payload"].read()), answer["ResponseMetadata"]["RequestId"], log


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("import nothing_there", "Runtime.ImportModuleError",
         "Unable to import module 'main': No module named 'nothing_there'"),
        ("def other(): pass", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'main'"),
        ("raise ValueError('at import')", "ValueError", "at import"),
    ],
)  # fmt: skip
def test_code_that_cannot_be_loaded(client: Any, code: str, kind: str, text: str) -> None:
    name = f"broken-{kind.rpartition('.')[2]}"
    make(client, name, code)
    error, told, log = ended(client, name, {})
    assert (error["errorType"], error["errorMessage"], error["requestId"]) == (kind, text, "")
    assert log.startswith(f"START RequestId: {told} Version: $LATEST\n[ERROR] {kind}: {text}")


def test_processes_that_end_and_calls_that_take_too_long(client: Any) -> None:
    make(client, "ends", ENDS, Timeout=1)
    for event, kind, text in (
        ({"exit": 3}, "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ({"exit": 0}, "Runtime.ExitError", "Runtime exited without providing a reason"),
        ({"kill": 1}, "Runtime.ExitError", "Runtime exited with error: signal 9 (SIGKILL)"),
        ({"sleep": 60}, "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    ):
        error, told, log = ended(client, "ends", event)
        assert error == {"errorType": kind, "errorMessage": f"RequestId: {told} Error: {text}"}
        assert f"END RequestId: {told}\nREPORT RequestId: {told}\tDuration: " in log
        status = "timeout" if "sleep" in event else "error\tError Type: Runtime.ExitError"
        assert f"Status: {status}" in log
    error, told, _ = ended(client, "ends", {})
    assert error == {
        "errorMessage": "Unable to marshal response: Object of type set is not JSON serializable",
        "errorType": "Runtime.MarshalError",
        "requestId": told,
        "stackTrace": [],
    }
