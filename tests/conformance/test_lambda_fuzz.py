"""Whatever is sent, AWS's own answer comes back: an error that the model knows, and never one of ours."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import botocore.session
import pytest

from tests.support.aws_clients import PREFIX, REGION, client_of, make, zip_of
from tests.support.aws_fuzz import Fuzz
from tests.support.aws_model import complaints
from tests.support.server import RunningServer

REQUESTS = 30
MODEL = botocore.session.get_session().get_service_model("lambda")
LAYER = f"arn:aws:lambda:{REGION}:000000000000:layer:layer:1"
NAMES = [
    "fuzzed", "fuzzed:1", "fuzzed:live", "nobody", PREFIX + "fuzzed", PREFIX + "fuzzed:live", "$LATEST",
    "1", "live", "layer", LAYER, "ALL", "python3.12", "main.handler", "*", "lambda:*", "s3.amazonaws.com",
    "arn:aws:iam::000000000000:role/r", "arn:aws:sqs:eu-central-1:000000000000:q",
]  # fmt: skip
# What runs code, or answers in a stream, has tests of its own.
RUNS = {"Invoke", "InvokeAsync", "InvokeWithResponseStream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("fuzz") / "state").start()
    try:
        client = client_of(running)
        client.publish_layer_version(LayerName="layer", Content={"ZipFile": zip_of({"python/x.py": ""})})
        yield running
    finally:
        running.stop()


@pytest.fixture(autouse=True)
def something_there(server: RunningServer) -> None:
    """What was sent before may have deleted it."""
    client = client_of(server)
    if all(one["FunctionName"] != "fuzzed" for one in client.list_functions()["Functions"]):
        make(client, "fuzzed")
    client.publish_version(FunctionName="fuzzed")
    if all(one["Name"] != "live" for one in client.list_aliases(FunctionName="fuzzed")["Aliases"]):
        client.create_alias(FunctionName="fuzzed", Name="live", FunctionVersion="$LATEST")


@pytest.mark.parametrize("name", sorted(set(MODEL.operation_names) - RUNS))
def test_whatever_is_sent_the_answer_is_one_of_awss(server: RunningServer, name: str) -> None:
    operation: Any = MODEL.operation_model(name)
    fuzz = Fuzz(name, NAMES)
    for _ in range(REQUESTS):
        sent = fuzz.request(operation)
        answer = server.request(sent.method, sent.target, sent.body)
        about = (
            f"{sent.method} {sent.target} {sent.body[:500]!r} was answered {answer.status} {answer.body!r}"
        )
        assert answer.status < HTTPStatus.INTERNAL_SERVER_ERROR, about
        seen = {"status_code": answer.status, "headers": answer.headers, "body": answer.body}
        assert not list(complaints(operation, seen)), f"{about}: {list(complaints(operation, seen))}"
        if answer.headers.get("x-amzn-errortype") == "UnknownOperationException":
            break
