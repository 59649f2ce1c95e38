"""What belongs to functions beside their code, through boto3: URLs, concurrency, events, tags, policies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, client_of, fetched, make, refused
from tests.support.server import RunningServer, wait_until

SQS = "arn:aws:sqs:eu-central-1:000000000000:queue"


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    made = client_of(server)
    make(made, "f")
    made.publish_version(FunctionName="f")
    made.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    return made


def ran(client: Any, **words: Any) -> Any:
    return json.loads(client.invoke(**words)["Payload"].read())


def status_of(answer: Any) -> int:
    status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
    return status


def test_a_url_is_made_answers_is_changed_and_deleted(client: Any) -> None:
    made = client.create_function_url_config(FunctionName="f", AuthType="NONE")
    assert status_of(made) == 201
    assert (made["FunctionArn"], made["AuthType"], made.get("InvokeMode")) == (PREFIX + "f", "NONE", None)
    event = json.loads(fetched(made["FunctionUrl"] + "some/path?a=1")[1])["event"]
    assert (event["rawPath"], event["queryStringParameters"]) == ("/some/path", {"a": "1"})
    told = client.get_function_url_config(FunctionName="f")
    assert (told["FunctionUrl"], told["InvokeMode"]) == (made["FunctionUrl"], "BUFFERED")
    found = refused(client.create_function_url_config, FunctionName="f", AuthType="NONE")
    assert found[:2] == (409, "ResourceConflictException")
    cors = {"AllowOrigins": ["https://example.com"], "AllowMethods": ["GET"], "MaxAge": 60}
    changed = client.update_function_url_config(
        FunctionName="f", Cors=cors, AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM"
    )
    assert (changed["Cors"], changed["AuthType"]) == (cors, "AWS_IAM")
    assert changed["FunctionUrl"] == made["FunctionUrl"]
    other = client.create_function_url_config(FunctionName="f", Qualifier="live", AuthType="NONE")
    assert other["FunctionArn"] == PREFIX + "f:live"
    assert json.loads(fetched(other["FunctionUrl"])[1])["version"] == "1"
    listed = client.list_function_url_configs(FunctionName="f")["FunctionUrlConfigs"]
    assert [one["FunctionArn"] for one in listed] == [PREFIX + "f", PREFIX + "f:live"]
    for words in ({"Qualifier": "live"}, {}):
        assert status_of(client.delete_function_url_config(FunctionName="f", **words)) == 204
    assert refused(client.get_function_url_config, FunctionName="f") == (
        404, "ResourceNotFoundException", "The resource you requested does not exist.",
    )  # fmt: skip
    assert fetched(other["FunctionUrl"])[0] == 403


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ({"FunctionName": "nobody"}, 404, "ResourceNotFoundException"),
        ({"Qualifier": "nobody"}, 404, "ResourceNotFoundException"),
        ({"Qualifier": "1"}, 400, "ValidationException"),
        ({"AuthType": "SOME"}, 400, "ValidationException"),
        ({"Cors": {"MaxAge": -1}}, 400, "ValidationException"),
        ({"Cors": {"MaxAge": "x"}}, 400, "SerializationException"),
    ],
)
def test_a_url_that_cannot_be(client: Any, words: dict[str, Any], status: int, kind: str) -> None:
    given = {"FunctionName": "f", "AuthType": "NONE", **words}
    assert refused(client.create_function_url_config, **given)[:2] == (status, kind)


def test_no_more_calls_run_at_once_than_are_reserved(client: Any) -> None:
    make(client, "reserved")
    assert (
        client.get_function_concurrency(FunctionName="reserved").get("ReservedConcurrentExecutions") is None
    )
    put = client.put_function_concurrency(FunctionName="reserved", ReservedConcurrentExecutions=0)
    assert put["ReservedConcurrentExecutions"] == 0
    status, kind, text = refused(client.invoke, FunctionName="reserved")
    assert (status, kind, text) == (429, "TooManyRequestsException", "Rate Exceeded.")
    assert client.get_function(FunctionName="reserved")["Concurrency"] == {"ReservedConcurrentExecutions": 0}
    client.put_function_concurrency(FunctionName="reserved", ReservedConcurrentExecutions=5)
    assert "version" in ran(client, FunctionName="reserved")
    limits = client.get_account_settings()["AccountLimit"]
    assert (limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]) == (1000, 995)
    found = refused(
        client.put_function_concurrency, FunctionName="reserved", ReservedConcurrentExecutions=901
    )
    assert found[1] == "InvalidParameterValueException"
    assert "UnreservedConcurrentExecution below its minimum value of [100]" in found[2]
    assert status_of(client.delete_function_concurrency(FunctionName="reserved")) == 204
    assert "Concurrency" not in client.get_function(FunctionName="reserved")


def test_an_account_counts_what_is_there(client: Any) -> None:
    before = client.get_account_settings()["AccountUsage"]
    made = make(client, "counted")
    after = client.get_account_settings()["AccountUsage"]
    assert after["FunctionCount"] == before["FunctionCount"] + 1
    assert after["TotalCodeSize"] == before["TotalCodeSize"] + made["CodeSize"]


def test_workers_are_kept_for_a_version(client: Any, server: RunningServer) -> None:
    make(client, "provisioned", Publish=True)
    client.create_alias(FunctionName="provisioned", Name="hot", FunctionVersion="1")
    words = {"FunctionName": "provisioned", "Qualifier": "hot"}
    put = client.put_provisioned_concurrency_config(**words, ProvisionedConcurrentExecutions=2)
    assert (status_of(put), put["Status"]) == (202, "IN_PROGRESS")
    assert put["RequestedProvisionedConcurrentExecutions"] == 2
    wait_until(
        lambda: client.get_provisioned_concurrency_config(**words)["Status"] == "READY", "two workers to run"
    )
    found = client.get_provisioned_concurrency_config(**words)
    assert found["AvailableProvisionedConcurrentExecutions"] == 2
    assert ran(client, **words)["version"] == "1"
    [listed] = client.list_provisioned_concurrency_configs(FunctionName="provisioned")[
        "ProvisionedConcurrencyConfigs"
    ]
    assert listed["FunctionArn"] == PREFIX + "provisioned:hot"
    assert status_of(client.delete_provisioned_concurrency_config(**words)) == 204
    assert refused(client.get_provisioned_concurrency_config, **words) == (
        404, "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    )  # fmt: skip
    for qualifier, status in (("$LATEST", 400), ("nobody", 404), ("9", 404)):
        found = refused(
            client.put_provisioned_concurrency_config, FunctionName="provisioned", Qualifier=qualifier,
            ProvisionedConcurrentExecutions=1,
        )  # fmt: skip
        assert found[0] == status


def test_how_events_are_tried_again(client: Any, server: RunningServer) -> None:
    make(client, "events")
    put = client.put_function_event_invoke_config(
        FunctionName="events", MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": SQS}}
    )
    assert put["FunctionArn"] == PREFIX + "events:$LATEST"
    assert put["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": SQS}}
    deployed = server.request("GET", "/api/v1/deployments/events").json()
    assert next(one for one in deployed["revisions"] if one["active"])["spec"]["retries"] == 0
    merged = client.update_function_event_invoke_config(FunctionName="events", MaximumEventAgeInSeconds=90)
    assert (merged["MaximumRetryAttempts"], merged["MaximumEventAgeInSeconds"]) == (0, 90)
    assert merged["DestinationConfig"]["OnFailure"] == {"Destination": SQS}
    found = client.get_function_event_invoke_config(FunctionName="events")
    assert {**found, "ResponseMetadata": 0} == {**merged, "ResponseMetadata": 0}
    replaced = client.put_function_event_invoke_config(FunctionName="events", MaximumRetryAttempts=1)
    assert "MaximumEventAgeInSeconds" not in replaced
    client.publish_version(FunctionName="events")
    client.put_function_event_invoke_config(FunctionName="events", Qualifier="1", MaximumRetryAttempts=2)
    listed = client.list_function_event_invoke_configs(FunctionName="events")["FunctionEventInvokeConfigs"]
    assert [one["FunctionArn"] for one in listed] == [PREFIX + "events:$LATEST", PREFIX + "events:1"]
    assert ran(client, FunctionName="events", Qualifier="1")["version"] == "1"
    assert status_of(client.delete_function_event_invoke_config(FunctionName="events")) == 204
    assert refused(client.get_function_event_invoke_config, FunctionName="events") == (
        404, "ResourceNotFoundException",
        f"The function {PREFIX}events:$LATEST doesn't have an EventInvokeConfig",
    )  # fmt: skip
    found = refused(client.put_function_event_invoke_config, FunctionName="events")
    assert found[1:] == (
        "InvalidParameterValueException",
        "You must specify at least one of error handling or destination setting.",
    )


def test_tags_are_kept(client: Any) -> None:
    make(client, "tagged", Tags={"a": "1"})
    arn = PREFIX + "tagged"
    assert status_of(client.tag_resource(Resource=arn, Tags={"b": "ü", "c": ""})) == 204
    assert client.list_tags(Resource=arn)["Tags"] == {"a": "1", "b": "ü", "c": ""}
    assert status_of(client.untag_resource(Resource=arn, TagKeys=["a", "c"])) == 204
    assert client.get_function(FunctionName="tagged")["Tags"] == {"b": "ü"}
    many = {f"key-{number}": "x" for number in range(51)}
    found = refused(client.tag_resource, Resource=arn, Tags=many)
    assert found == (400, "InvalidParameterValueException", "Number of tags exceeds resource tag limit.")
    assert refused(client.list_tags, Resource=PREFIX + "nobody")[:2] == (404, "ResourceNotFoundException")
    assert refused(client.list_tags, Resource="tagged")[:2] == (400, "ValidationException")
    assert refused(client.list_tags, Resource=arn + ":1")[:2] == (400, "InvalidParameterValueException")


def test_permissions_are_kept_as_a_policy(client: Any) -> None:
    make(client, "open")
    added = client.add_permission(
        FunctionName="open", StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::bucket", SourceAccount="123456789012",
    )  # fmt: skip
    statement = json.loads(added["Statement"])
    assert statement == {
        "Sid": "s3", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction", "Resource": PREFIX + "open",
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "123456789012"},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }  # fmt: skip
    client.add_permission(FunctionName="open", StatementId="all", Action="lambda:*", Principal="*")
    found = client.get_policy(FunctionName="open")
    policy = json.loads(found["Policy"])
    assert (policy["Version"], [one["Sid"] for one in policy["Statement"]]) == ("2012-10-17", ["s3", "all"])
    words = {"FunctionName": "open", "StatementId": "all", "Action": "lambda:*", "Principal": "*"}
    assert refused(client.add_permission, **words)[:2] == (409, "ResourceConflictException")
    new = {**words, "StatementId": "new"}
    assert refused(client.add_permission, **new, RevisionId="old")[:2] == (412, "PreconditionFailedException")
    assert (
        refused(client.add_permission, **{**new, "Principal": "nobody"})[1]
        == "InvalidParameterValueException"
    )
    assert refused(client.add_permission, **{**new, "Action": "x"})[1] == "ValidationException"
    assert status_of(client.remove_permission(FunctionName="open", StatementId="s3")) == 204
    assert refused(client.remove_permission, FunctionName="open", StatementId="s3")[0] == 404
    client.remove_permission(FunctionName="open", StatementId="all")
    assert refused(client.get_policy, FunctionName="open") == (
        404, "ResourceNotFoundException", "The resource you requested does not exist.",
    )  # fmt: skip


def test_all_of_it_holds_after_the_server_was_killed(client: Any, server: RunningServer) -> None:
    make(client, "lasting", Tags={"k": "v"})
    url = client.create_function_url_config(FunctionName="lasting", AuthType="NONE")["FunctionUrl"]
    client.put_function_concurrency(FunctionName="lasting", ReservedConcurrentExecutions=0)
    path = url.removeprefix(server.url)
    server.kill()
    server.start()
    again = client_of(server)
    assert refused(again.invoke, FunctionName="lasting")[0] == 429
    again.delete_function_concurrency(FunctionName="lasting")
    assert fetched(server.url + path)[0] == 200
    again.delete_function(FunctionName="lasting")
    assert fetched(server.url + path)[0] == 403
