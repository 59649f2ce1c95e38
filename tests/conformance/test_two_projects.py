"""Two projects on one server, each with a key of its own: at AWS's doors neither sees what the other has."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambent.wire.keys import KeyReply
from tests.support.aws_clients import PREFIX, client_of, make, refused
from tests.support.project_keys import keys_of
from tests.support.server import RunningServer, wait_until

QUEUE = "arn:aws:sqs:eu-central-1:000000000000:"
SAYS = "def handler(event, context):\n    print('secret of %s')\n    return ['%s', event]\n"

Client = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def keys(server: RunningServer) -> dict[str, KeyReply]:
    return keys_of(server, "red", "blue")


@pytest.fixture(scope="module")
def client(server: RunningServer, keys: dict[str, KeyReply]) -> Client:
    def of(project: str, service: str = "lambda") -> Any:
        key = keys[project]
        return client_of(
            server, service,
            aws_access_key_id=key.access_key_id, aws_secret_access_key=key.secret_access_key,
        )  # fmt: skip

    return of


@pytest.fixture(scope="module")
def red(client: Client) -> Any:
    """Functions of one name in both, and one that only red has."""
    for project in ("red", "blue"):
        make(client(project, "lambda"), "same", SAYS % (project, project))
    found = client("red", "lambda")
    make(found, "own", SAYS % ("red", "red"))
    return found


def said(client: Any, name: str) -> Any:
    return json.load(client.invoke(FunctionName=name, Payload=b"1")["Payload"])


def test_functions_of_one_name_are_two(red: Any, client: Client) -> None:
    blue = client("blue", "lambda")
    assert (said(red, "same"), said(blue, "same")) == (["red", 1], ["blue", 1])
    assert [one["FunctionName"] for one in blue.list_functions()["Functions"]] == ["same"]
    for call in (blue.get_function, blue.invoke, blue.delete_function, blue.publish_version):
        assert refused(call, FunctionName="own")[:2] == (404, "ResourceNotFoundException")
    assert refused(blue.list_tags, Resource=PREFIX + "own")[0] == 404
    assert said(red, "own") == ["red", 1]


def test_urls_ask_for_their_own_projects_keys(red: Any, client: Client, server: RunningServer) -> None:
    url = red.create_function_url_config(FunctionName="same", AuthType="AWS_IAM")["FunctionUrl"]
    path = url.removeprefix(server.url)
    assert server.request("GET", path).status == 403


def test_queues_mappings_and_messages_are_their_projects(red: Any, client: Client) -> None:
    mine, theirs = client("red", "sqs"), client("blue", "sqs")
    url = mine.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "3600"})["QueueUrl"]
    assert refused(theirs.receive_message, QueueUrl=url)[1] == "AWS.SimpleQueueService.NonExistentQueue"
    theirs.create_queue(QueueName="jobs")
    mine.send_message(QueueUrl=url, MessageBody="hush")
    assert "Messages" not in theirs.receive_message(QueueUrl=url)
    [got] = mine.receive_message(QueueUrl=url)["Messages"]
    found = refused(theirs.delete_message, QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
    assert found[1] == "ReceiptHandleIsInvalid"
    mapping = red.create_event_source_mapping(
        FunctionName="own", EventSourceArn=QUEUE + "jobs", Enabled=False
    )
    blue = client("blue", "lambda")
    assert refused(blue.get_event_source_mapping, UUID=mapping["UUID"])[0] == 404
    assert refused(blue.tag_resource, Resource=mapping["EventSourceMappingArn"], Tags={"a": "b"})[0] == 404
    assert blue.list_event_source_mappings()["EventSourceMappings"] == []
    assert refused(theirs.start_message_move_task, SourceArn=QUEUE + "nobody")[0] == 404


def test_logs_tickets_and_endpoints_are_their_projects(
    red: Any, client: Client, keys: dict[str, KeyReply], server: RunningServer
) -> None:
    groups = client("blue", "logs").describe_log_groups()["logGroups"]
    assert [one["logGroupName"] for one in groups] == ["/aws/lambda/same"]
    for project in ("red", "blue"):
        said(client(project, "lambda"), "same")
        secrets = client(project, "logs").filter_log_events(
            logGroupName="/aws/lambda/same", filterPattern="secret"
        )
        assert {one["message"] for one in secrets["events"]} == {f"secret of {project}\n"}
    answer = red.invoke(FunctionName="own", InvocationType="Event", Payload=b"1")
    ticket = f"/invocations/{answer['ResponseMetadata']['RequestId']}"
    assert server.request("GET", ticket, key=keys["blue"].api_key).status == 404
    wait_until(
        lambda: server.request("GET", ticket, key=keys["red"].api_key).body == b'["red",1]', "the result"
    )
    endpoint = client("blue", "sagemaker-runtime")
    assert refused(endpoint.invoke_endpoint, EndpointName="own", Body=b"1")[1] == "ValidationError"
    asked = server.request("POST", "/endpoints/own/async-invocations", b"1", key=keys["red"].api_key)
    told = asked.headers["X-Amzn-SageMaker-OutputLocation"].removeprefix(server.url)
    assert server.request("GET", told, key=keys["blue"].api_key).status in (400, 404)


def test_what_was_said_of_any_projects_functions_holds_after_a_restart(
    red: Any, client: Client, server: RunningServer
) -> None:
    url = red.create_function_url_config(FunctionName="own", AuthType="NONE")["FunctionUrl"]
    red.add_permission(
        FunctionName="own", StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*",
        FunctionUrlAuthType="NONE",
    )  # fmt: skip
    path = url.removeprefix(server.url)
    queue = client("red", "sqs").create_queue(QueueName="work")["QueueUrl"].rpartition("/")[2]
    red.create_event_source_mapping(FunctionName="own", EventSourceArn=QUEUE + queue)
    red.put_function_concurrency(FunctionName="same", ReservedConcurrentExecutions=0)
    make(red, "breaks", "def handler(event, context):\n    raise ValueError(event)\n", Publish=True)
    red.create_alias(FunctionName="breaks", Name="live", FunctionVersion="1")
    client("red", "sqs").create_queue(QueueName="failed")
    red.put_function_event_invoke_config(
        FunctionName="breaks", Qualifier="live", MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": QUEUE + "failed"}},
    )  # fmt: skip
    server.stop()
    server.start()
    again, queues = client("red", "lambda"), client("red", "sqs")
    assert refused(again.invoke, FunctionName="same")[:2] == (429, "TooManyRequestsException")
    assert json.loads(server.request("GET", path, key="").body)[0] == "red"
    found = queues.get_queue_url(QueueName=queue)["QueueUrl"]
    queues.send_message(QueueUrl=found, MessageBody="x")

    def is_empty() -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = queues.get_queue_attributes(QueueUrl=found, AttributeNames=names)["Attributes"]
        return set(told.values()) == {"0"}

    wait_until(is_empty, "the message to be taken")
    again.invoke(FunctionName="breaks", Qualifier="live", InvocationType="Event", Payload=b"1")
    failed, told = queues.get_queue_url(QueueName="failed")["QueueUrl"], []

    def is_told() -> bool:
        told.extend(queues.receive_message(QueueUrl=failed, WaitTimeSeconds=5).get("Messages", ()))
        return bool(told)

    wait_until(is_told, "the failure to be told")
    assert json.loads(told[0]["Body"])["requestContext"]["approximateInvokeCount"] == 1
