"""Whatever is sent to SageMaker's control API, AWS's own answer comes back, and never an error of ours."""

from __future__ import annotations

from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from tests.support import model_archives
from tests.support.aws_clients import client_of
from tests.support.aws_fuzz import Fuzz
from tests.support.aws_model import complaints
from tests.support.model_archives import ARRAY_CODE, files_of
from tests.support.server import RunningServer

REQUESTS = 40
MODEL = botocore.session.get_session().get_service_model("sagemaker")
ARN = "arn:aws:sagemaker:us-east-1:000000000000:"
OPERATIONS = (
    "AddTags", "CreateEndpoint", "CreateEndpointConfig", "CreateModel", "DeleteEndpoint",
    "DeleteEndpointConfig", "DeleteModel", "DeleteTags", "DescribeEndpoint", "DescribeEndpointConfig",
    "DescribeModel", "ListEndpointConfigs", "ListEndpoints", "ListModels", "ListTags", "UpdateEndpoint",
    "UpdateEndpointWeightsAndCapacities",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archives")
    model_archives.pack(made / "model.tar.gz", files_of(ARRAY_CODE))
    return made


@pytest.fixture(autouse=True)
def something_there(server: RunningServer, folder: Path) -> None:
    """What was sent before may have deleted it."""
    with closing(client_of(server, "sagemaker")) as client:
        if not client.list_models(NameContains="fuzzed")["Models"]:
            container = {"ModelDataUrl": f"s3://lambent-directory{folder}/model.tar.gz"}
            client.create_model(ModelName="fuzzed", PrimaryContainer=container)
        if not client.list_endpoint_configs(NameContains="fuzzed")["EndpointConfigs"]:
            variants = [{"VariantName": "fuzzed", "ModelName": "fuzzed"}]
            client.create_endpoint_config(EndpointConfigName="fuzzed", ProductionVariants=variants)
        if not client.list_endpoints(NameContains="fuzzed")["Endpoints"]:
            client.create_endpoint(EndpointName="fuzzed", EndpointConfigName="fuzzed")


@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_is_sent_the_answer_is_one_of_awss(server: RunningServer, folder: Path, name: str) -> None:
    operation: Any = MODEL.operation_model(name)
    kinds = ("model", "endpoint", "endpoint-config", "nothing")
    arns = [f"{ARN}{kind}/{one}" for kind in kinds for one in ("fuzzed", "nobody")]
    location = f"s3://lambent-directory{folder}/model.tar.gz"
    fuzz = Fuzz(name, ["fuzzed", "fuzzed", "nobody", "AllTraffic", "b", location, *arns])
    for _ in range(REQUESTS):
        sent = fuzz.request(operation)
        answer = server.request("POST", "/", sent.body, X_Amz_Target=f"SageMaker.{name}")
        about = f"{name} {sent.body[:500]!r} was answered {answer.status} {answer.body!r}"
        assert answer.status < HTTPStatus.INTERNAL_SERVER_ERROR, about
        seen = {"status_code": answer.status, "headers": answer.headers, "body": answer.body}
        assert not list(complaints(operation, seen)), f"{about}: {list(complaints(operation, seen))}"
