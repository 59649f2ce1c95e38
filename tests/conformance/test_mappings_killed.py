"""Mappings and moves of a server that is killed: what it had taken comes again at once, nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_clients import client_of, make
from tests.support.server import RunningServer, wait_until

QUEUE = "arn:aws:sqs:eu-central-1:000000000000:"
# Holds what it was given until it may go on, and says what it has done.
HOLDER = """
import json, os, pathlib, time

def handler(event, context):
    folder = pathlib.Path(os.environ["FOLDER"])
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    for one in event["Records"]:
        with open(folder / "done", "a") as file:
            file.write(one["messageId"] + "\\n")
    return {"batchItemFailures": []}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "state").start()
    try:
        yield running
    finally:
        running.stop()


def left(client: Any, url: str) -> set[str]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return set(told.values())


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_what_was_in_flight_comes_again_long_before_its_visibility_timeout_is_over(
    server: RunningServer, tmp_path: Path, suffix: str
) -> None:
    functions, queues = client_of(server), client_of(server, "sqs")
    kept = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if suffix else {}
    attributes = {"VisibilityTimeout": "3600", **kept}
    url = queues.create_queue(QueueName=f"jobs{suffix}", Attributes=attributes)["QueueUrl"]
    make(functions, "holder", HOLDER, Timeout=900, Environment={"Variables": {"FOLDER": str(tmp_path)}})
    sent = []
    for number in range(30):
        group = {"MessageGroupId": str(number % 4)} if suffix else {}
        sent.append(queues.send_message(QueueUrl=url, MessageBody=str(number), **group)["MessageId"])
    functions.create_event_source_mapping(
        FunctionName="holder", EventSourceArn=f"{QUEUE}jobs{suffix}", BatchSize=5,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )  # fmt: skip
    wait_until((tmp_path / "begun").exists, "a batch to be taken")
    server.kill()
    (tmp_path / "go").touch()
    server.start()
    queues = client_of(server, "sqs")
    url = queues.get_queue_url(QueueName=f"jobs{suffix}")["QueueUrl"]
    wait_until(lambda: left(queues, url) == {"0"}, "the queue to be empty")
    done = (tmp_path / "done").read_text().split()
    assert set(done) == set(sent)
    if suffix:
        for group in range(4):
            mine = [one for one in done if sent.index(one) % 4 == group]
            assert mine == sorted(mine, key=sent.index)


def test_a_move_that_a_kill_interrupts_loses_no_message(server: RunningServer) -> None:
    queues = client_of(server, "sqs")
    dead = queues.create_queue(QueueName="dead")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": QUEUE + "dead", "maxReceiveCount": 1})
    queues.create_queue(QueueName="work", Attributes={"RedrivePolicy": policy})
    queues.create_queue(QueueName="aside")
    bodies = {str(number) for number in range(20)}
    for body in bodies:
        queues.send_message(QueueUrl=dead, MessageBody=body)
    queues.start_message_move_task(
        SourceArn=QUEUE + "dead", DestinationArn=QUEUE + "aside", MaxNumberOfMessagesPerSecond=10
    )
    server.kill()
    server.start()
    queues = client_of(server, "sqs")

    def ended() -> bool:
        [task] = queues.list_message_move_tasks(SourceArn=QUEUE + "dead")["Results"]
        return bool(task["Status"] == "COMPLETED")

    wait_until(ended, "the move to go on and end")
    url = queues.get_queue_url(QueueName="aside")["QueueUrl"]
    found: list[str] = []
    while got := queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [one["Body"] for one in got]
    assert sorted(found) == sorted(bodies)
