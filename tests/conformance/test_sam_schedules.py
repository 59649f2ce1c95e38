"""Events of type Schedule and ScheduleV2 of a SAM template: the function is called once for each tick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.aws_clients import client_of, refused
from tests.support.server import RunningServer, wait_until

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Ticked:
    Type: AWS::Serverless::Function
    Properties:
      Handler: index.handler
      Runtime: python3.11
      AutoPublishAlias: live
      Environment: {Variables: {SEEN: "%(seen)s"}}
      InlineCode: |
        import json, os
        def handler(event, context):
            with open(os.environ["SEEN"], "a") as seen:
                seen.write(json.dumps([event, context.invoked_function_arn]) + "\\n")
      Events:
        Often: {Type: Schedule, Properties: {Schedule: rate(5 minutes), Name: often}}
        Idle: {Type: Schedule, Properties: {Schedule: "cron(0 8 ? * MON-FRI *)", Enabled: false}}
        Soon:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: at(%(soon)s)
            ScheduleExpressionTimezone: Europe/Berlin
            FlexibleTimeWindow: {Mode: "OFF"}
            RetryPolicy: {MaximumRetryAttempts: 1}
            Input: '{"at": "<aws.scheduler.scheduled-time>"}'
%(more)s
"""
DEAD = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Failing:
    Type: AWS::Serverless::Function
    Properties:
      Handler: index.handler
      Runtime: python3.11
      DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Dead.Arn}
      EventInvokeConfig:
        MaximumRetryAttempts: 0
        DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Told.Arn}}
      InlineCode: |
        def handler(event, context):
            raise RuntimeError("no " + event["of"])
  Dead: {Type: AWS::SQS::Queue}
  Told: {Type: AWS::SQS::Queue}
"""
PLAIN = """
        Plain: {Type: ScheduleV2, Properties: {ScheduleExpression: at(%s)}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("schedules") / "state").start()
    try:
        yield running
    finally:
        running.stop()


def deployed(server: RunningServer, folder: Path, soon: str, more: str = "") -> dict[str, Any]:
    template = folder / "template.yaml"
    template.write_text(TEMPLATE % {"seen": folder / "seen", "soon": soon, "more": more})
    told: dict[str, Any] = json.loads(server.deploy(template, "--json"))
    return told


def seen(folder: Path) -> list[Any]:
    file = folder / "seen"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def timers(server: RunningServer) -> dict[str, Any]:
    shown = json.loads(server.cli("show", "Ticked", "--json").stdout)
    return {one["name"]: one for one in shown["timers"]}


def test_schedules_of_a_template_call_its_function_once_for_a_tick(
    server: RunningServer, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    told = deployed(
        server, tmp_path, "2031-01-31T08:00:00", PLAIN % (now + timedelta(days=9)).strftime("%FT%T")
    )
    assert [one["what"] for one in told["ignored"]] == ["Ticked.Events.Soon.RetryPolicy"]
    there = timers(server)
    assert sorted(there) == ["TickedIdle", "TickedPlain", "TickedSoon", "often"]
    assert not there["TickedIdle"]["enabled"]
    assert there["TickedSoon"]["next_unix_ms"] == 1_927_609_200_000  # seven in UTC
    shown = server.cli("show", "Ticked").stdout
    assert "at(2031-01-31T08:00:00)" in shown
    assert "Europe/Berlin" in shown

    # What the template does not have any more is gone; what stays goes on counting.
    for ahead_s in (4, 40, 400):  # a slow machine may be past a near time before it knows of it
        soon = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(seconds=ahead_s)
        deployed(server, tmp_path, soon.strftime("%FT%T"))
        again = timers(server)
        if again["TickedSoon"]["next_unix_ms"] or again["TickedSoon"]["last_unix_ms"]:
            break
    assert sorted(again) == ["TickedIdle", "TickedSoon", "often"]
    assert again["often"] == there["often"]

    # Killed meanwhile or not: the tick comes, and once.
    server.kill()
    wait_until(lambda: datetime.now(UTC) > soon, "the tick to pass")
    server.start()
    wait_until(lambda: seen(tmp_path), "the missed tick to be made good")
    event, arn = seen(tmp_path)[0]
    assert event == {"at": soon.astimezone(UTC).strftime("%FT%TZ")}
    assert arn.endswith(":function:Ticked:live")
    assert timers(server)["TickedSoon"]["next_unix_ms"] is None
    server.kill()
    server.start()

    # The function takes its timers with it, also where AWS's API deletes it.
    client_of(server).delete_function(FunctionName="Ticked")
    deployed(server, tmp_path, "2031-01-31T08:00:00")
    assert timers(server)["often"]["next_unix_ms"] > again["often"]["next_unix_ms"]
    # What a kill interrupts is run again, as the same event; no tick is another one.
    assert {json.dumps(one) for one in seen(tmp_path)} == {json.dumps([event, arn])}


def test_a_schedule_that_is_none_is_told_before_anything_is_deployed(
    server: RunningServer, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE % {"seen": tmp_path, "soon": "tomorrow", "more": ""})
    done = server.cli("deploy", str(template))
    assert done.returncode != 0
    assert "at(tomorrow)" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_failed_for_good_goes_to_the_functions_dead_letter_queue(
    server: RunningServer, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(DEAD)
    for changed in (True, False):
        told = json.loads(server.deploy(template, "--json"))
        assert [one["changed"] for one in told["functions"]] == [changed]
    functions, queues = client_of(server), client_of(server, "sqs", region_name="us-east-1")
    arn = functions.get_function_configuration(FunctionName="Failing")["DeadLetterConfig"]["TargetArn"]
    assert arn.endswith(":Dead")
    sent = functions.invoke(FunctionName="Failing", InvocationType="Event", Payload=b'{"of": "luck"}')

    def received(name: str) -> list[dict[str, Any]]:
        url, found = queues.get_queue_url(QueueName=name)["QueueUrl"], []

        def seen() -> bool:
            asked = queues.receive_message(QueueUrl=url, WaitTimeSeconds=5, MessageAttributeNames=["All"])
            found.extend(asked.get("Messages", ()))
            return bool(found)

        wait_until(seen, f"a message of {name}")
        return found

    found = received("Dead")
    [told_of] = [json.loads(one["Body"]) for one in received("Told")]
    assert told_of["requestContext"]["approximateInvokeCount"] == 1
    assert told_of["requestPayload"] == {"of": "luck"}
    assert found[0]["Body"] == '{"of": "luck"}'
    assert found[0]["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": sent["ResponseMetadata"]["RequestId"]},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "no luck"},
    }
    plain = DEAD.replace("EventInvokeConfig:", "Metadata:")
    template.write_text(plain)
    server.deploy(template)
    told = refused(functions.get_function_event_invoke_config, FunctionName="Failing")
    assert told[:2] == (404, "ResourceNotFoundException")


def test_anybodys_deployment_has_a_schedule_by_its_decorator(server: RunningServer, tmp_path: Path) -> None:
    code = tmp_path / "nightly.py"
    code.write_text(
        "from lambent import App\napp = App('night')\n"
        "@app.function(name='shift', schedule='0 3 * * *; Europe/Berlin')\n"
        "def shift(event, context):\n    return event\n"
    )
    server.deploy(code)
    shown = server.cli("show", "shift").stdout
    assert "0 3 * * *" in shown
    assert "Europe/Berlin" in shown
    refused = server.cli("deploy", str(code), "--set", "schedule=0 3 * *")
    assert refused.returncode != 0
    assert "five fields" in refused.stderr
    code.write_text(code.read_text().replace(", schedule='0 3 * * *; Europe/Berlin'", ""))
    server.deploy(code)
    wait_until(lambda: "0 3 * * *" not in timers_shown(server), "the schedule to go")


def timers_shown(server: RunningServer) -> str:
    return str(json.loads(server.cli("show", "shift", "--json").stdout)["timers"])
