"""A SAM application, as `sam init` lays it out, deployed by the command and called as on AWS."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_clients import client_of, settled
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: dev}
Globals:
  Function: {Runtime: python3.11, Timeout: 5, Environment: {Variables: {STAGE: !Ref Stage}}}
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: hello/
      Handler: app.lambda_handler
      MemorySize: 256
      AutoPublishAlias: live
      Layers: [!Ref Common]
      Policies: [AWSLambdaBasicExecutionRole]
      Events:
        Get: {Type: HttpApi, Properties: {Path: /hello, Method: get}}
        Nightly: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
        Work: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, BatchSize: 1}}
  Inline:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: |
        def handler(event, context):
            return {"memory": context.memory_limit_in_mb, "event": event}
      Handler: index.handler
      ReservedConcurrentExecutions: 3
  Rest:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: |
        def handler(event, context):
            return {"statusCode": 200, "body": event["httpMethod"] + " " + event["path"]}
      Handler: index.handler
      Events:
        Get: {Type: Api, Properties: {Path: /rest, Method: get}}
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Failed.Arn, maxReceiveCount: 3}
      Tags: [{Key: of, Value: sam}]
  Failed: {Type: AWS::SQS::Queue, Properties: {MessageRetentionPeriod: 1209600}}
  Common:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: layer, CompatibleRuntimes: [python3.11]}
"""
HANDLER = """
import json, os
import common

def lambda_handler(event, context):
    said = {"from": common.NAME, "stage": os.environ["STAGE"], "path": event.get("rawPath")}
    return {"statusCode": 200, "body": json.dumps(said)}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    (folder / "hello").mkdir()
    (folder / "layer" / "python").mkdir(parents=True)
    (folder / "hello" / "app.py").write_text(HANDLER)
    (folder / "layer" / "python" / "common.py").write_text("NAME = 'the layer'\n")
    (folder / "template.yaml").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    running = RunningServer(folder / "state").start()
    try:
        yield running
    finally:
        running.stop()


def deployed(server: RunningServer, folder: Path, *words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(server.deploy(folder / "template.yaml", "--json", *words))
    return told


def test_a_sam_application_runs_as_it_is(server: RunningServer, folder: Path) -> None:
    told = deployed(server, folder)
    hello, inline, rest = told["functions"]
    assert [one["what"] for one in told["ignored"]] == ["Hello.Policies"]
    with urllib.request.urlopen(hello["url"] + "hello", timeout=PATIENT_S) as answer:
        assert json.load(answer) == {"from": "the layer", "stage": "dev", "path": "/hello"}
    with urllib.request.urlopen(rest["url"] + "rest", timeout=PATIENT_S) as answer:
        assert answer.read() == b"GET /rest"
    assert server.invoke("Inline", {"a": 1}).json() == {"memory": "128", "event": {"a": 1}}
    assert [(one["name"], one["changed"]) for one in (hello, inline)] == [("Hello", True), ("Inline", True)]

    again = deployed(server, folder)
    assert [(one["version"], one["changed"]) for one in again["functions"]] == [
        ("1", False),
        ("$LATEST", False),
        ("$LATEST", False),
    ]

    live = deployed(server, folder, "--parameter", "Stage=live")
    assert [(one["name"], one["version"]) for one in live["functions"]] == [
        ("Hello", "2"),
        ("Inline", "$LATEST"),
        ("Rest", "$LATEST"),
    ]
    body = json.loads(server.invoke("Hello", {}, Lambent_Alias="live").json()["body"])
    assert body["stage"] == "live"


def test_the_queues_of_a_template_are_made_and_call_its_functions(
    server: RunningServer, folder: Path
) -> None:
    deployed(server, folder)
    deployed(server, folder)
    queues, functions = client_of(server, "sqs", region_name="us-east-1"), client_of(server)
    url = queues.get_queue_url(QueueName="Jobs")["QueueUrl"]
    told = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert told["VisibilityTimeout"] == "60"
    assert json.loads(told["RedrivePolicy"])["deadLetterTargetArn"].endswith(":Failed")
    assert queues.list_queue_tags(QueueUrl=url)["Tags"] == {"of": "sam"}
    [mapping] = functions.list_event_source_mappings(FunctionName="Hello")["EventSourceMappings"]
    assert (mapping["State"], mapping["BatchSize"]) == ("Enabled", 1)
    assert mapping["FunctionArn"].endswith(":function:Hello:live")
    queues.send_message(QueueUrl=url, MessageBody="{}")

    def done() -> bool:
        counts = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return {counts[name] for name in counts if name.startswith("ApproximateNumber")} == {"0"}

    wait_until(done, "the message to be done")


def test_a_deploy_that_was_cut_off_before_its_alias_is_made_good(server: RunningServer, folder: Path) -> None:
    deployed(server, folder, "--parameter", "Stage=one")
    client = client_of(server)
    client.update_function_configuration(FunctionName="Hello", Environment={"Variables": {"STAGE": "two"}})
    settled(client, "Hello")
    deployed(server, folder, "--parameter", "Stage=two")
    body = json.loads(server.invoke("Hello", {}, Lambent_Alias="live").json()["body"])
    assert body["stage"] == "two"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "x"], "are not for a template"),
        (["--set", "memory=1GiB"], "are not for a template"),
        (["--parameter", "Stagee=x"], "has no parameter Stagee"),
    ],
)
def test_what_a_template_cannot_take_is_one_clear_line(
    server: RunningServer, folder: Path, words: list[str], said: str
) -> None:
    done = server.cli("deploy", str(folder / "template.yaml"), *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_template_may_be_json_as_other_tools_write_it(server: RunningServer, tmp_path: Path) -> None:
    properties = {
        "Runtime": "python3.11",
        "Handler": "index.handler",
        "Environment": {"Variables": {"NUMBER": 1}},
    }
    code = "import os\ndef handler(event, context):\n    return os.environ['NUMBER']\n"
    function = {"Type": "AWS::Serverless::Function", "Properties": {**properties, "InlineCode": code}}
    (tmp_path / "sam.json").write_text(json.dumps({"Resources": {"Json": function}}))
    told = json.loads(server.deploy(tmp_path / "sam.json", "--json"))
    assert [one["name"] for one in told["functions"]] == ["Json"]
    assert server.invoke("Json").json() == "1"
