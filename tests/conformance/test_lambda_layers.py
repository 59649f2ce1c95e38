"""Layers through boto3: published, found in every way, stood on, and gone."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aws_clients import REGION, client_of, make, refused, settled, zip_of
from tests.support.server import RunningServer

LAYERS = f"arn:aws:lambda:{REGION}:000000000000:layer:"
USES = "import shared\ndef handler(event, context): return shared.WHO\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    running = RunningServer(tmp_path_factory.mktemp("layers") / "state").start()
    try:
        yield client_of(running)
    finally:
        running.stop()


def publish(client: Any, name: str, who: str = "one", folder: str = "python", **more: Any) -> Any:
    content = {"ZipFile": zip_of({f"{folder}/shared.py": f"WHO = {who!r}\n"})}
    return client.publish_layer_version(LayerName=name, Content=content, **more)


def result_of(client: Any, name: str) -> Any:
    answer = client.invoke(FunctionName=name)
    return json.loads(answer["Payload"].read())


def told(answer: Any) -> Any:
    """What does not change from one second to the next, as the address of a layer's zip does."""
    content = {name: one for name, one in answer["Content"].items() if name != "Location"}
    return {**answer, "Content": content, "ResponseMetadata": None}


def test_a_layer_is_published_and_found(client: Any) -> None:
    code = zip_of({"python/shared.py": "WHO = 1\n"})
    words = {
        "LayerName": "found", "Content": {"ZipFile": code}, "Description": "d", "LicenseInfo": "MIT",
        "CompatibleRuntimes": ["python3.12"], "CompatibleArchitectures": ["x86_64"],
    }  # fmt: skip
    made = client.publish_layer_version(**words)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["Version"], made["LayerVersionArn"]) == (1, LAYERS + "found:1")
    assert made["Content"]["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert made["Content"]["CodeSize"] == len(code)
    assert client.publish_layer_version(**words)["Version"] == 2
    assert told(client.get_layer_version(LayerName="found", VersionNumber=1)) == told(made)
    assert told(client.get_layer_version_by_arn(Arn=LAYERS + "found:1")) == told(made)
    by_arn = client.get_layer_version(LayerName=LAYERS + "found", VersionNumber=2)
    assert by_arn["Version"] == 2


def test_layers_are_listed_in_pages_and_by_what_they_fit(client: Any) -> None:
    for name in ("list-a", "list-b"):
        publish(client, name, CompatibleRuntimes=["python3.13"])
        publish(client, name, CompatibleRuntimes=["python3.14"], CompatibleArchitectures=["arm64"])
    pages = client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1})
    listed = {one["LayerName"]: one for page in pages for one in page["Layers"]}
    assert listed["list-a"]["LatestMatchingVersion"]["Version"] == 2
    fitting = client.list_layers(CompatibleRuntime="python3.13")["Layers"]
    assert {one["LayerName"]: one["LatestMatchingVersion"]["Version"] for one in fitting} == {
        "list-a": 1, "list-b": 1,
    }  # fmt: skip
    pages = client.get_paginator("list_layer_versions").paginate(
        LayerName="list-a", PaginationConfig={"PageSize": 1}
    )
    assert [one["Version"] for page in pages for one in page["LayerVersions"]] == [2, 1]
    fitting = client.list_layer_versions(LayerName="list-a", CompatibleArchitecture="arm64")["LayerVersions"]
    assert [one["Version"] for one in fitting] == [2, 1]
    assert client.list_layer_versions(LayerName="nobody")["LayerVersions"] == []


@pytest.mark.parametrize("folder", ["python", "python/lib/python3.11/site-packages"])
def test_a_function_stands_on_a_layer(client: Any, folder: str) -> None:
    name = f"stands-{len(folder)}"
    arn = publish(client, name, folder=folder)["LayerVersionArn"]
    made = make(client, name, USES, Layers=[arn])
    assert [one["Arn"] for one in made["Layers"]] == [arn]
    assert result_of(client, name) == "one"


def test_a_function_changes_its_layers(client: Any) -> None:
    first = publish(client, "changing", "one")["LayerVersionArn"]
    second = publish(client, "changing", "two")["LayerVersionArn"]
    make(client, "changing", USES, Layers=[first])
    client.update_function_configuration(FunctionName="changing", Layers=[second])
    settled(client, "changing")
    assert result_of(client, "changing") == "two"
    client.delete_layer_version(LayerName="changing", VersionNumber=2)
    assert result_of(client, "changing") == "two"
    client.update_function_configuration(FunctionName="changing", Layers=[])
    settled(client, "changing")
    assert "Layers" not in client.get_function_configuration(FunctionName="changing")
    assert result_of(client, "changing")["errorType"] == "Runtime.ImportModuleError"
    found = refused(client.update_function_configuration, FunctionName="changing", Layers=[first, second])
    assert found[2] == f"Layer version {second} does not exist."


def test_the_later_layer_wins(client: Any) -> None:
    layers = [publish(client, name, name)["LayerVersionArn"] for name in ("lower", "upper")]
    make(client, "layered", USES, Layers=layers)
    assert result_of(client, "layered") == "upper"


def test_a_number_is_not_given_twice(client: Any) -> None:
    publish(client, "counted")
    client.delete_layer_version(LayerName="counted", VersionNumber=1)
    assert publish(client, "counted")["Version"] == 2
    found = refused(client.get_layer_version, LayerName="counted", VersionNumber=1)
    assert found == (404, "ResourceNotFoundException", "The resource you requested does not exist.")


def test_what_is_no_layer(client: Any) -> None:
    found = refused(client.publish_layer_version, LayerName="bad", Content={"ZipFile": b"?"})
    assert found[1] == "InvalidParameterValueException"
    assert refused(publish, client=client, name="a b")[1] == "ValidationException"
    found = refused(client.get_layer_version, LayerName="bad", VersionNumber=-1)
    assert found == (400, "InvalidParameterValueException", "Layer Version Cannot be less than 1")
    assert refused(client.get_layer_version_by_arn, Arn="x")[1] == "ValidationException"
    assert client.delete_layer_version(LayerName="nobody", VersionNumber=7)


def test_permissions_of_a_layer(client: Any) -> None:
    publish(client, "shared")
    which = {"LayerName": "shared", "VersionNumber": 1}
    words = {**which, "StatementId": "all", "Action": "lambda:GetLayerVersion", "Principal": "*"}
    assert refused(client.get_layer_version_policy, **which)[0] == 404
    added = client.add_layer_version_permission(**words)
    assert json.loads(added["Statement"])["Principal"] == "*"
    found = client.get_layer_version_policy(**which)
    assert found["RevisionId"] == added["RevisionId"]
    [statement] = json.loads(found["Policy"])["Statement"]
    assert statement["Resource"] == LAYERS + "shared:1"
    assert refused(client.add_layer_version_permission, **words)[0] == 409
    words["StatementId"] = "other"
    assert refused(client.add_layer_version_permission, **words, RevisionId="old")[0] == 412
    client.remove_layer_version_permission(**which, StatementId="all")
    assert refused(client.remove_layer_version_permission, **which, StatementId="all")[0] == 404
