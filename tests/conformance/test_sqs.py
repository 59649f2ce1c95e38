"""Queues through boto3's own `sqs` client, which checks digests: as on AWS, over a store on disk."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws_clients import REGION, client_of, refused
from tests.support.server import RunningServer

ARN = f"arn:aws:sqs:{REGION}:000000000000:"
FIFO = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
NOT_THERE = (400, "AWS.SimpleQueueService.NonExistentQueue")


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return client_of(server, "sqs")


def made(client: Any, suffix: str = "", **attributes: str) -> str:
    name = f"q-{uuid.uuid4().hex[:8]}{suffix}"
    told = {"VisibilityTimeout": "3600", **attributes}  # what is hidden stays so on the slowest machine
    return str(client.create_queue(QueueName=name, Attributes=told)["QueueUrl"])


def arn(url: str) -> str:
    return ARN + url.rpartition("/")[2]


def received(client: Any, url: str, **words: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.receive_message(QueueUrl=url, **words).get("Messages", [])
    return found


def test_a_message_goes_in_comes_out_once_and_is_gone_when_it_is_deleted(client: Any) -> None:
    url = made(client)
    attributes = {
        "text": {"DataType": "String", "StringValue": "ä"},
        "number.part": {"DataType": "Number.int", "StringValue": "17"},
        "bytes": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
    }
    trace = {
        "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-67891233-abcdef012345678912345678"}
    }
    sent = client.send_message(
        QueueUrl=url, MessageBody="hällo", MessageAttributes=attributes, MessageSystemAttributes=trace
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5("hällo".encode(), usedforsecurity=False).hexdigest()
    [got] = received(client, url, AttributeNames=["All"], MessageAttributeNames=["text", "number.*"])
    assert (got["MessageId"], got["Body"]) == (sent["MessageId"], "hällo")
    assert got["Attributes"]["ApproximateReceiveCount"] == "1"
    assert got["Attributes"]["AWSTraceHeader"].startswith("Root=1-67891233")
    assert set(got["MessageAttributes"]) == {"text", "number.part"}
    assert received(client, url) == []
    client.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
    client.change_message_visibility_batch(QueueUrl=url, Entries=[
        {"Id": "1", "ReceiptHandle": got["ReceiptHandle"], "VisibilityTimeout": 0},
    ])  # fmt: skip
    assert received(client, url, MessageAttributeNames=["All"]) == []


def test_all_attributes_come_back_with_the_digest_that_was_told_to_the_sender(client: Any) -> None:
    url = made(client)
    attributes = {
        "b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        "a": {"DataType": "String", "StringValue": "x"},
    }
    sent = client.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    [got] = received(client, url, MessageAttributeNames=["All"])
    assert got["MessageAttributes"] == attributes
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]


def test_the_digest_of_attributes_is_the_one_that_aws_documents(client: Any) -> None:
    # As the Java SDK's own test has it: "MessageMD5ChecksumInterceptorTest".
    url = made(client)
    words = {"hello": {"DataType": "String", "StringValue": "world"}}
    sent = client.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=words)
    encoded = b"".join(len(one).to_bytes(4, "big") + one for one in (b"hello", b"String"))
    encoded += b"\x01" + len(b"world").to_bytes(4, "big") + b"world"
    assert sent["MD5OfMessageAttributes"] == hashlib.md5(encoded, usedforsecurity=False).hexdigest()


def test_who_waits_is_answered_when_something_is_sent(client: Any, server: RunningServer) -> None:
    url = made(client)
    got: list[Any] = []
    waits = client_of(server, "sqs")
    waiting = threading.Thread(target=lambda: got.extend(received(waits, url, WaitTimeSeconds=20)))
    waiting.start()
    client.send_message(QueueUrl=url, MessageBody="now")
    waiting.join()
    assert [one["Body"] for one in got] == ["now"]


def test_a_message_is_seen_again_when_its_receiver_lets_go_of_it(client: Any) -> None:
    url = made(client, VisibilityTimeout="1000")
    client.send_message(QueueUrl=url, MessageBody="x")
    [first] = received(client, url)
    client.change_message_visibility(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    [second] = received(client, url, MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}
    client.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])  # too old, and no error
    told = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"])
    assert told["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "1"}
    client.change_message_visibility(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=0)
    assert refused(
        client.change_message_visibility,
        QueueUrl=url, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=0,
    )[:2] == (400, "AWS.SimpleQueueService.MessageNotInflight")  # fmt: skip


def test_batches_tell_what_was_done_and_what_was_not(client: Any) -> None:
    url = made(client)
    sent = client.send_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "a", "MessageBody": "1"},
            {"Id": "b", "MessageBody": "2", "DelaySeconds": 901},
            {"Id": "c", "MessageBody": "3"},
        ],
    )
    assert [one["Id"] for one in sent["Successful"]] == ["a", "c"]
    assert [(one["Id"], one["Code"], one["SenderFault"]) for one in sent["Failed"]] == [
        ("b", "InvalidParameterValue", True)
    ]
    got = received(client, url, MaxNumberOfMessages=10)
    assert sorted(one["Body"] for one in got) == ["1", "3"]
    done = client.delete_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "x", "ReceiptHandle": got[0]["ReceiptHandle"]},
            {"Id": "y", "ReceiptHandle": "nothing"},
        ],
    )
    assert ([one["Id"] for one in done["Successful"]], done["Failed"][0]["Code"]) == (
        ["x"],
        "ReceiptHandleIsInvalid",
    )
    client.purge_queue(QueueUrl=url)
    counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert {counts[name] for name in counts if name.startswith("Approximate")} == {"0"}


def test_a_fifo_queue_keeps_the_order_of_each_group_and_takes_the_same_message_once(client: Any) -> None:
    url = made(client, ".fifo", **FIFO)
    first = client.send_message(QueueUrl=url, MessageBody="a1", MessageGroupId="a")
    again = client.send_message(QueueUrl=url, MessageBody="a1", MessageGroupId="a")
    assert (again["MessageId"], again["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    client.send_message(QueueUrl=url, MessageBody="a2", MessageGroupId="a", MessageDeduplicationId="own")
    client.send_message(QueueUrl=url, MessageBody="b1", MessageGroupId="b")
    [one] = received(client, url, AttributeNames=["All"])
    assert one["Attributes"]["MessageGroupId"] == "a"
    assert one["Attributes"]["SequenceNumber"] == first["SequenceNumber"]
    assert [other["Body"] for other in received(client, url, MaxNumberOfMessages=10)] == ["b1"]
    client.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    [two] = received(client, url, AttributeNames=["MessageDeduplicationId"])
    assert (two["Body"], two["Attributes"]) == ("a2", {"MessageDeduplicationId": "own"})


def test_what_is_received_too_often_is_a_dead_letter(client: Any) -> None:
    dead = made(client)
    policy = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 2})
    url = made(client, RedrivePolicy=policy, VisibilityTimeout="0")
    client.send_message(QueueUrl=url, MessageBody="bad")
    assert [len(received(client, url)) for _ in range(3)] == [1, 1, 0]
    [letter] = received(client, dead, AttributeNames=["All"])
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == arn(url)
    assert client.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    assert client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"] == {
        "RedrivePolicy": policy
    }


def test_a_queues_attributes_tags_and_name(client: Any) -> None:
    name = f"named-{uuid.uuid4().hex[:8]}"
    url = client.create_queue(QueueName=name, Attributes={"DelaySeconds": "5"}, tags={"a": "b"})["QueueUrl"]
    assert client.create_queue(QueueName=name, Attributes={"DelaySeconds": "5"})["QueueUrl"] == url
    assert client.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert refused(client.create_queue, QueueName=name, Attributes={"DelaySeconds": "6"}) == (
        400, "QueueAlreadyExists",
        "A queue already exists with the same name and a different value for attribute DelaySeconds",
    )  # fmt: skip
    client.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0", "Policy": "{}"})
    told = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (told["QueueArn"], told["DelaySeconds"], told["Policy"]) == (ARN + name, "0", "{}")
    assert (told["VisibilityTimeout"], told["MessageRetentionPeriod"]) == ("30", "345600")
    client.tag_queue(QueueUrl=url, Tags={"c": "d"})
    client.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert client.list_queue_tags(QueueUrl=url)["Tags"] == {"c": "d"}
    assert client.list_queues(QueueNamePrefix=name)["QueueUrls"] == [url]
    client.delete_queue(QueueUrl=url)
    assert refused(client.get_queue_url, QueueName=name)[:2] == NOT_THERE
    assert "QueueUrls" not in client.list_queues(QueueNamePrefix=name)


def test_of_changes_at_once_none_undoes_another(client: Any) -> None:
    url = made(client)
    with ThreadPoolExecutor(12) as pool:
        for number in range(12):
            pool.submit(client.tag_queue, QueueUrl=url, Tags={str(number): "x"})
            words = {"Label": f"l{number}", "AWSAccountIds": ["000000000000"], "Actions": ["SendMessage"]}
            pool.submit(client.add_permission, QueueUrl=url, **words)
    assert len(client.list_queue_tags(QueueUrl=url)["Tags"]) == 12
    told = client.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"]
    assert len(json.loads(told)["Statement"]) == 12


def test_who_comes_while_a_queue_goes_hears_that_it_is_not_there(client: Any) -> None:
    url = made(client)

    def asked(call: Any) -> tuple[Any, ...]:
        try:
            call(QueueUrl=url)
        except ClientError as error:
            return (error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
        return ()

    calls = [client.delete_queue, client.purge_queue, client.get_queue_attributes, client.receive_message] * 4
    with ThreadPoolExecutor(len(calls)) as pool:
        assert set(pool.map(asked, calls)) <= {(), NOT_THERE}


def test_queues_are_listed_page_by_page(client: Any) -> None:
    prefix = f"paged-{uuid.uuid4().hex[:8]}-"
    urls = [client.create_queue(QueueName=f"{prefix}{number}")["QueueUrl"] for number in range(5)]
    pages = client.get_paginator("list_queues").paginate(
        QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2}
    )
    assert [page["QueueUrls"] for page in pages] == [urls[:2], urls[2:4], urls[4:]]


OLD = "AWS.SimpleQueueService."
INVALID = "InvalidParameterValue"
TEXT = {"DataType": "String", "StringValue": "x"}


def batch(*ids: str, body: str = "x") -> dict[str, Any]:
    return {"Entries": [{"Id": one, "MessageBody": body} for one in ids]}


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"FifoQueue": "true"}, INVALID),
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ({"Colour": "red"}, "InvalidAttributeName"),
        ({"RedrivePolicy": "{"}, INVALID),
        (
            {"RedrivePolicy": json.dumps({"deadLetterTargetArn": ARN + "nobody", "maxReceiveCount": 2})},
            INVALID,
        ),
    ],
)
def test_a_queue_that_cannot_be(client: Any, attributes: dict[str, str], code: str) -> None:
    assert refused(client.create_queue, QueueName="x", Attributes=attributes)[:2] == (400, code)
    assert refused(client.create_queue, QueueName="no.dot")[:2] == (400, INVALID)


@pytest.mark.parametrize(
    ("call", "words", "code"),
    [
        ("receive_message", {"MaxNumberOfMessages": 11}, INVALID),
        ("receive_message", {"WaitTimeSeconds": 21}, INVALID),
        ("receive_message", {"AttributeNames": ["Colour"]}, INVALID),
        ("send_message", {"MessageBody": ""}, "MissingParameter"),
        ("send_message", {"MessageBody": "\x01"}, "InvalidMessageContents"),
        ("send_message", {"MessageBody": "x" * 1_048_577}, INVALID),
        ("send_message", {"MessageBody": "x", "DelaySeconds": -1}, INVALID),
        ("send_message", {"MessageBody": "x", "MessageDeduplicationId": "d"}, INVALID),
        ("send_message", {"MessageBody": "x", "MessageAttributes": {"aws.x": TEXT}}, INVALID),
        ("send_message", {"MessageBody": 1}, "SerializationException"),
        ("send_message_batch", batch(), OLD + "EmptyBatchRequest"),
        ("send_message_batch", batch(*"abcdefghijk"), OLD + "TooManyEntriesInBatchRequest"),
        ("send_message_batch", batch("a", "a"), OLD + "BatchEntryIdsNotDistinct"),
        ("send_message_batch", batch("a b"), OLD + "InvalidBatchEntryId"),
        ("send_message_batch", batch("a", "b", body="x" * 600_000), OLD + "BatchRequestTooLong"),
        ("delete_message", {"ReceiptHandle": "x"}, "ReceiptHandleIsInvalid"),
        ("get_queue_attributes", {"AttributeNames": ["Colour"]}, "InvalidAttributeName"),
        ("set_queue_attributes", {"Attributes": {"FifoQueue": "true"}}, "InvalidAttributeValue"),
        ("delete_queue", {"QueueUrl": "http://somewhere/000000000000/nobody"}, NOT_THERE[1]),
    ],
)
def test_what_cannot_be_is_refused_in_awss_words(
    client: Any, standard: str, call: str, words: dict[str, Any], code: str
) -> None:
    assert refused(getattr(client, call), **{"QueueUrl": standard, **words})[:2] == (400, code)


@pytest.fixture(scope="module")
def standard(client: Any) -> str:
    return made(client)


def test_a_fifo_queue_wants_a_group_and_something_to_tell_messages_apart(client: Any) -> None:
    url = made(client, ".fifo", FifoQueue="true")
    assert refused(client.send_message, QueueUrl=url, MessageBody="x")[1] == "MissingParameter"
    words = {"QueueUrl": url, "MessageBody": "x", "MessageGroupId": "g"}
    assert refused(client.send_message, **words)[1] == "InvalidParameterValue"


def test_messages_that_were_acknowledged_survive_a_kill(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = RunningServer(tmp_path_factory.mktemp("killed") / "state").start()
    try:
        client = client_of(running, "sqs")
        url = made(client)
        sent = [client.send_message(QueueUrl=url, MessageBody=str(n))["MessageId"] for n in range(20)]
        [held] = received(client, url)
        running.kill()
        running.start()
        client = client_of(running, "sqs")
        url = client.get_queue_url(QueueName=url.rpartition("/")[2])["QueueUrl"]
        got = [held]
        while some := received(client, url, MaxNumberOfMessages=10):
            got += some
        assert sorted(one["MessageId"] for one in got) == sorted(sent)
        # A receipt that was given before is good after.
        client.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
        told = client.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
        )
        assert told["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "19"}
    finally:
        running.stop()


def test_permissions_are_statements_of_a_queues_policy(client: Any) -> None:
    url = made(client)

    def policy() -> Any:
        told = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return json.loads(told["Policy"]) if "Policy" in told else None

    for label, accounts in (("one", ["111122223333"]), ("two", ["111122223333", "444455556666"])):
        client.add_permission(QueueUrl=url, Label=label, AWSAccountIds=accounts, Actions=["SendMessage"])
    assert policy()["Id"] == f"{arn(url)}/SQSDefaultPolicy"
    assert policy()["Statement"][0] == {
        "Sid": "one",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
        "Action": "SQS:SendMessage",
        "Resource": arn(url),
    }
    again = {"AWSAccountIds": ["111122223333"], "Actions": ["SendMessage"]}
    assert refused(client.add_permission, QueueUrl=url, Label="one", **again)[0] == 400
    client.remove_permission(QueueUrl=url, Label="one")
    assert [one["Sid"] for one in policy()["Statement"]] == ["two"]
    client.remove_permission(QueueUrl=url, Label="two")
    assert policy() is None
    assert refused(client.remove_permission, QueueUrl=url, Label="two")[0] == 400
