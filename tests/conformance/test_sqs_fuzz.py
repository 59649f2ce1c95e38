"""Whatever is sent to the queues' API, AWS's own answer comes back, and never an error of ours."""

from __future__ import annotations

import base64
from contextlib import closing
from http import HTTPStatus
from typing import Any

import botocore.session
import pytest

from tests.support.aws_clients import client_of
from tests.support.aws_fuzz import Fuzz
from tests.support.aws_model import complaints
from tests.support.server import RunningServer

REQUESTS = 40
MODEL = botocore.session.get_session().get_service_model("sqs")
OPERATIONS = (
    "AddPermission", "CancelMessageMoveTask", "ListMessageMoveTasks", "RemovePermission",
    "StartMessageMoveTask",
    "ChangeMessageVisibility", "ChangeMessageVisibilityBatch", "CreateQueue", "DeleteMessage",
    "DeleteMessageBatch", "DeleteQueue", "GetQueueAttributes", "GetQueueUrl", "ListDeadLetterSourceQueues",
    "ListQueueTags", "ListQueues", "PurgeQueue", "ReceiveMessage", "SendMessage", "SendMessageBatch",
    "SetQueueAttributes", "TagQueue", "UntagQueue",
)  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_is_sent_the_answer_is_one_of_awss(server: RunningServer, name: str) -> None:
    with closing(client_of(server, "sqs")) as client:
        url = client.create_queue(QueueName="fuzzed")["QueueUrl"]
        client.send_message(QueueUrl=url, MessageBody="x")
    operation: Any = MODEL.operation_model(name)
    arn = "arn:aws:sqs:us-east-1:000000000000:fuzzed"
    handle = base64.b64encode(f'{{"taskId": "x", "sourceArn": "{arn}"}}'.encode()).decode()
    known = ["fuzzed", url, "nobody", url + "x", arn, handle, "String", "All", "Number", "1", "MTox"]
    fuzz = Fuzz(name, known)
    for _ in range(REQUESTS):
        sent = fuzz.request(operation)
        if b"WaitTimeSeconds" in sent.body:
            continue  # who waits is tested elsewhere
        answer = server.request("POST", "/", sent.body, X_Amz_Target=f"AmazonSQS.{name}")
        about = f"{name} {sent.body[:500]!r} was answered {answer.status} {answer.body!r}"
        assert answer.status < HTTPStatus.INTERNAL_SERVER_ERROR, about
        seen = {"status_code": answer.status, "headers": answer.headers, "body": answer.body}
        assert not list(complaints(operation, seen)), f"{about}: {list(complaints(operation, seen))}"
