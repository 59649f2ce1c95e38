"""How AWS's clients may name functions, what they hear where they may not, and what is not promised."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, ROLE, client_of, make, refused, zip_of
from tests.support.server import RunningServer

SIGNING = f"arn:aws:lambda:us-east-1:{'0' * 12}:code-signing-config:csc-{'a' * 17}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    running = RunningServer(tmp_path_factory.mktemp("names") / "state").start()
    try:
        yield client_of(running)
    finally:
        running.stop()


def test_where_code_lies_is_told_as_on_aws(client: Any) -> None:
    make(client, "told")
    assert client.get_function(FunctionName="told")["Code"]["RepositoryType"] == "S3"


@pytest.mark.parametrize(
    ("qualifier", "said"),
    [
        pytest.param("a!", "Member must satisfy regular expression pattern: ", id="a character of none"),
        pytest.param("a" * 129, "Member must have length less than or equal to 128", id="too long"),
    ],
)
def test_a_qualifier_that_can_be_none_is_refused_as_such(client: Any, qualifier: str, said: str) -> None:
    make(client, f"qualified-{len(qualifier)}")
    for call in (client.get_function, client.invoke):
        status, kind, text = refused(call, FunctionName=f"qualified-{len(qualifier)}", Qualifier=qualifier)
        assert (status, kind) == (400, "ValidationException")
        assert f"'{qualifier}' at 'qualifier' failed to satisfy constraint: {said}" in text


def test_getting_a_function_by_an_alias_that_there_is_not_finds_no_function(client: Any) -> None:
    make(client, "aliasless")
    for call in (client.get_function, client.get_function_configuration):
        status, kind, text = refused(call, FunctionName="aliasless", Qualifier="none")
        assert (status, kind) == (404, "ResourceNotFoundException")
        assert text == f"Function not found: {PREFIX}aliasless:none"


def test_more_tags_or_a_longer_name_than_aws_takes_are_refused_in_its_words(client: Any) -> None:
    words = {"Runtime": "python3.12", "Handler": "main.handler", "Role": ROLE, "Code": {"ZipFile": zip_of()}}
    tags = {f"tag{number}": "x" for number in range(51)}
    assert refused(client.create_function, FunctionName="tagged", Tags=tags, **words) == (
        400, "InvalidParameterValueException", "Number of tags exceeds resource tag limit.",
    )  # fmt: skip
    status, kind, text = refused(client.create_function, FunctionName="n" * 65, **words)
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert text.endswith("at 'functionName' failed to satisfy constraint: "
                         "Member must have length less than or equal to 64")  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, id="tenants apart"),
        pytest.param({"DurableConfig": {"ExecutionTimeout": 60}}, id="durable executions"),
        pytest.param({"CodeSigningConfigArn": SIGNING}, id="signed code"),
    ],
)
def test_what_cannot_be_promised_is_refused_and_not_dropped(client: Any, asked: dict[str, Any]) -> None:
    words = {"Runtime": "python3.12", "Handler": "main.handler", "Role": ROLE, "Code": {"ZipFile": zip_of()}}
    status, kind, text = refused(client.create_function, FunctionName="promised", **words, **asked)
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert text.startswith(f"{next(iter(asked))} is not supported here: ")


def test_variables_that_were_said_to_be_none_are_given_back(client: Any) -> None:
    made = make(client, "bare", Environment={"Variables": {}})
    assert made["Environment"] == {"Variables": {}}
    assert "Environment" not in make(client, "silent")


def test_turning_active_is_a_change(client: Any) -> None:
    made = make(client, "turning")
    active = client.get_function_configuration(FunctionName="turning")
    assert made["RevisionId"] != active["RevisionId"]
    changed = client.update_function_configuration(
        FunctionName="turning", Timeout=9, RevisionId=active["RevisionId"]
    )
    assert changed["LastUpdateStatus"] == "InProgress"
    client.get_waiter("function_updated_v2").wait(FunctionName="turning", WaiterConfig={"Delay": 0.05})
    assert client.get_function_configuration(FunctionName="turning")["RevisionId"] != changed["RevisionId"]


def test_lines_in_json_have_levels_and_text_has_none(client: Any) -> None:
    made = make(client, "levelled", LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "DEBUG"})
    told = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "DEBUG"}
    assert made["LoggingConfig"] == {**told, "LogGroup": "/aws/lambda/levelled"}
    asked = {"LogFormat": "Text", "SystemLogLevel": "DEBUG"}
    found = refused(client.update_function_configuration, FunctionName="levelled", LoggingConfig=asked)
    assert found[:2] == (400, "InvalidParameterValueException")
    text = client.update_function_configuration(FunctionName="levelled", LoggingConfig={"LogFormat": "Text"})
    assert text["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/levelled"}


def test_what_nobody_set_is_told_as_aws_tells_it(client: Any) -> None:
    make(client, "unset")
    assert "CodeSigningConfigArn" not in client.get_function_code_signing_config(FunctionName="unset")
    assert client.get_function_recursion_config(FunctionName="unset")["RecursiveLoop"] == "Terminate"
    client.put_function_recursion_config(FunctionName="unset", RecursiveLoop="Allow")
    assert client.get_function_recursion_config(FunctionName="unset")["RecursiveLoop"] == "Allow"
    told = client.get_runtime_management_config(FunctionName="unset")
    assert (told["UpdateRuntimeOn"], told["FunctionArn"]) == ("Auto", f"{PREFIX}unset:$LATEST")
    client.put_runtime_management_config(FunctionName="unset", UpdateRuntimeOn="FunctionUpdate")
    told = client.get_runtime_management_config(FunctionName="unset")
    assert told["UpdateRuntimeOn"] == "FunctionUpdate"
    for call, words in (
        (client.put_function_recursion_config, {"RecursiveLoop": "Never"}),
        (client.put_runtime_management_config, {"UpdateRuntimeOn": "Manual"}),
    ):
        assert refused(call, FunctionName="unset", **words)[0] == 400
    for call in (
        client.get_function_code_signing_config,
        client.get_function_recursion_config,
        client.get_runtime_management_config,
    ):
        assert refused(call, FunctionName="nobody")[2].startswith("Function not found: ")


def test_what_is_missing_is_named_in_each_operations_words(client: Any) -> None:
    make(client, "there")
    for call, words, said in (
        (client.update_alias, {"FunctionName": "there", "Name": "no"}, f"Alias not found: {PREFIX}there:no"),
        (client.get_policy, {"FunctionName": "nobody"}, "The resource you requested does not exist."),
        (
            client.get_provisioned_concurrency_config,
            {"FunctionName": "nobody", "Qualifier": "no"},
            f"Cannot find alias arn: {PREFIX}nobody:no",
        ),
        (
            client.delete_provisioned_concurrency_config,
            {"FunctionName": "nobody", "Qualifier": "1"},
            f"Function not found: {PREFIX}nobody:1",
        ),
        (
            client.remove_permission,
            {"FunctionName": "there", "StatementId": "s", "Qualifier": "no"},
            f"Cannot find alias arn: {PREFIX}there:no",
        ),
    ):
        assert refused(call, **words) == (404, "ResourceNotFoundException", said)


def test_who_loses_the_race_to_delete_hears_awss_words(client: Any) -> None:
    def end(name: str) -> str | None:
        try:
            client.delete_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException as error:
            return str(error.response["Error"]["Message"])
        return None

    make(client, "raced")
    with ThreadPoolExecutor(8) as threads:
        ends = list(threads.map(end, ["raced"] * 8))
    assert ends.count(None) >= 1
    assert {said for said in ends if said} <= {f"Function not found: {PREFIX}raced"}
