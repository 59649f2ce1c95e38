"""How AWS's clients may name functions, what they hear where they may not, and what is not promised."""

from __future__ import annotations

from collections.abc import Iterator
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
