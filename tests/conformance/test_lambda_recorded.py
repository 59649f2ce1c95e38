"""What AWS's Lambda API was recorded to answer, where the service model does not say it.

The texts are those of the recordings that LocalStack keeps beside its own tests of this API.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, REGION, ROLE, client_of, make, refused, settled, zip_of
from tests.support.server import RunningServer

ACCOUNT = "0" * 12
WORDS = {"Runtime": "python3.12", "Handler": "main.handler", "Role": ROLE, "Code": {"ZipFile": zip_of()}}
NEW_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
PARAMETER = (400, "InvalidParameterValueException")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("recorded") / "state").start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return client_of(server)


def test_all_that_is_wrong_with_a_name_is_told_at_once(client: Any) -> None:
    name = f"arn:aws:lambda:nowhere:{ACCOUNT}:function:{'a' * 140}"
    status, kind, text = refused(client.create_function, FunctionName=name, **WORDS)
    where = f"Value '{name}' at 'functionName' failed to satisfy constraint: "
    assert (status, kind) == (400, "ValidationException")
    assert text == (
        f"2 validation errors detected: {where}Member must have length less than or equal to 140; "
        f"{where}Member must satisfy regular expression pattern: {NEW_PATTERN}"
    )
    for call in (client.get_function, client.delete_function, client.invoke):
        text = refused(call, FunctionName="a!", Qualifier="q" * 129)[2]
        assert text.startswith("2 validation errors detected: Value 'a!' at 'functionName' failed")
        assert "; Value 'qqq" in text


def test_functions_of_other_regions_are_not_reachable_and_of_other_accounts_not_made(client: Any) -> None:
    make(client, "here")
    there = f"arn:aws:lambda:us-west-2:{ACCOUNT}:function:here"
    said = f"Functions from 'us-west-2' are not reachable in this region ('{REGION}')"
    for call in (
        client.get_function, client.get_function_url_config, client.get_function_event_invoke_config,
        client.delete_function, client.invoke,
    ):  # fmt: skip
        assert refused(call, FunctionName=there) == (404, "ResourceNotFoundException", said)
    assert refused(client.create_function, FunctionName=there, **WORDS)[2] == said
    other = f"arn:aws:lambda:{REGION}:123456789012:function:here"
    found = refused(client.create_function, FunctionName=other, **WORDS)
    assert found[:2] == (403, "AccessDeniedException")


def test_who_calls_nobody_hears_of_the_latest(client: Any) -> None:
    said = (404, "ResourceNotFoundException", f"Function not found: {PREFIX}nobody:$LATEST")
    assert refused(client.invoke, FunctionName="nobody") == said
    found = refused(client.put_function_concurrency, FunctionName="nobody", ReservedConcurrentExecutions=1)
    assert found == said
    found = refused(client.get_function, FunctionName="nobody", Qualifier="$latest")
    assert found[2] == f"Function not found: {PREFIX}nobody:$latest"
    assert refused(client.delete_function, FunctionName="nobody", Qualifier="$latest")[2] == (
        f"Function not found: {PREFIX}nobody"
    )


@pytest.mark.parametrize(
    ("routing", "value", "said"),
    [
        pytest.param(
            {"1": 2},
            "'{1=2.0}'",
            "value must satisfy constraint: [Member must have value less than or equal to 1.0, "
            "Member must have value greater than or equal to 0.0, Member must not be null]",
            id="more than everything",
        ),
        pytest.param(
            {"$LATEST": 0.5},
            "'{$LATEST=0.5}'",
            "keys must satisfy constraint: [Member must have length less than or equal to 1024, "
            "Member must have length greater than or equal to 1, "
            "Member must satisfy regular expression pattern: [0-9]+]",
            id="no version",
        ),
    ],
)
def test_of_what_lies_in_a_map_all_that_it_must_be_is_told(
    client: Any, routing: dict[str, float], value: str, said: str
) -> None:
    words = {"FunctionName": "f", "Name": "a", "FunctionVersion": "1"}
    found = refused(client.create_alias, RoutingConfig={"AdditionalVersionWeights": routing}, **words)
    where = f"Value {value} at 'routingConfig.additionalVersionWeights' failed to satisfy constraint"
    assert found == (400, "ValidationException", f"1 validation error detected: {where}: Map {said}")


def test_publishing_is_a_change_of_the_latest_and_what_is_published_is_pending(client: Any) -> None:
    made = make(client, "published", Publish=True)
    assert (made["Version"], made["State"], made["FunctionArn"]) == ("1", "Pending", f"{PREFIX}published")
    before = client.get_function_configuration(FunctionName="published")["RevisionId"]
    code = zip_of({"main.py": "def handler(event, context):\n    return 2\n"})
    told = client.update_function_code(FunctionName="published", ZipFile=code, Publish=True)
    assert (told["Version"], told["State"], told["StateReasonCode"]) == ("2", "Pending", "Creating")
    assert "LastUpdateStatus" not in told
    settled(client, "published")
    version = client.get_function_configuration(FunctionName="published", Qualifier="2")
    assert (version["State"], version["RevisionId"]) == ("Active", told["RevisionId"])
    assert client.get_function_configuration(FunctionName="published")["RevisionId"] not in (
        before,
        told["RevisionId"],
    )
    words = {"FunctionName": "published", "Description": "other"}
    assert client.update_function_configuration(**words)["LastUpdateStatusReasonCode"] == "Creating"
    settled(client, "published")
    latest = client.get_function_configuration(FunctionName="published")["RevisionId"]
    client.publish_version(FunctionName="published", RevisionId=latest)
    assert client.get_function_configuration(FunctionName="published")["RevisionId"] != latest


def test_what_has_another_runtime_has_another_build_of_it(client: Any) -> None:
    def build(name: str) -> str:
        found = client.get_function_configuration(FunctionName=name)["RuntimeVersionConfig"]
        return str(found["RuntimeVersionArn"])

    make(client, "twelve")
    make(client, "thirteen", Runtime="python3.13")
    make(client, "too")
    assert build("twelve") == build("too") != build("thirteen")


def test_workers_are_kept_for_a_version_or_for_its_aliases(client: Any) -> None:
    make(client, "kept", Publish=True)
    client.create_alias(FunctionName="kept", Name="live", FunctionVersion="1")
    put = client.put_provisioned_concurrency_config
    words = {"FunctionName": "kept", "ProvisionedConcurrentExecutions": 1}
    put(Qualifier="1", **words)
    put(Qualifier="1", **words)
    assert refused(put, Qualifier="live", **words) == (
        409, "ResourceConflictException",
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
    )  # fmt: skip
    client.delete_provisioned_concurrency_config(FunctionName="kept", Qualifier="1")
    put(Qualifier="live", **words)
    assert refused(put, Qualifier="1", **words) == (
        409, "ResourceConflictException", "Version is pointed by a Provisioned Concurrency alias",
    )  # fmt: skip
    client.delete_alias(FunctionName="kept", Name="live")
    for wanted, said in ((1001, "unreserved concurrency [1000]"), (901, "below its minimum value of [100]")):
        found = refused(put, FunctionName="kept", Qualifier="1", ProvisionedConcurrentExecutions=wanted)
        assert found[:2] == PARAMETER
        assert found[2].endswith(f"{said}.")
    found = refused(put, FunctionName="kept", Qualifier="1", ProvisionedConcurrentExecutions=900)
    assert found == (*PARAMETER, "Not more than 256 workers of one version are kept here.")


def test_what_is_kept_of_what_is_reserved_is_for_its_version_and_says_that_it_was_kept(client: Any) -> None:
    code = (
        "import os\n\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
    )
    make(client, "reserved", code, Publish=True)
    client.create_alias(FunctionName="reserved", Name="live", FunctionVersion="1")

    def ran(qualifier: str) -> Any:
        return json.loads(client.invoke(FunctionName="reserved", Qualifier=qualifier)["Payload"].read())

    assert ran("1") == "on-demand"
    put = client.put_provisioned_concurrency_config
    put(FunctionName="reserved", Qualifier="1", ProvisionedConcurrentExecutions=2)
    reserve = client.put_function_concurrency
    said = "should not be lower than function's total provisioned concurrency [2]."
    found = refused(reserve, FunctionName="reserved", ReservedConcurrentExecutions=1)
    assert found == (*PARAMETER, f" ReservedConcurrentExecutions  1 {said}")
    reserve(FunctionName="reserved", ReservedConcurrentExecutions=2)
    status, kind, _ = refused(client.invoke, FunctionName="reserved")
    assert (status, kind) == (429, "TooManyRequestsException")
    assert ran("1") == ran("live") == "provisioned-concurrency"
    found = refused(put, FunctionName="reserved", Qualifier="1", ProvisionedConcurrentExecutions=3)
    said = "should not be greater than the reservedConcurrentExecution for function"
    assert found == (*PARAMETER, f"Requested Provisioned Concurrency {said}")
    client.delete_provisioned_concurrency_config(FunctionName="reserved", Qualifier="1")
    assert ran("$LATEST") == ran("live") == "on-demand"


def test_an_event_for_which_nothing_is_reserved_is_told_of_and_never_tried(
    client: Any, server: RunningServer
) -> None:
    make(client, "stopped")
    sqs = client_of(server, "sqs")
    url = sqs.create_queue(QueueName="ends")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client.put_function_event_invoke_config(
        FunctionName="stopped", DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    client.put_function_concurrency(FunctionName="stopped", ReservedConcurrentExecutions=0)
    answer = client.invoke(FunctionName="stopped", InvocationType="Event")
    assert (answer["StatusCode"], "ExecutedVersion" in answer) == (202, False)
    messages: list[Any] = []
    while not messages:
        found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, AttributeNames=["All"])
        messages = found.get("Messages", [])
    assert "MessageGroupId" not in messages[0]["Attributes"]
    told = json.loads(messages[0]["Body"])
    assert told.keys() == {"version", "timestamp", "requestContext", "requestPayload"}
    context = told["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("ZeroReservedConcurrency", 0)
    assert told["requestPayload"] == {}


def test_a_function_that_ends_while_it_is_loaded_is_told_as_one_that_ended(client: Any) -> None:
    make(client, "ending", "import sys\n\nsys.exit(3)\n")
    answer = client.invoke(FunctionName="ending")
    said = json.loads(answer["Payload"].read())
    told = answer["ResponseMetadata"]["RequestId"]
    assert (answer["FunctionError"], said.keys()) == ("Unhandled", {"errorType", "errorMessage"})
    assert said["errorType"] == "Runtime.ExitError"
    assert said["errorMessage"].startswith(f"RequestId: {told} Error: Runtime exited")


def test_the_first_statement_of_an_alias_is_made_on_the_aliass_own_state(client: Any) -> None:
    make(client, "stated", Publish=True)
    alias = client.create_alias(FunctionName="stated", Name="live", FunctionVersion="1")
    words = {
        "FunctionName": "stated", "Qualifier": "live", "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
    }  # fmt: skip
    assert refused(client.add_permission, StatementId="a", RevisionId="other", **words)[0] == 412
    client.add_permission(StatementId="a", RevisionId=alias["RevisionId"], **words)
    assert refused(client.add_permission, StatementId="b", RevisionId=alias["RevisionId"], **words)[0] == 412
    policy = client.get_policy(FunctionName="stated", Qualifier="live")
    client.add_permission(StatementId="b", RevisionId=policy["RevisionId"], **words)
    whole = json.loads(client.get_policy(FunctionName="stated", Qualifier="live")["Policy"])
    assert [one["Sid"] for one in whole["Statement"]] == ["a", "b"]
    found = refused(client.add_permission, StatementId="c", **{**words, "Qualifier": "no-$-alias"})
    assert found == (404, "ResourceNotFoundException", f"Function not found: {PREFIX}stated:no-$-alias")


def test_a_destination_is_a_function_that_there_is_and_another(client: Any) -> None:
    make(client, "telling")
    make(client, "told")
    put = client.put_function_event_invoke_config

    def said(arn: str) -> tuple[int, str, str]:
        return refused(put, FunctionName="telling", DestinationConfig={"OnSuccess": {"Destination": arn}})

    assert said(f"{PREFIX}nobody") == (*PARAMETER, f"The destination ARN {PREFIX}nobody is invalid.")
    itself = "You can't specify the function as a destination for itself."
    assert said(f"{PREFIX}telling") == (*PARAMETER, itself)
    other = f"{PREFIX}told".replace(":lambda:", ":iam:")
    shown = f"DestinationConfig(onSuccess=OnSuccess(destination={other}), onFailure=null)"
    assert said(other) == (*PARAMETER, f"The provided destination config {shown} is invalid.")
    made = put(FunctionName="telling", DestinationConfig={"OnSuccess": {"Destination": f"{PREFIX}told"}})
    assert made["DestinationConfig"]["OnSuccess"]["Destination"] == f"{PREFIX}told"
    found = refused(put, FunctionName="telling", Qualifier="no", MaximumRetryAttempts=1)
    assert found == (404, "ResourceNotFoundException", "The function doesn't exist.")


def test_each_version_and_each_layer_counts_in_the_account(client: Any) -> None:
    def bytes_now() -> int:
        return int(client.get_account_settings()["AccountUsage"]["TotalCodeSize"])

    size = len(zip_of())
    start = bytes_now()
    make(client, "counted", Publish=True)
    assert bytes_now() == start + 2 * size
    client.publish_layer_version(LayerName="counted", Content={"ZipFile": zip_of()})
    assert bytes_now() == start + 3 * size
    client.delete_function(FunctionName="counted")
    assert bytes_now() == start + size


def test_runtimes_that_aws_takes_no_more_are_refused_in_its_words_but_for_one_that_runs(client: Any) -> None:
    for runtime in ("python3.7", "java8", "go1.x", "nodejs14.x"):
        found = refused(client.create_function, FunctionName="old", **{**WORDS, "Runtime": runtime})
        assert found[:2] == PARAMETER
        assert found[2].startswith(f"The runtime parameter of {runtime} is no longer supported for creating")
    make(client, "provided", Runtime="provided")


def test_tags_are_a_change_and_none_are_nothing_to_set(client: Any) -> None:
    made = make(client, "tagged")
    before = client.get_function_configuration(FunctionName="tagged")["RevisionId"]
    client.tag_resource(Resource=made["FunctionArn"], Tags={"a": "b"})
    assert client.get_function_configuration(FunctionName="tagged")["RevisionId"] != before
    found = refused(client.tag_resource, Resource=made["FunctionArn"], Tags={})
    assert found == (*PARAMETER, "An error occurred and the request cannot be processed.")
    provider = f"arn:aws:lambda:{REGION}:{ACCOUNT}:capacity-provider:none"
    assert refused(client.list_tags, Resource=provider)[2] == f"Capacity provider not found: {provider}"


def test_what_a_layer_does_not_fit_is_told_at_once(client: Any) -> None:
    found = refused(
        client.publish_layer_version, LayerName="unfit", Content={"ZipFile": zip_of()},
        CompatibleRuntimes=["cobol", "python3.12"], CompatibleArchitectures=["z80"],
    )  # fmt: skip
    assert found[:2] == (400, "ValidationException")
    assert found[2].startswith(
        "2 validation errors detected: Value '[cobol, python3.12]' at 'compatibleRuntimes' failed to satisfy "
        "constraint: Member must satisfy enum value set: [nodejs20.x, python3.14, "
    )
    assert found[2].endswith(
        "; Value '[z80]' at 'compatibleArchitectures' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], "
        "Member must not be null]"
    )
    assert refused(client.list_layers, CompatibleRuntime="cobol")[1] == "ValidationException"


def test_a_zip_over_the_limit_is_refused_before_it_is_unpacked(client: Any) -> None:
    code = {"ZipFile": bytes(52_428_801)}
    found = refused(client.create_function, FunctionName="large", **{**WORDS, "Code": code})
    said = "Zipped size must be smaller than 52428800 bytes"
    assert found == (413, "RequestEntityTooLargeException", said)


def test_a_mapping_that_is_made_switched_off_is_off_and_of_a_filter_that_is_none_nothing_more_is_said(
    client: Any, server: RunningServer
) -> None:
    make(client, "mapped")
    sqs = client_of(server, "sqs")
    url = sqs.create_queue(QueueName="source")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    words = {"FunctionName": "mapped:$LATEST", "EventSourceArn": arn}
    for pattern in ("null", "text", '{"eventSource": "aws:sqs"}'):
        found = refused(
            client.create_event_source_mapping, FilterCriteria={"Filters": [{"Pattern": pattern}]}, **words
        )
        assert found == (*PARAMETER, "Invalid filter pattern definition.")
    made = client.create_event_source_mapping(Enabled=False, **words)
    assert (made["State"], made["FunctionArn"]) == ("Disabled", f"{PREFIX}mapped:$LATEST")
    found = refused(client.create_event_source_mapping, DestinationConfig={"OnFailure": {}}, **words)
    said = "Unsupported DestinationConfig parameter for given event source mapping type."
    assert found == (*PARAMETER, said)


def test_an_empty_dead_letter_configuration_says_nothing_and_an_empty_target_ends_it(client: Any) -> None:
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"
    make(client, "lettered", DeadLetterConfig={"TargetArn": arn})
    change = client.update_function_configuration
    assert change(FunctionName="lettered", DeadLetterConfig={})["DeadLetterConfig"] == {"TargetArn": arn}
    settled(client, "lettered")
    told = change(FunctionName="lettered", DeadLetterConfig={"TargetArn": ""})
    assert not told.get("DeadLetterConfig", {}).get("TargetArn")
