"""Event source mappings through boto3: queues call functions; of the others it is said that they do not."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws_clients import PREFIX, client_of, make, refused, settled
from tests.support.server import RunningServer, wait_until

QUEUE = "arn:aws:sqs:eu-central-1:000000000000:"
TABLE = "arn:aws:dynamodb:eu-central-1:000000000000:table/t/stream/2026-01-01T00:00:00.000"
STREAM = "arn:aws:kinesis:eu-central-1:000000000000:stream/s"


# Sends what it is called with, and how, to a queue: what it answers is the event's own wish.
RECORDER = """
import json, os, urllib.request

def handler(event, context):
    bodies = [json.loads(one["body"]) for one in event["Records"]]
    if any(one.get("fail") for one in bodies):
        raise ValueError("as wished")
    for one in event["Records"]:
        with open(os.environ["SEEN"], "a") as file:
            file.write(json.dumps({**one, "batch": len(bodies), "arn": context.invoked_function_arn}) + "\\n")
    return {"batchItemFailures": [
        {"itemIdentifier": one["messageId"]}
        for one, body in zip(event["Records"], bodies) if body.get("undone")
    ]}
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seen") / "records"


@pytest.fixture(scope="module")
def client(server: RunningServer, seen: Path) -> Any:
    made = client_of(server)
    make(made, "f")
    make(made, "g")
    make(made, "recorder", RECORDER, Environment={"Variables": {"SEEN": str(seen)}})
    return made


@pytest.fixture(scope="module")
def queues(server: RunningServer) -> Any:
    client = client_of(server, "sqs")
    for name in ("a", "x", "y", "z"):
        client.create_queue(QueueName=name)
    return client


def queue(queues: Any, **attributes: str) -> tuple[str, str]:
    """The URL and the ARN of a new queue."""
    suffix = ".fifo" if "FifoQueue" in attributes else ""
    name = f"q-{uuid.uuid4().hex[:8]}{suffix}"
    return queues.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"], QUEUE + name


def send(queues: Any, url: str, *bodies: dict[str, Any], **words: Any) -> list[str]:
    entries = [
        {"Id": str(number), "MessageBody": json.dumps(one), **words} for number, one in enumerate(bodies)
    ]
    sent = queues.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]
    return [one["MessageId"] for one in sent]


def records(seen: Path, mark: str) -> list[dict[str, Any]]:
    """What the recorder has seen of one test."""
    lines = seen.read_text().splitlines() if seen.exists() else []
    return [one for one in map(json.loads, lines) if json.loads(one["body"]).get("mark") == mark]


def next_one(queues: Any, url: str) -> dict[str, Any]:
    """The next message of a queue, however long it takes."""
    found: list[dict[str, Any]] = []

    def received() -> bool:
        words = {"AttributeNames": ["All"], "WaitTimeSeconds": 20}
        found.extend(queues.receive_message(QueueUrl=url, **words).get("Messages", ()))
        return bool(found)

    wait_until(received, "a message")
    return found[0]


def empty(queues: Any, url: str) -> bool:
    told = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return {told[name] for name in told if name.startswith("ApproximateNumber")} == {"0"}


def test_a_message_calls_its_function_and_is_gone_when_it_was_done(
    client: Any, queues: Any, seen: Path
) -> None:
    url, arn = queue(queues)
    made = client.create_event_source_mapping(EventSourceArn=arn, FunctionName="recorder")
    assert (made["State"], made["BatchSize"]) == ("Creating", 10)
    assert client.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled"
    [sent] = send(
        queues, url, {"mark": "one"}, MessageAttributes={"a": {"DataType": "String", "StringValue": "b"}}
    )
    wait_until(lambda: records(seen, "one") and empty(queues, url), "the message to be done")
    [got] = records(seen, "one")
    assert (got["messageId"], got["eventSource"], got["eventSourceARN"]) == (sent, "aws:sqs", arn)
    assert (got["awsRegion"], got["arn"]) == ("eu-central-1", PREFIX + "recorder")
    assert got["attributes"]["ApproximateReceiveCount"] == "1"
    assert got["messageAttributes"]["a"]["stringValue"] == "b"
    packed = b"".join(len(one).to_bytes(4, "big") + one for one in (b"a", b"String"))
    packed += b"\x01" + (1).to_bytes(4, "big") + b"b"
    md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    assert got["md5OfMessageAttributes"] == md5
    assert got["md5OfBody"] == hashlib.md5(got["body"].encode(), usedforsecurity=False).hexdigest()


def test_what_a_function_fails_at_comes_again_and_ends_as_a_dead_letter(
    client: Any, queues: Any, seen: Path
) -> None:
    dead, dead_arn = queue(queues)
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queue(queues, RedrivePolicy=policy, VisibilityTimeout="0")
    made = client.create_event_source_mapping(EventSourceArn=arn, FunctionName="recorder")
    [sent] = send(queues, url, {"fail": True})
    letter = next_one(queues, dead)
    assert (letter["MessageId"], letter["Attributes"]["ApproximateReceiveCount"]) == (sent, "3")
    told = client.get_event_source_mapping(UUID=made["UUID"])
    assert told["LastProcessingResult"] == "PROBLEM: 1 of 1 messages failed"


def test_only_what_a_function_reports_as_undone_comes_again(client: Any, queues: Any, seen: Path) -> None:
    dead, dead_arn = queue(queues)
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = queue(queues, RedrivePolicy=policy, VisibilityTimeout="0")
    _, bad = send(queues, url, {"mark": "part"}, {"mark": "part", "undone": True})
    client.create_event_source_mapping(
        EventSourceArn=arn, FunctionName="recorder", FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    letter = next_one(queues, dead)
    assert letter["MessageId"] == bad
    wait_until(lambda: empty(queues, url), "the other to be removed")
    assert [one["batch"] for one in records(seen, "part")] == [2, 2]


def test_what_no_filter_wants_is_removed_and_calls_nobody(client: Any, queues: Any, seen: Path) -> None:
    url, arn = queue(queues)
    filters = {"Filters": [{"Pattern": json.dumps({"body": {"kind": ["yes"]}})}]}
    client.create_event_source_mapping(EventSourceArn=arn, FunctionName="recorder", FilterCriteria=filters)
    send(queues, url, *({"mark": "filter", "kind": kind} for kind in ("no", "yes", "no")))
    wait_until(lambda: empty(queues, url), "all to be removed")
    assert [json.loads(one["body"])["kind"] for one in records(seen, "filter")] == ["yes"]


def test_a_mapping_that_is_switched_off_calls_nobody_until_it_is_switched_on(
    client: Any, queues: Any, seen: Path
) -> None:
    url, arn = queue(queues)
    made = client.create_event_source_mapping(EventSourceArn=arn, FunctionName="recorder", Enabled=False)
    assert client.get_event_source_mapping(UUID=made["UUID"])["State"] == "Disabled"
    send(queues, url, {"mark": "off"})
    on = client.update_event_source_mapping(UUID=made["UUID"], Enabled=True)
    assert on["State"] == "Enabling"
    wait_until(lambda: records(seen, "off"), "the message")
    assert client.update_event_source_mapping(UUID=made["UUID"], Enabled=False)["State"] == "Disabling"
    wait_until(
        lambda: client.get_event_source_mapping(UUID=made["UUID"])["State"] == "Disabled", "it to be off"
    )
    send(queues, url, {"mark": "off"})
    assert next_one(queues, url)["Attributes"]["ApproximateReceiveCount"] == "1"


def test_a_group_is_done_in_its_order(client: Any, queues: Any, seen: Path) -> None:
    url, arn = queue(queues, FifoQueue="true", ContentBasedDeduplication="true")
    client.create_event_source_mapping(EventSourceArn=arn, FunctionName="recorder", BatchSize=2)
    for start in range(0, 20, 10):
        send(queues, url, *({"mark": "fifo", "n": start + n} for n in range(10)), MessageGroupId="g")
    wait_until(lambda: len(records(seen, "fifo")) == 20, "all")
    assert [json.loads(one["body"])["n"] for one in records(seen, "fifo")] == [*range(20)]


def test_messages_that_wait_or_run_when_the_server_is_killed_are_done_by_the_next(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    running = RunningServer(folder / "state").start()
    try:
        client, queues = client_of(running), client_of(running, "sqs")
        make(client, "recorder", RECORDER, Environment={"Variables": {"SEEN": str(folder / "seen")}})
        url, arn = queue(queues)
        client.create_event_source_mapping(EventSourceArn=arn, FunctionName="recorder", BatchSize=1)
        for start in range(0, 40, 10):
            send(queues, url, *({"mark": "kill", "n": start + n} for n in range(10)))
        running.kill()
        running.start()
        wait_until(
            lambda: len({json.loads(one["body"])["n"] for one in records(folder / "seen", "kill")}) == 40,
            "all",
        )
    finally:
        running.stop()


def test_a_mapping_of_what_nothing_here_reads_is_kept_changed_and_deleted(client: Any) -> None:
    made = client.create_event_source_mapping(
        EventSourceArn=STREAM + "2", FunctionName="f", BatchSize=5, StartingPosition="LATEST"
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (made["BatchSize"], made["FunctionArn"]) == (5, PREFIX + "f")
    assert made["State"] == "Disabled"
    assert made["StateTransitionReason"].startswith("Nothing here reads this event source")
    found = client.get_event_source_mapping(UUID=made["UUID"])
    assert {**found, "ResponseMetadata": 0} == {**made, "ResponseMetadata": 0}
    filters = {"Filters": [{"Pattern": '{"a": [1]}'}]}
    changed = client.update_event_source_mapping(UUID=made["UUID"], FunctionName="g", FilterCriteria=filters)
    assert (changed["FunctionArn"], changed["BatchSize"]) == (PREFIX + "g", 5)
    assert changed["FilterCriteria"] == filters
    assert client.delete_event_source_mapping(UUID=made["UUID"])["State"] == "Deleting"
    assert refused(client.get_event_source_mapping, UUID=made["UUID"]) == (
        404, "ResourceNotFoundException", "The resource you requested does not exist.",
    )  # fmt: skip


def test_mappings_are_listed_by_function_and_by_source(client: Any, queues: Any) -> None:
    for name in ("x", "y", "z"):
        client.create_event_source_mapping(EventSourceArn=QUEUE + name, FunctionName="f")
    client.create_event_source_mapping(
        EventSourceArn=STREAM, FunctionName=PREFIX + "g", StartingPosition="LATEST"
    )
    pages = client.get_paginator("list_event_source_mappings").paginate(
        FunctionName="f", PaginationConfig={"PageSize": 2}
    )
    sources = {one["EventSourceArn"] for page in pages for one in page["EventSourceMappings"]}
    assert sources == {QUEUE + name for name in ("x", "y", "z")}
    [one] = client.list_event_source_mappings(EventSourceArn=STREAM)["EventSourceMappings"]
    assert (one["BatchSize"], one["MaximumRetryAttempts"], one["StartingPosition"]) == (100, -1, "LATEST")


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ({"FunctionName": "nobody"}, 400, "InvalidParameterValueException"),
        ({"EventSourceArn": None}, 400, "InvalidParameterValueException"),
        ({"EventSourceArn": "x"}, 400, "ValidationException"),
        ({"EventSourceArn": STREAM}, 400, "InvalidParameterValueException"),
        ({"EventSourceArn": STREAM, "StartingPosition": "x"}, 400, "ValidationException"),
        (
            {"EventSourceArn": TABLE, "StartingPosition": "AT_TIMESTAMP"},
            400,
            "InvalidParameterValueException",
        ),
        ({"DestinationConfig": {"OnFailure": {}}}, 400, "InvalidParameterValueException"),
        ({"EventSourceArn": QUEUE + "x"}, 409, "ResourceConflictException"),
        ({"BatchSize": 0}, 400, "ValidationException"),
        ({"EventSourceArn": QUEUE + "nobody"}, 400, "InvalidParameterValueException"),
        ({"BatchSize": 11}, 400, "InvalidParameterValueException"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "["}]}}, 400, "InvalidParameterValueException"),
    ],
)
def test_a_mapping_that_cannot_be(
    client: Any, queues: Any, words: dict[str, Any], status: int, kind: str
) -> None:
    if "nobody" not in words.values() and words.get("EventSourceArn") == QUEUE + "x":
        listed = client.list_event_source_mappings(EventSourceArn=QUEUE + "x")["EventSourceMappings"]
        if not listed:
            client.create_event_source_mapping(EventSourceArn=QUEUE + "x", FunctionName="f")
    given = {"EventSourceArn": QUEUE + "a", "FunctionName": "f", **words}
    given = {name: one for name, one in given.items() if one is not None}
    assert refused(client.create_event_source_mapping, **given)[:2] == (status, kind)


def test_the_end_of_an_asynchronous_invocation_is_told_to_a_queue(client: Any, queues: Any) -> None:
    happy, happy_arn = queue(queues)
    sad, sad_arn = queue(queues, FifoQueue="true")
    client.put_function_event_invoke_config(
        FunctionName="recorder",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": happy_arn}, "OnFailure": {"Destination": sad_arn}},
    )
    settled(client, "recorder")
    for event in ({"Records": []}, {"Records": [{"body": json.dumps({"fail": True})}]}):
        client.invoke(FunctionName="recorder", InvocationType="Event", Payload=json.dumps(event).encode())
    for url, condition, event in ((happy, "Success", 0), (sad, "RetriesExhausted", 1)):
        told = next_one(queues, url)
        record = json.loads(told["Body"])
        assert record["requestContext"]["condition"] == condition
        assert len(record["requestPayload"]["Records"]) == event
    client.delete_function_event_invoke_config(FunctionName="recorder")


def test_a_mapping_has_tags_of_its_own(client: Any, queues: Any) -> None:
    _, arn = queue(queues)
    made = client.create_event_source_mapping(FunctionName="g", EventSourceArn=arn, Tags={"a": "1"})
    key, named = made["UUID"], made["EventSourceMappingArn"]
    assert client.list_tags(Resource=named)["Tags"] == {"a": "1"}
    client.tag_resource(Resource=named, Tags={"b": "ü"})
    client.update_event_source_mapping(UUID=key, BatchSize=3)
    client.untag_resource(Resource=named, TagKeys=["a"])
    assert client.list_tags(Resource=named)["Tags"] == {"b": "ü"}
    many = {str(number): "" for number in range(51)}
    assert refused(client.tag_resource, Resource=named, Tags=many)[1] == "InvalidParameterValueException"
    client.delete_event_source_mapping(UUID=key)
    found = refused(client.list_tags, Resource=named)
    assert found == (404, "ResourceNotFoundException", f"Event source mapping not found: {named}")


def test_a_mapping_has_as_many_tags_from_its_making_as_from_later(client: Any, queues: Any) -> None:
    _, arn = queue(queues)
    many = {str(number): "" for number in range(51)}
    found = refused(client.create_event_source_mapping, FunctionName="g", EventSourceArn=arn, Tags=many)
    assert found == (400, "InvalidParameterValueException", "Number of tags exceeds resource tag limit.")


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What each came to that was not refused, all asked at once."""

    def done(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ClientError:
            return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return [one for one in pool.map(done, calls) if one is not None]


def test_of_changes_at_once_none_undoes_another(client: Any, queues: Any) -> None:
    _, arn = queue(queues)
    words = {"FunctionName": "g", "EventSourceArn": arn}
    [made] = together(*[lambda: client.create_event_source_mapping(**words)] * 6)
    key, named = made["UUID"], made["EventSourceMappingArn"]
    tags = [lambda n=n: client.tag_resource(Resource=named, Tags={str(n): ""}) for n in range(6)]
    sizes = [lambda n=n: client.update_event_source_mapping(UUID=key, BatchSize=n + 1) for n in range(6)]
    together(*tags, *sizes)
    assert client.list_tags(Resource=named)["Tags"].keys() == set("012345")
    together(*sizes, lambda: client.delete_event_source_mapping(UUID=key), *sizes)
    assert client.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"] == []
