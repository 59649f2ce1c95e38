"""What the conformance tests of SageMaker's control API share: archives, a server, making an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import model_archives, models
from tests.support.aws_clients import client_of
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
