"""boto3's `sagemaker` against a real server: endpoints, made, changed, broken and deleted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from tests.support import model_archives
from tests.support.aws_clients import client_of, refused
from tests.support.model_archives import files_of
from tests.support.sagemaker import (
    PREFIX,
    QUICK,
    SERVERLESS,
    TELLS,
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


def test_what_was_deployed_in_another_way_is_an_endpoint_in_service(
    server: RunningServer, control: Any, folder: Path
) -> None:
    server.deploy(folder / "linear.onnx")
    assert control.describe_endpoint(EndpointName="linear")["EndpointStatus"] == "InService"
    found = control.list_endpoints(NameContains="linear", StatusEquals="InService")["Endpoints"]
    assert [one["EndpointName"] for one in found] == ["linear"]
    control.delete_endpoint(EndpointName="linear")
    assert control.list_endpoints(NameContains="linear")["Endpoints"] == []


def test_of_changes_at_once_none_undoes_another(control: Any, folder: Path) -> None:
    model(control, "racing", folder / "doubler.tar.gz")
    config = {"EndpointConfigName": "racing", "ProductionVariants": [variant("AllTraffic", "racing")]}
    words = {"EndpointName": "racing", "EndpointConfigName": "racing"}

    def together(*calls: Callable[[], Any]) -> int:
        """How many of them were not refused."""

        def done(call: Callable[[], Any]) -> bool:
            try:
                call()
            except ClientError:
                return False
            return True

        with ThreadPoolExecutor(len(calls)) as pool:
            return sum(pool.map(done, calls))

    assert together(*[lambda: control.create_endpoint_config(**config)] * 6) == 1
    assert together(*[lambda: control.create_endpoint(**words)] * 6) == 1
    arn = f"{PREFIX}endpoint/racing"
    tags = [
        lambda n=n: control.add_tags(ResourceArn=arn, Tags=[{"Key": str(n), "Value": "x"}]) for n in range(8)
    ]
    assert together(*tags) == 8
    in_service(control, "racing")  # what a tag's writer had read does not come back
    assert [one["Key"] for one in control.list_tags(ResourceArn=arn)["Tags"]] == [*"01234567"]
    updates = [lambda: control.update_endpoint(**words)] * 4
    together(*updates, lambda: control.delete_endpoint(EndpointName="racing"), *updates)
    assert together(lambda: control.describe_endpoint(EndpointName="racing")) == 0


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
