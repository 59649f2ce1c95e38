"""boto3's `sagemaker` against a real server: models, configurations and endpoints, made and deleted."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import model_archives, models
from tests.support.aws_clients import client_of, refused
from tests.support.model_archives import ARRAY_CODE, files_of
from tests.support.server import RunningServer

PREFIX = "arn:aws:sagemaker:eu-central-1:000000000000:"
ROLE = "arn:aws:iam::000000000000:role/sagemaker"
SERVERLESS = {"MemorySizeInMB": 1024, "MaxConcurrency": 2}
QUICK = {"Delay": 0.05, "MaxAttempts": 2000}
TELLS = """
import os

def model_fn(model_dir):
    return os.environ["WHO"]

def transform_fn(model, body, content_type, accept):
    return model, "text/plain"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archives")
    model_archives.pack(made / "doubler.tar.gz", files_of(ARRAY_CODE))
    model_archives.pack(made / "tells.tar.gz", files_of(TELLS))
    model_archives.pack(made / "broken.tar.gz", files_of("import nobody_has_this\n"))
    model_archives.pack(made / "slip.tar.gz", {"../evil": b""}, prefix="")
    models.linear(made / "linear.onnx")
    model_archives.pack(made / "onnx.tar.gz", {"linear.onnx": (made / "linear.onnx").read_bytes()})
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("sagemaker") / "state").start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def control(server: RunningServer) -> Iterator[Any]:
    with closing(client_of(server, "sagemaker")) as client:
        yield client


@pytest.fixture(scope="module")
def runtime(server: RunningServer) -> Iterator[Any]:
    with closing(client_of(server, "sagemaker-runtime")) as client:
        yield client


def model(control: Any, name: str, archive: Path, **environment: str) -> None:
    control.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/any:1",
            "ModelDataUrl": f"s3://lambent-directory{archive}",
            "Environment": environment,
        },
    )


def variant(name: str, model_name: str, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model_name,
        "InitialVariantWeight": weight,
        "ServerlessConfig": SERVERLESS,
        **more,
    }


def in_service(control: Any, name: str) -> dict[str, Any]:
    control.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=QUICK)
    return dict(control.describe_endpoint(EndpointName=name))


def test_an_endpoint_is_made_asked_changed_and_deleted(control: Any, runtime: Any, folder: Path) -> None:
    model(control, "doubler", folder / "doubler.tar.gz")
    described = control.describe_model(ModelName="doubler")
    assert described["ModelArn"] == f"{PREFIX}model/doubler"
    assert described["PrimaryContainer"]["Image"].endswith("any:1")
    made = control.create_endpoint_config(
        EndpointConfigName="first", ProductionVariants=[variant("AllTraffic", "doubler")]
    )
    assert made["EndpointConfigArn"] == f"{PREFIX}endpoint-config/first"
    config = control.describe_endpoint_config(EndpointConfigName="first")
    assert config["ProductionVariants"][0]["ServerlessConfig"] == SERVERLESS

    made = control.create_endpoint(EndpointName="Twice", EndpointConfigName="first")
    assert made["EndpointArn"] == f"{PREFIX}endpoint/twice"
    described = in_service(control, "Twice")
    assert described["EndpointConfigName"] == "first"
    assert described["ProductionVariants"] == [
        {
            "VariantName": "AllTraffic",
            "CurrentWeight": 1.0,
            "DesiredWeight": 1.0,
            "CurrentServerlessConfig": SERVERLESS,
            "DesiredServerlessConfig": SERVERLESS,
        }
    ]
    answer = runtime.invoke_endpoint(
        EndpointName="Twice", Body=b"1,2\n3,4", ContentType="text/csv", Accept="application/x-npy"
    )
    assert np.load(io.BytesIO(answer["Body"].read())).tolist() == [[2, 4], [6, 8]]

    control.create_endpoint_config(
        EndpointConfigName="second",
        ProductionVariants=[variant("v2", "doubler", ServerlessConfig={**SERVERLESS, "MaxConcurrency": 3})],
    )
    control.update_endpoint(EndpointName="Twice", EndpointConfigName="second")
    assert in_service(control, "Twice")["EndpointConfigName"] == "second"
    answer = runtime.invoke_endpoint(EndpointName="Twice", Body=b"[[1, 2]]", TargetVariant="v2")
    assert (answer["InvokedProductionVariant"], json.load(answer["Body"])) == ("v2", [[2, 4]])

    control.delete_endpoint(EndpointName="Twice")
    control.get_waiter("endpoint_deleted").wait(EndpointName="Twice", WaiterConfig=QUICK)
    text = f'Could not find endpoint "{PREFIX}endpoint/twice".'
    for call in (control.describe_endpoint, control.delete_endpoint):
        assert refused(call, EndpointName="Twice") == (400, "ValidationException", text)
    assert refused(runtime.invoke_endpoint, EndpointName="Twice", Body=b"1")[1] == "ValidationError"
    for name in ("first", "second"):
        control.delete_endpoint_config(EndpointConfigName=name)
    control.delete_model(ModelName="doubler")


def test_settings_of_a_serverless_variant_are_ours(server: RunningServer, control: Any, folder: Path) -> None:
    model(control, "settings", folder / "tells.tar.gz", WHO="me")
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 5, "ProvisionedConcurrency": 1}
    control.create_endpoint_config(
        EndpointConfigName="settings",
        ProductionVariants=[variant("AllTraffic", "settings", ServerlessConfig=serverless)],
    )
    control.create_endpoint(EndpointName="settings", EndpointConfigName="settings")
    in_service(control, "settings")
    detail = server.request("GET", "/api/v1/deployments/settings").json()
    spec = detail["revisions"][0]["spec"]
    assert (spec["memory_bytes"], spec["workers_min"], spec["workers_max"]) == (2048 * 2**20, 1, 5)
    assert spec["env"] == {"WHO": "me"}
    control.delete_endpoint(EndpointName="settings")


def test_two_variants_share_the_traffic_by_their_weights(control: Any, runtime: Any, folder: Path) -> None:
    for name in ("red", "blue"):
        model(control, name, folder / "tells.tar.gz", WHO=name)
    control.create_endpoint_config(
        EndpointConfigName="colours",
        ProductionVariants=[variant("Red", "red", 1.0), variant("Blue", "blue", 0.0)],
    )
    control.create_endpoint(EndpointName="colours", EndpointConfigName="colours")
    in_service(control, "colours")

    def asked(**more: str) -> tuple[str, str]:
        answer = runtime.invoke_endpoint(EndpointName="colours", Body=b"1", **more)
        return answer["Body"].read().decode(), answer["InvokedProductionVariant"]

    assert {asked() for _ in range(10)} == {("red", "Red")}
    assert asked(TargetVariant="Blue") == ("blue", "Blue")
    for red, blue, seen in ((0.0, 2.0, {"blue"}), (1.0, 1.0, {"red", "blue"})):
        weights = [
            {"VariantName": "Red", "DesiredWeight": red},
            {"VariantName": "Blue", "DesiredWeight": blue},
        ]
        control.update_endpoint_weights_and_capacities(
            EndpointName="colours", DesiredWeightsAndCapacities=weights
        )
        described = in_service(control, "colours")
        assert [one["CurrentWeight"] for one in described["ProductionVariants"]] == [red, blue]
        assert {asked()[0] for _ in range(60)} == seen
    text = refused(
        control.update_endpoint_weights_and_capacities,
        EndpointName="colours",
        DesiredWeightsAndCapacities=[{"VariantName": "green", "DesiredWeight": 1}],
    )[2]
    assert text == f'Variant "green" does not exist in endpoint "{PREFIX}endpoint/colours".'
    control.delete_endpoint(EndpointName="colours")


def test_a_model_that_does_not_load_fails_its_endpoint_and_an_update_goes_back(
    control: Any, runtime: Any, folder: Path
) -> None:
    model(control, "broken", folder / "broken.tar.gz")
    model(control, "whole", folder / "tells.tar.gz", WHO="whole")
    for name in ("broken", "whole"):
        control.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant("AllTraffic", name)]
        )
    control.create_endpoint(EndpointName="falls", EndpointConfigName="broken")
    with pytest.raises(Exception, match="terminal failure state"):
        control.get_waiter("endpoint_in_service").wait(EndpointName="falls", WaiterConfig=QUICK)
    described = control.describe_endpoint(EndpointName="falls")
    assert described["EndpointStatus"] == "Failed"
    assert "No module named 'nobody_has_this'" in described["FailureReason"]
    control.delete_endpoint(EndpointName="falls")

    control.create_endpoint(EndpointName="stands", EndpointConfigName="whole")
    in_service(control, "stands")
    control.update_endpoint(EndpointName="stands", EndpointConfigName="broken")
    described = in_service(control, "stands")
    assert described["EndpointConfigName"] == "whole"
    assert "nobody_has_this" in described["FailureReason"]
    assert runtime.invoke_endpoint(EndpointName="stands", Body=b"1")["Body"].read() == b"whole"
    control.delete_endpoint(EndpointName="stands")


def test_an_instance_keeps_workers_up_and_an_archive_may_hold_a_model_file_alone(
    server: RunningServer, control: Any, runtime: Any, folder: Path
) -> None:
    model(control, "onnx", folder / "onnx.tar.gz")
    instance = {
        "VariantName": "AllTraffic",
        "ModelName": "onnx",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    control.create_endpoint_config(EndpointConfigName="onnx", ProductionVariants=[instance])
    control.create_endpoint(EndpointName="onnx", EndpointConfigName="onnx")
    (told,) = in_service(control, "onnx")["ProductionVariants"]
    assert (told["CurrentInstanceCount"], told["DesiredInstanceCount"]) == (1, 1)
    spec = server.request("GET", "/api/v1/deployments/onnx").json()["revisions"][0]["spec"]
    assert (spec["workers_min"], spec["memory_bytes"]) == (1, 8 * 2**30)
    answer = runtime.invoke_endpoint(EndpointName="onnx", Body=b'{"instances": [[1, 2, 3, 4]]}')
    assert json.load(answer["Body"]) == {"predictions": [[19.0, 29.0, 39.0]]}
    control.delete_endpoint(EndpointName="onnx")


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


def test_what_was_deployed_in_another_way_is_an_endpoint_in_service(
    server: RunningServer, control: Any, folder: Path
) -> None:
    server.deploy(folder / "linear.onnx")
    assert control.describe_endpoint(EndpointName="linear")["EndpointStatus"] == "InService"
    found = control.list_endpoints(NameContains="linear", StatusEquals="InService")["Endpoints"]
    assert [one["EndpointName"] for one in found] == ["linear"]
    control.delete_endpoint(EndpointName="linear")
    assert control.list_endpoints(NameContains="linear")["Endpoints"] == []


def test_an_operation_that_there_is_none_of_is_unknown(control: Any) -> None:
    assert refused(control.list_domains)[:2] == (404, "UnknownOperationException")


def test_an_endpoint_that_was_being_made_is_made_after_a_kill(tmp_path: Path) -> None:
    slow = "import time\ntime.sleep(1)\n" + TELLS
    archive = model_archives.pack(tmp_path / "slow.tar.gz", files_of(slow))
    running = RunningServer(tmp_path / "state").start()
    try:
        with closing(client_of(running, "sagemaker")) as control:
            model(control, "slow", archive, WHO="late")
            control.create_endpoint_config(
                EndpointConfigName="slow", ProductionVariants=[variant("AllTraffic", "slow")]
            )
            control.create_endpoint(EndpointName="slow", EndpointConfigName="slow")
        running.kill()
        running.start()
        with closing(client_of(running, "sagemaker")) as control:
            in_service(control, "slow")
        with closing(client_of(running, "sagemaker-runtime")) as runtime:
            assert runtime.invoke_endpoint(EndpointName="slow", Body=b"1")["Body"].read() == b"late"
    finally:
        running.stop()
