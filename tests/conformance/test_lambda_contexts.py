"""What handlers see of their call, and what it leaves in the log and at destinations, through boto3."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, client_of, make, refused
from tests.support.server import RunningServer, wait_until

CONTEXT = """
import os, json, logging

def handler(event, context):
    print("hello", event)
    logging.getLogger().warning("a warning")
    print("ERROR: the level")
    names = ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_REGION", "AWS_DEFAULT_REGION", "TZ", "LANG", "_HANDLER", "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "AWS_XRAY_DAEMON_ADDRESS", "PYTHONPATH")
    return {
        "env": {name: os.environ.get(name) for name in names},
        "here": sorted(os.listdir(os.environ["LAMBDA_TASK_ROOT"])),
        "cwd": os.getcwd() == os.environ["LAMBDA_TASK_ROOT"],
        "context": {
            "aws_request_id": context.aws_request_id,
            "function_name": context.function_name,
            "function_version": context.function_version,
            "invoked_function_arn": context.invoked_function_arn,
            "memory_limit_in_mb": context.memory_limit_in_mb,
            "log_group_name": context.log_group_name,
            "log_stream_name": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(),
            "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
            "client_context": None if context.client_context is None else {
                "custom": context.client_context.custom,
                "env": context.client_context.env,
                "app": context.client_context.client.app_title,
            },
        },
    }
"""


NOTES = """
import json

def handler(event, context):
    print("RECORD", json.dumps(event))
"""


FICKLE = """
def handler(event, context):
    if event.get("raise"):
        raise ValueError("asked to fail")
    return {"done": event}
"""


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    found = client_of(server)
    make(found, "context", CONTEXT, Timeout=60, MemorySize=256)
    return found


@pytest.fixture(scope="module")
def logs(server: RunningServer) -> Any:
    return client_of(server, "logs")


def test_the_ancestor_of_invoke(client: Any, logs: Any) -> None:
    assert client.invoke_async(FunctionName="context", InvokeArgs=b'{"from": "ancestor"}')["Status"] == 202
    group = "/aws/lambda/context"
    wait_until(
        lambda: logs.filter_log_events(logGroupName=group, filterPattern="ancestor")["events"],
        "what was invoked to print",
    )


def called(client: Any, **more: Any) -> tuple[dict[str, Any], Any]:
    answer = client.invoke(FunctionName="context", Payload=b"{}", **more)
    text = answer["Payload"].read()
    assert "FunctionError" not in answer, text
    return json.loads(text), answer


def test_the_context_is_aws_s(client: Any) -> None:
    sent = {"custom": {"a": 1}, "env": {"b": "2"}, "client": {"app_title": "app"}}
    context = base64.b64encode(json.dumps(sent).encode()).decode()
    said, answer = called(client, ClientContext=context)
    seen = said["context"]
    assert 0 < seen.pop("remaining") <= 60_000
    stream = seen.pop("log_stream_name")
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream), stream
    assert seen == {
        "aws_request_id": answer["ResponseMetadata"]["RequestId"],
        "function_name": "context",
        "function_version": "$LATEST",
        "invoked_function_arn": PREFIX + "context",
        "memory_limit_in_mb": "256",
        "log_group_name": "/aws/lambda/context",
        "identity": [None, None],
        "client_context": {"custom": {"a": 1}, "env": {"b": "2"}, "app": "app"},
    }


def test_the_environment_is_aws_s(client: Any) -> None:
    said, answer = called(client)
    env = said["env"]
    assert said["here"] == ["main.py"]
    assert said["cwd"] is True
    assert env["AWS_LAMBDA_LOG_STREAM_NAME"] == said["context"]["log_stream_name"]
    trace_id = answer["ResponseMetadata"]["RequestId"].replace("-", "")
    assert env["_X_AMZN_TRACE_ID"].startswith(f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent=")
    expected = {
        "AWS_LAMBDA_FUNCTION_NAME": "context",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/context",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TZ": ":UTC",
        "_HANDLER": "main.handler",
    }
    assert expected.items() <= env.items()
    assert env["LAMBDA_RUNTIME_DIR"]


def test_the_arn_of_a_version_and_of_an_alias(client: Any) -> None:
    version = client.publish_version(FunctionName="context")["Version"]
    client.create_alias(FunctionName="context", Name="live", FunctionVersion=version)
    for qualifier in (version, "live"):
        said, answer = called(client, Qualifier=qualifier)
        assert said["context"]["invoked_function_arn"] == f"{PREFIX}context:{qualifier}"
        assert said["context"]["function_version"] == version
        assert answer["ExecutedVersion"] == version


def test_each_call_leaves_its_lines_in_the_log(client: Any, logs: Any) -> None:
    said, answer = called(client)
    told = answer["ResponseMetadata"]["RequestId"]
    stream = said["context"]["log_stream_name"]
    group = "/aws/lambda/context"

    def lines() -> list[str]:
        events = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
        texts = [event["message"] for event in events]
        starts = [at for at, text in enumerate(texts) if text.startswith(f"START RequestId: {told}")]
        return texts[starts[0] :] if starts else []

    wait_until(lambda: any(line.startswith("REPORT") for line in lines()), "the report")
    found = lines()
    assert found[0] == f"START RequestId: {told} Version: $LATEST\n"
    assert found[1] == "hello {}\n"
    assert found[2].startswith("[WARNING]\t")
    assert found[4] == f"END RequestId: {told}\n"
    report = (
        r"REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\t"
        r"Memory Size: 256 MB\tMax Memory Used: \d+ MB\t"
    )
    assert re.match(report, found[5]), found[5]


def test_logs_are_listed_and_paged(client: Any, logs: Any) -> None:
    for _ in range(3):
        called(client)
    groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/con")["logGroups"]
    assert [group["logGroupName"] for group in groups] == ["/aws/lambda/context"]
    pages = logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1})
    names = [group["logGroupName"] for page in pages for group in page["logGroups"]]
    assert names == sorted(names)
    assert "/aws/lambda/context" in names
    group = "/aws/lambda/context"
    streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)
    newest = streams["logStreams"][0]
    assert newest["arn"].endswith(f":log-group:{group}:log-stream:{newest['logStreamName']}")
    whole = logs.filter_log_events(logGroupName=group)["events"]
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, PaginationConfig={"PageSize": 7}
    )
    assert [event for page in pages for event in page["events"]] == whole
    assert len({event["eventId"] for event in whole}) == len(whole)
    errors = logs.filter_log_events(logGroupName=group, filterPattern='"ERROR: the"')["events"]
    assert {event["message"] for event in errors} == {"ERROR: the level\n"}
    middle = whole[len(whole) // 2]["timestamp"]
    later = logs.filter_log_events(logGroupName=group, startTime=middle)["events"]
    assert later == [event for event in whole if event["timestamp"] >= middle]
    only = logs.filter_log_events(
        logGroupName=group, logStreamNames=[newest["logStreamName"]], endTime=middle
    )
    assert all(event["timestamp"] <= middle for event in only["events"])


def test_a_part_of_a_log_is_read_forward_and_back(logs: Any, client: Any) -> None:
    called(client)
    group = "/aws/lambda/context"
    stream = logs.describe_log_streams(logGroupName=group)["logStreams"][0]["logStreamName"]
    words = {"logGroupName": group, "logStreamName": stream, "limit": 4}
    whole = logs.get_log_events(**{**words, "limit": 10_000}, startFromHead=True)["events"]
    page, seen = logs.get_log_events(**words, startFromHead=True), []
    while page["events"]:
        seen += page["events"]
        token = page["nextForwardToken"]
        page = logs.get_log_events(**words, nextToken=token)
    assert page["nextForwardToken"] == token, "the end is told by the same token"
    assert seen[: len(whole)] == whole
    last = logs.get_log_events(**words)
    assert last["events"] == whole[-4:] or len(seen) > len(whole)
    before = logs.get_log_events(**words, nextToken=last["nextBackwardToken"])["events"]
    assert before[-1]["timestamp"] <= last["events"][0]["timestamp"]


def test_logs_that_are_not_there(logs: Any, client: Any) -> None:
    group = "/aws/lambda/context"
    assert refused(logs.filter_log_events, logGroupName="/aws/lambda/nobody") == (
        400, "ResourceNotFoundException", "The specified log group does not exist.",
    )  # fmt: skip
    assert refused(logs.get_log_events, logGroupName=group, logStreamName="x" * 12)[2] == (
        "The specified log stream does not exist."
    )
    for words in ({"filterPattern": "[a, b]"}, {"limit": 99_999}, {"nextToken": "nonsense"}):
        answer = refused(logs.filter_log_events, logGroupName=group, **words)
        assert answer[:2] == (400, "InvalidParameterException")


def test_the_newest_lines_can_be_followed(client: Any, logs: Any) -> None:
    group = "/aws/lambda/context"
    since = int(time.time() * 1000)
    told = called(client)[1]["ResponseMetadata"]["RequestId"]
    wait_until(
        lambda: any(
            told in event["message"]
            for event in logs.filter_log_events(logGroupName=group, startTime=since)["events"]
        ),
        "the call to be seen",
    )


def test_the_end_of_an_event_is_told_to_its_destination(client: Any, logs: Any) -> None:
    make(client, "notes", NOTES)
    make(client, "fickle", FICKLE)
    to = {"Destination": PREFIX + "notes"}
    client.put_function_event_invoke_config(
        FunctionName="fickle", MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": to, "OnFailure": to}
    )
    asked = {}
    for event in ({"x": 1}, {"raise": True}):
        answer = client.invoke(FunctionName="fickle", InvocationType="Event", Payload=json.dumps(event))
        asked[answer["ResponseMetadata"]["RequestId"]] = event

    def records() -> list[Any]:
        events = logs.filter_log_events(logGroupName="/aws/lambda/notes", filterPattern="RECORD")["events"]
        return [json.loads(event["message"].partition(" ")[2]) for event in events]

    wait_until(lambda: len(records()) == 2, "both records")
    found = {record["requestContext"]["condition"]: record for record in records()}
    good, bad = found["Success"], found["RetriesExhausted"]
    assert {record["requestContext"]["requestId"] for record in (good, bad)} == asked.keys()
    assert good["responsePayload"] == {"done": {"x": 1}}
    assert good["requestContext"]["functionArn"] == f"{PREFIX}fickle:$LATEST"
    assert bad["responseContext"]["functionError"] == "Unhandled"
    assert (bad["requestPayload"], bad["responsePayload"]["errorType"]) == ({"raise": True}, "ValueError")


def test_events_through_an_alias_are_handled_as_was_said_of_it(client: Any, logs: Any) -> None:
    make(client, "heard", NOTES)
    make(client, "twofold", FICKLE, Publish=True)
    client.create_alias(FunctionName="twofold", Name="live", FunctionVersion="1")
    to = {"Destination": PREFIX + "heard"}
    client.put_function_event_invoke_config(
        FunctionName="twofold", Qualifier="live", MaximumRetryAttempts=0, DestinationConfig={"OnFailure": to}
    )
    client.put_function_event_invoke_config(
        FunctionName="twofold", Qualifier="1", DestinationConfig={"OnSuccess": to}
    )
    for qualifier, event in (("live", {"raise": True}), ("1", {"x": 1}), ("$LATEST", {"x": 2})):
        client.invoke(
            FunctionName="twofold", Qualifier=qualifier, InvocationType="Event", Payload=json.dumps(event)
        )

    def records() -> list[Any]:
        events = logs.filter_log_events(logGroupName="/aws/lambda/heard", filterPattern="RECORD")["events"]
        return [json.loads(event["message"].partition(" ")[2]) for event in events]

    wait_until(lambda: len(records()) == 2, "both records")
    found = {record["requestContext"]["condition"]: record for record in records()}
    assert found["RetriesExhausted"]["requestContext"]["approximateInvokeCount"] == 1
    assert found["RetriesExhausted"]["requestPayload"] == {"raise": True}
    assert found["Success"]["requestPayload"] == {"x": 1}


SITE = """
import os

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    tries = os.environ["TRIES"]
    with open(tries, "a") as file:
        file.write("x")
    said = 503 if os.path.getsize(tries) < 3 else 200
    await send({"type": "http.response.start", "status": said, "headers": []})
    await send({"type": "http.response.body", "body": b"said %d" % said})
"""


def test_an_event_that_an_application_could_not_take_is_tried_again(
    client: Any, server: RunningServer, tmp_path: Path
) -> None:
    """A function that returns the same as its result has done its work: on AWS, too, only errors count."""
    tries = tmp_path / "tries"
    (tmp_path / "busy.py").write_text(SITE)
    words = ("--set", f"env.TRIES={tries}", "--set", "retry_first_s=0.1")
    server.deploy(f"{tmp_path / 'busy.py'}:app", "--name", "site", *words)
    sent = client.invoke(FunctionName="site", InvocationType="Event", Payload=b"{}")
    path = f"/invocations/{sent['ResponseMetadata']['RequestId']}"
    wait_until(lambda: server.request("GET", path).body == b"said 200", "the third try")
    assert tries.read_text() == "xxx"
    make(client, "says", "def handler(event, context):\n    return {'statusCode': 500}\n")
    sent = client.invoke(FunctionName="says", InvocationType="Event", Payload=b"{}")
    path = f"/invocations/{sent['ResponseMetadata']['RequestId']}"
    wait_until(lambda: server.request("GET", path).body == b'{"statusCode":500}', "its result")
