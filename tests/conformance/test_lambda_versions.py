"""Published versions and aliases through boto3: kept as they were, routed by weight, deleted with care."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, client_of, make, refused, settled, zip_of
from tests.support.server import RunningServer

SAYS = "def handler(event, context): return [{!r}, context.function_version, context.invoked_function_arn]"


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return client_of(server)


@pytest.fixture(scope="module")
def two(client: Any) -> str:
    """A function with the versions 1, "one", and 2, "two"; $LATEST says "three"."""
    name = "two-versions"
    make(client, name, SAYS.format("one"))
    client.publish_version(FunctionName=name, Description="the first")
    client.update_function_code(FunctionName=name, ZipFile=zip_of(SAYS.format("two")), Publish=True)
    settled(client, name)
    client.update_function_code(FunctionName=name, ZipFile=zip_of(SAYS.format("three")))
    settled(client, name)
    return name


def run(client: Any, name: str, qualifier: str = "") -> tuple[Any, str]:
    words = {"Qualifier": qualifier} if qualifier else {}
    answer = client.invoke(FunctionName=name, **words)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read()), answer["ExecutedVersion"]


def test_a_version_stays_as_it_was_published(client: Any, two: str) -> None:
    assert run(client, two) == (["three", "$LATEST", PREFIX + two], "$LATEST")
    assert run(client, two, "1") == (["one", "1", f"{PREFIX}{two}:1"], "1")
    assert run(client, f"{two}:2") == (["two", "2", f"{PREFIX}{two}:2"], "2")
    first = client.get_function(FunctionName=two, Qualifier="1")["Configuration"]
    assert (first["Version"], first["FunctionArn"]) == ("1", f"{PREFIX}{two}:1")
    assert first["Description"] == "the first"
    second = client.get_function_configuration(FunctionName=two, Qualifier="2")
    assert first["CodeSha256"] != second["CodeSha256"]
    assert first["RevisionId"] != second["RevisionId"]


def test_versions_are_listed_in_pages(client: Any, two: str) -> None:
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName=two, PaginationConfig={"PageSize": 1}
    )
    assert [one["Version"] for page in pages for one in page["Versions"]] == ["$LATEST", "1", "2"]


def test_what_has_not_changed_is_not_published_again(client: Any) -> None:
    make(client, "same")
    first = client.publish_version(FunctionName="same")
    assert (
        client.publish_version(FunctionName="same", Description="other")["Version"] == first["Version"] == "1"
    )
    client.update_function_configuration(FunctionName="same", Timeout=9)
    settled(client, "same")
    assert client.publish_version(FunctionName="same")["Version"] == "2"
    status, kind, text = refused(client.publish_version, FunctionName="same", CodeSha256="other")
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert text.startswith("CodeSHA256 (other) is different from current CodeSHA256 in $LATEST (")


def test_a_function_is_created_and_published_at_once(client: Any) -> None:
    made = make(client, "at-once", Publish=True)
    assert (made["Version"], made["FunctionArn"]) == ("1", PREFIX + "at-once")
    assert run(client, "at-once", "1")[1] == "1"


def test_a_version_that_is_not_there(client: Any, two: str) -> None:
    for call in (client.get_function, client.get_function_configuration, client.invoke):
        status, kind, text = refused(call, FunctionName=two, Qualifier="77")
        assert (status, kind) == (404, "ResourceNotFoundException")
        assert text == f"Function not found: {PREFIX}{two}:77"
    status, kind, text = refused(client.get_function, FunctionName=two + ":1", Qualifier="2")
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert text == "The derived qualifier from the function name does not match the specified qualifier."


def test_an_alias_stands_for_a_version(client: Any, two: str) -> None:
    made = client.create_alias(FunctionName=two, Name="live", FunctionVersion="1", Description="d")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["AliasArn"], made["FunctionVersion"]) == (f"{PREFIX}{two}:live", "1")
    found = client.get_alias(FunctionName=two, Name="live")
    assert {**found, "ResponseMetadata": 0} == {**made, "ResponseMetadata": 0}
    assert run(client, two, "live") == (["one", "1", f"{PREFIX}{two}:live"], "1")
    configuration = client.get_function_configuration(FunctionName=two, Qualifier="live")
    assert (configuration["Version"], configuration["FunctionArn"]) == ("1", f"{PREFIX}{two}:1")
    found = client.get_function(FunctionName=two, Qualifier="live")["Configuration"]
    assert (found["Version"], found["FunctionArn"]) == ("1", f"{PREFIX}{two}:live")
    changed = client.update_alias(FunctionName=two, Name="live", FunctionVersion="2")
    assert (changed["Description"], changed["FunctionVersion"]) == ("d", "2")
    assert changed["RevisionId"] != made["RevisionId"]
    assert run(client, f"{two}:live")[0][0] == "two"


def test_an_alias_that_lambent_made_is_one_of_awss(client: Any, server: RunningServer) -> None:
    make(client, "ours", Publish=True)
    body = json.dumps({"revision": 2}).encode()
    assert server.request("PUT", "/api/v1/deployments/ours/aliases/prod", body).status == 200
    [listed] = client.list_aliases(FunctionName="ours")["Aliases"]
    assert (listed["Name"], listed["FunctionVersion"]) == ("prod", "1")
    assert run(client, "ours", "prod")[1] == "1"
    assert client.get_function(FunctionName="ours", Qualifier="prod")["Configuration"]["Version"] == "1"
    client.update_alias(FunctionName="ours", Name="prod", FunctionVersion="$LATEST", Description="moved")
    assert client.get_alias(FunctionName="ours", Name="prod")["Description"] == "moved"
    client.delete_alias(FunctionName="ours", Name="prod")
    assert refused(client.invoke, FunctionName="ours", Qualifier="prod")[0] == 404


def test_an_alias_of_the_latest_follows_it(client: Any) -> None:
    make(client, "moving", SAYS.format("old"))
    client.create_alias(FunctionName="moving", Name="dev", FunctionVersion="$LATEST")
    assert run(client, "moving", "dev")[0][0] == "old"
    client.update_function_code(FunctionName="moving", ZipFile=zip_of(SAYS.format("new")))
    settled(client, "moving")
    assert run(client, "moving", "dev")[0][0] == "new"


def test_a_rollback_goes_to_what_was_the_latest_and_not_to_a_version(
    client: Any, server: RunningServer
) -> None:
    make(client, "back", SAYS.format("first"), Publish=True)
    client.update_function_code(FunctionName="back", ZipFile=zip_of(SAYS.format("second")))
    settled(client, "back")
    assert server.request("POST", "/api/v1/deployments/back/rollback", b"{}").status == 200
    assert run(client, "back") == (["first", "$LATEST", PREFIX + "back"], "$LATEST")


def test_traffic_is_split_by_weight(client: Any, two: str) -> None:
    routing = {"AdditionalVersionWeights": {"2": 0.5}}
    made = client.create_alias(FunctionName=two, Name="split", FunctionVersion="1", RoutingConfig=routing)
    assert made["RoutingConfig"] == routing
    ran = {run(client, two, "split")[1] for _ in range(60)}
    assert ran == {"1", "2"}
    client.update_alias(FunctionName=two, Name="split", RoutingConfig={"AdditionalVersionWeights": {}})
    assert "RoutingConfig" not in client.get_alias(FunctionName=two, Name="split")
    assert {run(client, two, "split")[1] for _ in range(10)} == {"1"}


INVALID = "1 validation error detected: Value "
BAD_PARAMETER = "InvalidParameterValueException"
NO_ALIAS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no version": ({"FunctionVersion": "9"}, 404, "ResourceNotFoundException", "Function not found: arn:"),
    "a number": ({"Name": "123"}, 400, "ValidationException", INVALID + "'123' at 'name'"),
    "a word": ({"FunctionVersion": "x"}, 400, "ValidationException", INVALID + "'x' at 'functionVersion'"),
    "twice": (
        {"RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}}, 400, BAD_PARAMETER,
        "Invalid function version 1. Function version 1 is already included in routing configuration.",
    ),
    "three": (
        {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5, "3": 0.1}}}, 400, BAD_PARAMETER,
        "Number of items in AdditionalVersionWeights cannot be greater than 1",
    ),
    "the latest": (
        {"FunctionVersion": "$LATEST", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}}, 400,
        BAD_PARAMETER, "$LATEST is not supported for an alias pointing to more than 1 version",
    ),
    "too much": (
        {"RoutingConfig": {"AdditionalVersionWeights": {"2": 1.5}}}, 400, "ValidationException",
        INVALID + "'{2=1.5}' at 'routingConfig.additionalVersionWeights'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", NO_ALIAS)
def test_an_alias_that_cannot_be(client: Any, two: str, wrong: str) -> None:
    words, status, kind, text = NO_ALIAS[wrong]
    given = {"FunctionName": two, "Name": "bad", "FunctionVersion": "1", **words}
    found = refused(client.create_alias, **given)
    assert found[:2] == (status, kind), found
    assert found[2].startswith(text)


def test_an_alias_that_is_there(client: Any, two: str) -> None:
    client.create_alias(FunctionName=two, Name="again", FunctionVersion="1")
    found = refused(client.create_alias, FunctionName=two, Name="again", FunctionVersion="2")
    assert found == (409, "ResourceConflictException", f"Alias already exists: {PREFIX}{two}:again")


def test_aliases_are_listed_changed_with_care_and_deleted(client: Any) -> None:
    make(client, "aliased", Publish=True)
    for name in ("a", "b", "c"):
        client.create_alias(
            FunctionName="aliased", Name=name, FunctionVersion="1" if name != "c" else "$LATEST"
        )
    pages = client.get_paginator("list_aliases").paginate(
        FunctionName="aliased", PaginationConfig={"PageSize": 2}
    )
    assert [one["Name"] for page in pages for one in page["Aliases"]] == ["a", "b", "c"]
    listed = client.list_aliases(FunctionName="aliased", FunctionVersion="1")["Aliases"]
    assert [one["Name"] for one in listed] == ["a", "b"]
    status, kind, _ = refused(client.update_alias, FunctionName="aliased", Name="a", RevisionId="old")
    assert (status, kind) == (412, "PreconditionFailedException")
    status, kind, text = refused(client.delete_function, FunctionName="aliased", Qualifier="1")
    assert (status, kind) == (409, "ResourceConflictException")
    assert text.endswith("because the following aliases reference it: [a, b]")
    for name in ("a", "b", "b"):
        assert (
            client.delete_alias(FunctionName="aliased", Name=name)["ResponseMetadata"]["HTTPStatusCode"]
            == 204
        )
    status, kind, text = refused(client.get_alias, FunctionName="aliased", Name="a")
    assert (status, kind, text) == (
        404,
        "ResourceNotFoundException",
        f"Cannot find alias arn: {PREFIX}aliased:a",
    )
    client.delete_function(FunctionName="aliased", Qualifier="1")
    assert refused(client.invoke, FunctionName="aliased", Qualifier="1")[0] == 404
    versions = client.list_versions_by_function(FunctionName="aliased")["Versions"]
    assert [one["Version"] for one in versions] == ["$LATEST"]
    for qualifier in ("$LATEST", "c"):
        assert refused(client.delete_function, FunctionName="aliased", Qualifier=qualifier)[0] == 400
    assert run(client, "aliased", "c")[1] == "$LATEST"


def test_all_of_it_is_there_after_a_restart(client: Any, two: str, server: RunningServer) -> None:
    client.create_alias(FunctionName=two, Name="kept", FunctionVersion="1")
    before = client.get_function(FunctionName=two)
    server.stop()
    server.start()
    again = client_of(server)
    found = again.get_function(FunctionName=two)
    assert found["Configuration"] == before["Configuration"]
    assert run(again, two, "kept")[0][0] == "one"
    assert run(again, two, "2")[0][0] == "two"
