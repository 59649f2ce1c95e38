"""boto3's `sagemaker-runtime` against a real server: functions, models and archives answer as endpoints."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import EventStreamError

from tests.support import model_archives, models
from tests.support.aws_clients import client_of, refused
from tests.support.model_archives import ARRAY_CODE, files_of
from tests.support.server import RunningServer, wait_until

ACCOUNT = "000000000000"
TWO_ROWS = b"1,2\n3,4\n"
NPY = "application/x-npy"
PROGRAM = """
import json, os, time

def model_fn(model_dir):
    return sorted(os.listdir(model_dir))

def transform_fn(model, body, content_type, accept, context):
    if content_type == "text/raise":
        raise ValueError("asked to fail")
    if content_type == "text/status":
        context.set_response_status(code=int(body), phrase="no")
        return "said so"
    if content_type == "text/slow":
        time.sleep(30)
    if content_type == "text/stream":
        def pieces():
            yield "one "
            yield "two"
            if body == b"break":
                raise RuntimeError("broke")
        return pieces(), "text/plain"
    attributes = context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")
    if attributes:
        context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "back " + attributes)
    kind = type(body).__name__
    return json.dumps({"model": model, "kind": kind, "type": content_type, "accept": accept})
"""
FUNCTIONS = """
def handler(event, context):
    custom = context.client_context.custom if context.client_context else None
    return {"event": event, "custom": custom}

async def container(scope, receive, send):
    body = (await receive())["body"]
    headers = dict(scope["headers"])
    status = {b"fail": 503, b"refuse": 400}.get(body, 200)
    said = scope["path"].encode() + b" " + headers.get(b"accept", b"-") + b" " + body
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/x")]})
    await send({"type": "http.response.body", "body": said})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("sagemaker")
    running = RunningServer(folder / "state").start()
    try:
        running.deploy(model_archives.pack(folder / "doubler.tar.gz", files_of(ARRAY_CODE)))
        archive = model_archives.pack(folder / "program.tar.gz", files_of(PROGRAM))
        running.deploy(archive, "--set", "retries=0")
        running.deploy(archive, "--name", "hasty", "--set", "timeout_s=0.5", "--set", "retries=0")
        running.deploy(models.linear(folder / "linear.onnx"))
        running.deploy(Path(__file__).parents[2] / "examples/sagemaker", "--name", "example")
        (folder / "app.py").write_text(FUNCTIONS)
        running.deploy(f"{folder / 'app.py'}:handler", "--name", "function")
        running.deploy(f"{folder / 'app.py'}:container", "--name", "container")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Any]:
    with closing(client_of(server, "sagemaker-runtime")) as made:
        yield made


def test_an_archive_answers_what_is_accepted(client: Any) -> None:
    answer = client.invoke_endpoint(
        EndpointName="doubler", Body=b"1,2\n3,4\n", ContentType="text/csv", Accept=NPY
    )
    assert answer["ContentType"] == NPY
    assert np.load(io.BytesIO(answer["Body"].read())).tolist() == [[2, 4], [6, 8]]
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    answer = client.invoke_endpoint(EndpointName="doubler", Body=json.dumps([[1, 2]]))
    assert (answer["ContentType"], json.load(answer["Body"])) == ("application/json", [[2, 4]])


def test_a_folder_that_is_laid_out_like_an_archive_is_one(client: Any) -> None:
    answer = client.invoke_endpoint(
        EndpointName="example", Body=TWO_ROWS, ContentType="text/csv", Accept="text/csv"
    )
    assert (answer["ContentType"], answer["Body"].read()) == ("text/csv", b"0.5\n2.5")


def test_the_headers_reach_the_functions_and_theirs_come_back(client: Any) -> None:
    answer = client.invoke_endpoint(
        EndpointName="program", Body=b"{}", ContentType="application/json", CustomAttributes="c=1"
    )
    assert answer["CustomAttributes"] == "back c=1"
    assert json.load(answer["Body"]) == {
        "model": ["code", "weights.npy"],
        "kind": "str",
        "type": "application/json",
        "accept": "application/json",
    }


@pytest.mark.parametrize(
    ("content_type", "status", "said"),
    [
        pytest.param("text/raise", 500, "asked to fail", id="raises"),
        pytest.param("text/status", 422, "said so", id="answers with a status"),
    ],
)
def test_a_model_that_fails_is_a_model_error(client: Any, content_type: str, status: int, said: str) -> None:
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="program", Body=b"422", ContentType=content_type)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (status, said)
    group = "log-group:/aws/sagemaker/Endpoints/program"
    assert response["LogStreamArn"] == f"arn:aws:logs:eu-central-1:{ACCOUNT}:{group}"
    whose = "client" if status < 500 else "server"
    text = f'Received {whose} error ({status}) from primary with message "{said}"'
    assert response["Error"]["Message"].startswith(text)


def test_types_that_nobody_reads_or_writes_are_the_clients_error(client: Any) -> None:
    for words, status in (({"ContentType": "image/png"}, 415), ({"Accept": "image/png"}, 406)):
        with pytest.raises(client.exceptions.ModelError) as caught:
            client.invoke_endpoint(EndpointName="doubler", Body=b"[[1, 2]]", **words)
        assert caught.value.response["OriginalStatusCode"] == status


def test_a_model_that_takes_too_long_is_told_in_awss_words(client: Any) -> None:
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="hasty", Body=b"{}", ContentType="text/slow")
    assert caught.value.response["OriginalStatusCode"] == 0
    assert "Your invocation timed out while waiting for a response" in str(caught.value)


def test_functions_and_model_files_are_endpoints_too(client: Any) -> None:
    answer = client.invoke_endpoint(
        EndpointName="function", Body=b'{"a": 1}', CustomAttributes="c=1", Accept="a/b"
    )
    custom = {"x-amzn-sagemaker-custom-attributes": "c=1", "accept": "a/b"}
    assert json.load(answer["Body"]) == {"event": {"a": 1}, "custom": custom}
    answer = client.invoke_endpoint(EndpointName="linear", Body=b'{"instances": [[1, 2, 3, 4]]}')
    assert json.load(answer["Body"]) == {"predictions": [[19.0, 29.0, 39.0]]}


def test_a_model_file_speaks_csv_and_npy(client: Any) -> None:
    for accept, read in (("text/csv", np.loadtxt), (NPY, np.load)):
        answer = client.invoke_endpoint(
            EndpointName="linear", Body=b"1,2,3,4\n0,0,0,1", ContentType="text/csv", Accept=accept
        )
        options = {"delimiter": ","} if accept == "text/csv" else {}
        assert read(io.BytesIO(answer["Body"].read()), **options).tolist() == [[19, 29, 39], [2, 3, 4]]
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="linear", Body=b"x", ContentType="image/png")
    assert caught.value.response["OriginalStatusCode"] == 415


def test_an_application_is_asked_as_a_container_is(client: Any) -> None:
    answer = client.invoke_endpoint(EndpointName="container", Body=b"abc", Accept="x/y")
    assert answer["Body"].read() == b"/invocations x/y abc"
    assert answer["ContentType"] == "text/x"
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="container", Body=b"fail")
    assert caught.value.response["OriginalStatusCode"] == 503


@pytest.mark.parametrize(
    ("words", "text"),
    [
        pytest.param(
            {"EndpointName": "nobody"}, f"Endpoint nobody of account {ACCOUNT} not found.", id="name"
        ),
        pytest.param({"TargetVariant": "v9"}, "Variant v9 not found for endpoint program.", id="variant"),
        pytest.param(
            {"TargetModel": "m.tar.gz"},
            "TargetModel is only for multi-model endpoints; program is none.",
            id="model",
        ),
    ],
)
def test_what_is_not_there_is_a_validation_error(client: Any, words: dict[str, str], text: str) -> None:
    asked = {"EndpointName": "program", "Body": b"1", **words}
    assert refused(client.invoke_endpoint, **asked) == (400, "ValidationError", text)


def test_an_endpoint_that_is_not_there_is_told_by_each_operation(client: Any) -> None:
    for call in (client.invoke_endpoint_async, client.invoke_endpoint_with_response_stream):
        assert refused(call, EndpointName="nobody", Body=b"1") == (
            400,
            "ValidationError",
            f"Endpoint nobody of account {ACCOUNT} not found.",
        )


def test_a_body_over_the_limit_is_refused(client: Any) -> None:
    body = bytes(6_291_457)
    assert refused(client.invoke_endpoint, EndpointName="program", Body=body)[0] == 413


def test_an_answer_streams_part_by_part(client: Any) -> None:
    answer = client.invoke_endpoint_with_response_stream(
        EndpointName="program", Body=b"x", ContentType="text/stream"
    )
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/plain", "AllTraffic")
    assert [event["PayloadPart"]["Bytes"] for event in answer["Body"]] == [b"one ", b"two"]
    answer = client.invoke_endpoint_with_response_stream(
        EndpointName="doubler", Body=b"[[1, 2]]", ContentType="application/json", Accept="text/csv"
    )
    assert answer["ContentType"] == "text/csv"
    assert [event["PayloadPart"]["Bytes"] for event in answer["Body"]] == [b"2.0,4.0\n"]


def test_a_stream_that_breaks_ends_with_the_models_error(client: Any) -> None:
    answer = client.invoke_endpoint_with_response_stream(
        EndpointName="program", Body=b"break", ContentType="text/stream"
    )
    seen = []
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*broke"):
        seen.extend(event["PayloadPart"]["Bytes"] for event in answer["Body"])
    with pytest.raises(client.exceptions.ModelError):
        client.invoke_endpoint_with_response_stream(
            EndpointName="program", Body=b"1", ContentType="text/raise"
        )


def fetch(server: RunningServer, location: str, **more: Any) -> Any:
    return server.request("GET", location.removeprefix(server.url), **more)


def test_an_asynchronous_call_leaves_its_output_where_it_said(server: RunningServer, client: Any) -> None:
    accepted = client.invoke_endpoint_async(
        EndpointName="doubler",
        Body=b"1,2\n3,4\n",
        ContentType="text/csv",
        Accept="text/csv",
        InferenceId="mine",
    )
    assert accepted["InferenceId"] == "mine"
    output = accepted["OutputLocation"]
    wait_until(lambda: fetch(server, output).status == 200, "the output")
    got = fetch(server, output)
    assert (got.headers["content-type"], got.body) == ("text/csv", b"2.0,4.0\n6.0,8.0\n")
    assert fetch(server, accepted["FailureLocation"]).status == 404
    assert fetch(server, output, key="").status == 403


def test_an_application_is_asked_as_a_container_is_later_too(server: RunningServer, client: Any) -> None:
    output = client.invoke_endpoint_async(EndpointName="container", Body=b"abc", Accept="x/y")[
        "OutputLocation"
    ]
    wait_until(lambda: fetch(server, output).status == 200, "the output")
    assert fetch(server, output).body == b"/invocations x/y abc"


def test_an_asynchronous_call_that_fails_says_why(server: RunningServer, client: Any) -> None:
    accepted = client.invoke_endpoint_async(EndpointName="program", Body=b"1", ContentType="text/raise")
    wait_until(lambda: fetch(server, accepted["FailureLocation"]).status == 200, "the failure")
    assert fetch(server, accepted["FailureLocation"]).json()["errorMessage"] == "asked to fail"
    assert fetch(server, accepted["OutputLocation"]).status == 404


@pytest.mark.parametrize(("words", "said"), [
    ({"InferenceId": "x" * 65}, "'inferenceId' failed to satisfy constraint: Member must have length"),
    ({"RequestTTLSeconds": 59}, "'requestTTLSeconds' failed to satisfy constraint: Member must have value"),
    ({"InvocationTimeoutSeconds": 3601}, "'invocationTimeoutSeconds' failed to satisfy constraint: Member"),
])  # fmt: skip
def test_an_asynchronous_call_out_of_its_bounds_is_refused(
    client: Any, words: dict[str, Any], said: str
) -> None:
    found = refused(client.invoke_endpoint_async, EndpointName="program", Body=b"1", **words)
    assert found[:2] == (400, "ValidationError")
    assert said in found[2]


def test_an_output_that_there_is_not_is_missing_as_from_a_bucket(server: RunningServer, client: Any) -> None:
    accepted = client.invoke_endpoint_async(EndpointName="doubler", Body=b"1,2", ContentType="text/csv")
    elsewhere = accepted["OutputLocation"].replace("/doubler/", "/program/")
    for path in (elsewhere, "/endpoints/doubler/async-outputs/" + "x" * 5000):
        answer = fetch(server, path)
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (404, "NoSuchKey")
        assert len(answer.body) < 300


def test_what_a_container_refuses_later_is_a_failure(server: RunningServer, client: Any) -> None:
    accepted = client.invoke_endpoint_async(EndpointName="container", Body=b"refuse")
    wait_until(lambda: fetch(server, accepted["FailureLocation"]).status == 200, "the failure")
    assert fetch(server, accepted["FailureLocation"]).body.endswith(b" refuse")
    assert fetch(server, accepted["OutputLocation"]).status == 404


def test_a_bucket_cannot_be_read_and_that_is_said(client: Any) -> None:
    call = client.invoke_endpoint_async
    status, kind, text = refused(call, EndpointName="program", InputLocation="s3://bucket/key")
    assert (status, kind) == (400, "ValidationError")
    assert text.startswith("InputLocation s3://bucket/key cannot be read")
    assert refused(call, EndpointName="program")[2] == "Either InputLocation or Body must be provided."


def test_the_native_door_passes_accept_and_the_models_status_on(server: RunningServer) -> None:
    answer = server.request("POST", "/invoke/doubler", TWO_ROWS, Content_Type="text/csv", Accept="text/csv")
    assert (answer.headers["content-type"], answer.body) == ("text/csv", b"2.0,4.0\n6.0,8.0\n")
    refusal = server.request("POST", "/invoke/doubler", b"1,2\n", Content_Type="image/png")
    assert (refusal.status, refusal.json()["error_type"]) == (415, "UnsupportedFormatError")
    rows = server.request("POST", "/invoke/linear", b"1,2,3,4", Content_Type="text/csv", Accept="text/csv")
    assert (rows.status, rows.body) == (200, b"19.0,29.0,39.0\n")
    rows = server.request("POST", "/invoke/linear", b"1,2,3,4", Content_Type="text/csv", Accept="text/html")
    assert (rows.status, rows.json()) == (200, {"predictions": [[19.0, 29.0, 39.0]]})
