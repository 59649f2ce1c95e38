"""The real boto3 client against a real server: what works on AWS works here, what fails fails alike."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

ARN = "arn:aws:lambda:eu-central-1:000000000000:function:hello"
HANDLER = """
import json, os, sys, time

def lambda_handler(event, context):
    print("got", json.dumps(event))
    if event.get("raise"):
        raise ValueError("asked to fail")
    if event.get("exit"):
        os._exit(3)
    if event.get("sleep_s"):
        time.sleep(event["sleep_s"])
    if event.get("write"):
        with open(event["write"], "a") as file:
            file.write(context.aws_request_id + "\\n")
    while event.get("until") and not os.path.exists(event["until"]):
        time.sleep(0.01)
    custom = context.client_context.custom if context.client_context else None
    return {"statusCode": 200, "body": event, "custom": custom, "id": context.aws_request_id}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("boto3")
    file = folder / "app.py"
    file.write_text(HANDLER)
    running = RunningServer(folder / "state").start()
    try:
        running.deploy(file, "--name", "hello", "--set", "timeout_s=90")
        running.deploy(file, "--name", "hasty", "--set", "timeout_s=1")
        (folder / "broken.py").write_text("def lambda_handler(event, context): return {1, 2}\n")
        running.deploy(folder / "broken.py", "--name", "broken")
        yield running
    finally:
        running.stop()


def client_of(server: RunningServer, **changes: Any) -> Any:
    """A boto3 client as a user makes it; nothing but the endpoint differs from AWS."""
    pair = {
        "aws_access_key_id": server.about["access_key_id"],
        "aws_secret_access_key": server.about["secret_access_key"],
        **changes,
    }
    config = Config(connect_timeout=PATIENT_S, read_timeout=PATIENT_S)
    return boto3.client("lambda", endpoint_url=server.url, region_name="eu-central-1", config=config, **pair)


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return client_of(server)


def result_of(answer: dict[str, Any]) -> Any:
    return json.loads(answer["Payload"].read())


def failure_of(call: Any, **arguments: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response: dict[str, Any] = caught.value.response
    return response


@pytest.mark.parametrize("name", ["hello", ARN, "000000000000:function:hello", "hello:$LATEST", "hello:1"])
def test_an_invocation_by_every_form_of_its_name(client: Any, name: str) -> None:
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"ä": "€ %2F"}))
    assert (answer["StatusCode"], "FunctionError" in answer) == (200, False)
    assert answer["ExecutedVersion"] == ("1" if name.endswith(":1") else "$LATEST")
    result = result_of(answer)
    assert result["body"] == {"ä": "€ %2F"}
    assert result["id"] == answer["ResponseMetadata"]["RequestId"]


def test_an_empty_payload_is_an_empty_event(client: Any) -> None:
    assert result_of(client.invoke(FunctionName="hello"))["body"] == {}


def test_a_stream_as_payload(client: Any) -> None:
    large = {"text": "x" * 2_000_000}
    answer = client.invoke(FunctionName="hello", Payload=io.BytesIO(json.dumps(large).encode()))
    assert result_of(answer)["body"] == large


def test_the_client_context_arrives(client: Any) -> None:
    context = base64.b64encode(json.dumps({"custom": {"who": "me"}}).encode()).decode()
    answer = client.invoke(FunctionName="hello", Payload=b"{}", ClientContext=context)
    assert result_of(answer)["custom"] == {"who": "me"}


def test_the_tail_of_the_log(client: Any) -> None:
    answer = client.invoke(FunctionName="hello", Payload=b'{"x": 1}', LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    told = answer["ResponseMetadata"]["RequestId"]
    assert log.startswith(f"START RequestId: {told} Version: $LATEST\n")
    assert 'got {"x": 1}\n' in log
    assert f"END RequestId: {told}\nREPORT RequestId: {told}\tDuration: " in log


def test_an_event_is_accepted_and_run(client: Any, tmp_path: Path) -> None:
    file = tmp_path / "ran"
    answer = client.invoke(
        FunctionName="hello", InvocationType="Event", Payload=json.dumps({"write": str(file)})
    )
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    wait_until(lambda: file.exists() and file.read_text(), "the event to be run")
    assert file.read_text() == answer["ResponseMetadata"]["RequestId"] + "\n"


def test_a_dry_run(client: Any) -> None:
    assert client.invoke(FunctionName="hello", InvocationType="DryRun")["StatusCode"] == 204


def test_a_handler_that_raises(client: Any) -> None:
    answer = client.invoke(FunctionName="hello", Payload=b'{"raise": true}')
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = result_of(answer)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "asked to fail")
    assert error["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert 'raise ValueError("asked to fail")' in "".join(error["stackTrace"])


def test_a_result_that_is_not_json(client: Any) -> None:
    answer = client.invoke(FunctionName="broken", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert result_of(answer)["errorType"] == "Runtime.MarshalError"


def test_a_handler_that_ends_its_process(client: Any) -> None:
    answer = client.invoke(FunctionName="hello", Payload=b'{"exit": true}')
    error = result_of(answer)
    assert (answer["FunctionError"], error["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert error["errorMessage"].startswith(f"RequestId: {answer['ResponseMetadata']['RequestId']} Error: ")
    assert client.invoke(FunctionName="hello", Payload=b"{}")["StatusCode"] == 200


def test_a_handler_that_takes_too_long(client: Any) -> None:
    answer = client.invoke(FunctionName="hasty", Payload=b'{"sleep_s": 600}')
    error = result_of(answer)
    assert (answer["FunctionError"], error["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    told = answer["ResponseMetadata"]["RequestId"]
    assert error["errorMessage"] == f"RequestId: {told} Error: Task timed out after 1.00 seconds"


def test_a_function_that_is_not_there(client: Any) -> None:
    response = failure_of(client.invoke, FunctionName="nobody")
    assert response["Error"]["Code"] == "ResourceNotFoundException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 404
    arn = "arn:aws:lambda:eu-central-1:000000000000:function:nobody:$LATEST"
    assert response["Message"] == f"Function not found: {arn}"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="hello", Qualifier="7")


def test_a_payload_that_is_not_json(client: Any) -> None:
    response = failure_of(client.invoke, FunctionName="hello", Payload=b"{x")
    assert response["Error"]["Code"] == "InvalidRequestContentException"
    assert response["Error"]["Message"].startswith("Could not parse request body into json: ")


def test_a_payload_that_is_too_large(client: Any) -> None:
    response = failure_of(client.invoke, FunctionName="hello", Payload=b"1" * (6 * 1024 * 1024 + 1))
    assert response["Error"]["Code"] == "RequestTooLargeException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}, "UnrecognizedClientException"),
    ],
)
def test_a_wrong_pair(server: RunningServer, changes: dict[str, str], code: str) -> None:
    response = failure_of(client_of(server, **changes).invoke, FunctionName="hello")
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, 403)


def test_a_pair_whose_key_was_removed(server: RunningServer) -> None:
    made = server.request("POST", "/api/v1/keys", b'{"name": "boto3", "role": "invoke"}').json()
    pair = {
        "aws_access_key_id": made["access_key_id"],
        "aws_secret_access_key": made["secret_access_key"],
    }
    assert client_of(server, **pair).invoke(FunctionName="hello")["StatusCode"] == 200
    assert server.request("DELETE", f"/api/v1/keys/{made['key']['key_id']}").status == 204
    response = failure_of(client_of(server, **pair).invoke, FunctionName="hello")
    assert response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_session_token_changes_nothing(server: RunningServer) -> None:
    assert client_of(server, aws_session_token="any").invoke(FunctionName="hello")["StatusCode"] == 200


def test_a_slow_call_that_is_sent_again_runs_once(server: RunningServer, tmp_path: Path) -> None:
    file, again = tmp_path / "ran", tmp_path / "again"
    impatient = boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="eu-central-1",
        aws_access_key_id=server.about["access_key_id"],
        aws_secret_access_key=server.about["secret_access_key"],
        config=Config(read_timeout=1, retries={"total_max_attempts": 20, "mode": "standard"}),
    )
    sent: list[Any] = []

    def note(request: Any, **_: Any) -> None:
        sent.append(request)
        if len(sent) > 1:
            again.touch()

    impatient.meta.events.register("before-send.lambda.Invoke", note)
    payload = json.dumps({"write": str(file), "until": str(again)})
    answer = impatient.invoke(FunctionName="hello", Payload=payload)
    assert answer["ResponseMetadata"]["RetryAttempts"] >= 1
    assert file.read_text() == result_of(answer)["id"] + "\n"


def test_what_is_deployed_can_be_read(client: Any) -> None:
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
    names = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert names == ["broken", "hasty", "hello"]
    configuration = client.get_function_configuration(FunctionName="hello")
    assert (configuration["Handler"], configuration["Timeout"]) == ("app.lambda_handler", 90)
    assert configuration["FunctionArn"] == ARN
    client.get_waiter("function_active_v2").wait(FunctionName="hello")
