"""boto3's `sagemaker` against a real server: models and configurations, lists, tags, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import model_archives
from tests.support.aws_clients import refused
from tests.support.model_archives import ARRAY_CODE, files_of
from tests.support.sagemaker import (
    PREFIX,
    ROLE,
    control,
    folder,
    in_service,
    model,
    runtime,
    server,
    variant,
)
from tests.support.server import RunningServer

__all__ = ["control", "folder", "runtime", "server"]


@pytest.mark.parametrize(
    ("location", "why"),
    [
        pytest.param("s3://bucket/model.tar.gz", "no object store is connected to this server", id="s3"),
        pytest.param("s3://lambent-directory/not/there.tar.gz", "No such file or directory", id="no file"),
        pytest.param("s3://lambent-artifacts/abc", "no artifact 'abc'", id="no upload"),
        pytest.param("slip.tar.gz", "leads out of the tree", id="leads out"),
    ],
)
def test_model_data_that_cannot_be_taken_is_said(control: Any, folder: Path, location: str, why: str) -> None:
    if location == "slip.tar.gz":
        location = f"s3://lambent-directory{folder}/{location}"
    call = control.create_model
    status, kind, text = refused(
        call, ModelName="lost", ExecutionRoleArn=ROLE, PrimaryContainer={"ModelDataUrl": location}
    )
    assert (status, kind) == (400, "ValidationException")
    assert text.startswith(f"Could not find model data at {location}: ")
    assert why in text


def test_a_folder_may_be_a_models_data(control: Any, runtime: Any, folder: Path) -> None:
    laid_out = model_archives.write(folder / "laid-out", files_of(ARRAY_CODE))
    model(control, "laid-out", laid_out)
    control.create_endpoint_config(
        EndpointConfigName="laid-out", ProductionVariants=[variant("AllTraffic", "laid-out")]
    )
    control.create_endpoint(EndpointName="laid-out", EndpointConfigName="laid-out")
    in_service(control, "laid-out")
    answer = runtime.invoke_endpoint(EndpointName="laid-out", Body=b"[[1, 2]]")
    assert json.load(answer["Body"]) == [[2, 4]]
    control.delete_endpoint(EndpointName="laid-out")


def test_an_upload_may_be_a_models_data(server: RunningServer, control: Any, folder: Path) -> None:
    archive = (folder / "doubler.tar.gz").read_bytes()
    stored = server.request("POST", "/api/v1/artifacts", archive, Content_Type="application/x-tar").json()
    url = f"s3://lambent-artifacts/{stored['digest']}"
    control.create_model(ModelName="uploaded", PrimaryContainer={"ModelDataUrl": url})
    assert control.describe_model(ModelName="uploaded")["PrimaryContainer"]["ModelDataUrl"] == url


@pytest.mark.parametrize(
    ("operation", "words", "text"),
    [
        pytest.param(
            "describe_model",
            {"ModelName": "nobody"},
            f'Could not find model "{PREFIX}model/nobody".',
            id="model",
        ),
        pytest.param(
            "describe_endpoint_config",
            {"EndpointConfigName": "nobody"},
            f'Could not find endpoint configuration "{PREFIX}endpoint-config/nobody".',
            id="config",
        ),
        pytest.param(
            "create_endpoint",
            {"EndpointName": "a", "EndpointConfigName": "nobody"},
            f'Could not find endpoint configuration "{PREFIX}endpoint-config/nobody".',
            id="endpoint of no config",
        ),
        pytest.param(
            "create_endpoint_config",
            {"EndpointConfigName": "a", "ProductionVariants": [variant("v", "nobody")]},
            f'Could not find model "{PREFIX}model/nobody".',
            id="config of no model",
        ),
        pytest.param(
            "create_model",
            {"ModelName": "a_b", "PrimaryContainer": {}},
            "1 validation error detected: Value 'a_b' at 'modelName' failed to satisfy constraint: Member "
            "must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
            id="name",
        ),
        pytest.param(
            "create_model",
            {},
            "1 validation error detected: Value null at 'modelName' failed to satisfy constraint: Member "
            "must not be null",
            id="no name",
        ),
    ],
)
def test_what_is_wrong_is_told_in_awss_words(control: Any, operation: str, words: Any, text: str) -> None:
    assert refused(getattr(control, operation), **words) == (400, "ValidationException", text)


def test_a_name_is_taken_once(control: Any, folder: Path) -> None:
    model(control, "taken", folder / "doubler.tar.gz")
    text = f'Cannot create already existing model "{PREFIX}model/taken".'
    container = {"ModelDataUrl": f"s3://lambent-directory{folder}/doubler.tar.gz"}
    call = control.create_model
    assert refused(call, ModelName="Taken", PrimaryContainer=container) == (400, "ValidationException", text)


def test_lists_have_pages_orders_and_filters(control: Any, folder: Path) -> None:
    for number in range(5):
        model(control, f"page-{number}", folder / "doubler.tar.gz")
    pages = control.get_paginator("list_models").paginate(
        NameContains="page-", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    names = [[one["ModelName"] for one in page["Models"]] for page in pages]
    assert names == [["page-0", "page-1"], ["page-2", "page-3"], ["page-4"]]
    newest = control.list_models(NameContains="page-", MaxResults=1)
    assert [one["ModelName"] for one in newest["Models"]] == ["page-4"]
    assert refused(control.list_models, NextToken="nonsense")[2] == "Invalid NextToken"
    assert refused(control.list_models, MaxResults=0)[1] == "ValidationException"


def test_tags_are_added_listed_and_taken_away(control: Any, folder: Path) -> None:
    control.create_model(
        ModelName="tagged",
        PrimaryContainer={"ModelDataUrl": f"s3://lambent-directory{folder}/doubler.tar.gz"},
        Tags=[{"Key": "a", "Value": "1"}],
    )
    arn = f"{PREFIX}model/tagged"
    control.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    assert control.list_tags(ResourceArn=arn)["Tags"] == tags
    control.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert control.list_tags(ResourceArn=arn)["Tags"] == tags[1:]


def test_an_operation_that_there_is_none_of_is_unknown(control: Any) -> None:
    assert refused(control.list_domains)[:2] == (404, "UnknownOperationException")
