"""Who may call, as `--aws-auth` says, through botocore; and chunks as AWS's SDKs send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from tests.support.aws_clients import client_of, make, refused
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

SIMPLE = "def handler(event, context): return event\n"


@pytest.fixture(scope="module", params=["verify", "none"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    running = RunningServer(folder / "state", environ={"LAMBENT_AWS_AUTH": request.param}).start()
    try:
        make(client_of(running), "simple", SIMPLE)
        yield running
    finally:
        running.stop()


def is_open(server: RunningServer) -> bool:
    return server.environ["LAMBENT_AWS_AUTH"] == "none"


def said(client: Any) -> Any:
    return json.loads(client.invoke(FunctionName="simple", Payload=b'{"x": 1}')["Payload"].read())


def test_a_key_of_ours_is_always_let_in(server: RunningServer) -> None:
    assert said(client_of(server)) == {"x": 1}


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (("test", "test"), "UnrecognizedClientException"),
        ((None, "wrong"), "InvalidSignatureException"),
    ],
)
def test_other_keys_are_let_in_where_nobody_looks(
    server: RunningServer, pair: tuple[str | None, str], code: str
) -> None:
    client = client_of(
        server,
        aws_access_key_id=pair[0] or server.about["access_key_id"],
        aws_secret_access_key=pair[1],
    )
    if is_open(server):
        assert said(client) == {"x": 1}
        assert [one["FunctionName"] for one in client.list_functions()["Functions"]] == ["simple"]
    else:
        assert refused(client.invoke, FunctionName="simple")[:2] == (403, code)


def test_a_request_without_a_signature(server: RunningServer) -> None:
    client = client_of(
        server,
        config=Config(signature_version=UNSIGNED, read_timeout=PATIENT_S, retries={"total_max_attempts": 1}),
    )
    if is_open(server):
        assert said(client) == {"x": 1}
    else:
        assert refused(client.invoke, FunctionName="simple") == (
            403, "MissingAuthenticationTokenException", "Missing Authentication Token",
        )  # fmt: skip


def test_a_signature_for_another_service(server: RunningServer) -> None:
    client = client_of(server)
    client.meta.events.register(
        "before-sign.lambda.Invoke",
        lambda request, **_: request.context.update(signing={"signing_name": "s3"}),
    )
    if is_open(server):
        assert said(client) == {"x": 1}
    else:
        assert refused(client.invoke, FunctionName="simple") == (
            403,
            "InvalidSignatureException",
            "Credential should be scoped to correct service: 'lambda'. ",
        )


def test_a_body_that_is_not_signed_is_refused_as_on_aws(server: RunningServer) -> None:
    client = client_of(server)

    def leave_unsigned(request: Any, **_: Any) -> None:
        request.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"

    client.meta.events.register("before-sign.lambda.Invoke", leave_unsigned)
    if is_open(server):
        assert said(client) == {"x": 1}
    else:
        assert refused(client.invoke, FunctionName="simple")[:2] == (403, "InvalidSignatureException")


def test_slashes_too_many_before_the_path_do_not_count(server: RunningServer) -> None:
    assert said(client_of(server, endpoint_url=server.url + "/")) == {"x": 1}
    answer = server.request("GET", "//2015-03-31/functions/nobody/configuration")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
