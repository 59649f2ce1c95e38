"""Tasks that move dead letters, through boto3's own `sqs` client."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from tests.support.aws_clients import REGION, client_of, refused
from tests.support.server import RunningServer, wait_until

ARN = f"arn:aws:sqs:{REGION}:000000000000:"
INVALID = "InvalidParameterValue"
TEXT = {"DataType": "String", "StringValue": "x"}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return client_of(server, "sqs")


def made(client: Any, **attributes: str) -> str:
    name = f"q-{uuid.uuid4().hex[:8]}"
    told = {"VisibilityTimeout": "3600", **attributes}  # what is hidden stays so on the slowest machine
    return str(client.create_queue(QueueName=name, Attributes=told)["QueueUrl"])


def arn(url: str) -> str:
    return ARN + url.rpartition("/")[2]


def received(client: Any, url: str, **words: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.receive_message(QueueUrl=url, **words).get("Messages", [])
    return found


def dead_letter(client: Any) -> tuple[str, str]:
    """A queue, and the one that holds what it gave up: a single message."""
    dead = made(client)
    policy = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1})
    url = made(client, RedrivePolicy=policy, VisibilityTimeout="0")
    client.send_message(QueueUrl=url, MessageBody="bad", MessageAttributes={"a": TEXT})
    while received(client, url):
        pass
    return url, dead


def task_of(client: Any, dead: str) -> dict[str, Any]:
    def ended() -> bool:
        [task] = client.list_message_move_tasks(SourceArn=arn(dead))["Results"]
        return task["Status"] != "RUNNING"

    wait_until(ended, "the move has ended")
    [task] = client.list_message_move_tasks(SourceArn=arn(dead))["Results"]
    return {name: value for name, value in task.items() if name != "StartedTimestamp"}


def test_dead_letters_are_moved_back_to_the_queue_that_gave_them_up(client: Any) -> None:
    url, dead = dead_letter(client)
    client.start_message_move_task(SourceArn=arn(dead))
    assert task_of(client, dead) == {
        "Status": "COMPLETED",
        "SourceArn": arn(dead),
        "ApproximateNumberOfMessagesMoved": 1,
        "ApproximateNumberOfMessagesToMove": 1,
    }
    [back] = received(client, url, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert (back["Body"], back["Attributes"]["ApproximateReceiveCount"]) == ("bad", "1")
    assert back["MessageAttributes"] == {"a": TEXT}


def test_a_move_is_slowed_and_cancelled_and_fails_where_it_cannot_go_on(client: Any) -> None:
    _, dead = dead_letter(client)
    other = made(client)
    entries = [{"Id": str(number), "MessageBody": "x"} for number in range(10)]
    client.send_message_batch(QueueUrl=dead, Entries=entries)
    words = {"SourceArn": arn(dead), "DestinationArn": arn(other), "MaxNumberOfMessagesPerSecond": 1}
    handle = client.start_message_move_task(**words)["TaskHandle"]
    assert refused(client.start_message_move_task, **words) == (400, INVALID, (
        "There is already a task running. Only one active task is allowed for a source queue arn at a given "
        "time."
    ))  # fmt: skip
    [task] = client.list_message_move_tasks(SourceArn=arn(dead))["Results"]
    assert (task["TaskHandle"], task["DestinationArn"]) == (handle, arn(other))
    assert task["MaxNumberOfMessagesPerSecond"] == 1
    assert client.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"] < 11
    assert task_of(client, dead)["Status"] == "CANCELLED"
    assert (
        refused(client.cancel_message_move_task, TaskHandle=handle)[1]
        == "AWS.SimpleQueueService.UnsupportedOperation"
    )
    client.start_message_move_task(SourceArn=arn(dead))  # most were sent there, and came from no queue
    assert task_of(client, dead)["FailureReason"] == "CouldNotDetermineMessageSource"


def test_a_move_that_cannot_be_is_refused_in_awss_words(client: Any) -> None:
    url, dead = dead_letter(client)
    start, cancel = client.start_message_move_task, client.cancel_message_move_task
    nobody = ARN + "nobody"
    gone = "The resource that you specified for the {} parameter doesn't exist."
    not_found = "ResourceNotFoundException"
    assert refused(start, SourceArn=nobody) == (404, not_found, gone.format("SourceArn"))
    assert refused(start, SourceArn=arn(url)) == (
        400, INVALID, "Source queue must be configured as a Dead Letter Queue.",
    )  # fmt: skip
    assert refused(start, SourceArn=arn(dead), DestinationArn=nobody) == (
        404, not_found, gone.format("DestinationArn"),
    )  # fmt: skip
    assert refused(start, SourceArn=arn(dead), DestinationArn=arn(dead))[1] == INVALID
    assert refused(start, SourceArn=arn(dead), MaxNumberOfMessagesPerSecond=501)[1] == INVALID
    assert refused(start, SourceArn="x")[1] == "InvalidAddress"
    assert refused(client.list_message_move_tasks, SourceArn=arn(dead), MaxResults=11)[1] == INVALID
    assert refused(cancel, TaskHandle="???") == (400, INVALID, "Value for parameter TaskHandle is invalid.")
    for told, said in ((nobody, gone.format("SourceArn")), (arn(dead), "Task does not exist.")):
        handle = base64.b64encode(json.dumps({"taskId": "x", "sourceArn": told}).encode()).decode()
        assert refused(cancel, TaskHandle=handle) == (404, not_found, said)
