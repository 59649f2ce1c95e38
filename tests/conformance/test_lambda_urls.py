"""Functions' URLs as browsers and HTTP clients see them; Mangum, FastAPI and Powertools run as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.aws_clients import REGION, client_of, make
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

ECHO = """
def handler(event, context):
    answer = event.get("queryStringParameters", {}).get("answer")
    if answer == "text":
        return "plain"
    if answer == "raise":
        raise ValueError("a secret")
    if answer == "response":
        return {"statusCode": 201, "headers": {"X-A": "1"}, "cookies": ["a=1", "b=2"], "body": "made"}
    if answer == "bytes":
        head = {"statusCode": 200, "headers": {"Content-Type": "image/png"}}
        return head | {"body": "/9k=", "isBase64Encoded": True}
    return {"event": event, "arn": context.invoked_function_arn}
"""
STREAM = """
import json

def handler(event, context):
    how = event["rawPath"]
    if how == "/prelude":
        yield json.dumps({"statusCode": 203, "headers": {"X-A": "1"}, "cookies": ["c=1"]}).encode()
        yield b"\\0" * 8
    if how == "/dict":
        yield {"statusCode": 202, "headers": {"Content-Type": "text/csv"}}
    if how == "/early":
        raise ValueError("a secret")
    yield "one,"
    yield "two"
    if how == "/late":
        raise ValueError("a secret")
"""
MANGUM = """
from fastapi import FastAPI, Request, Response
from mangum import Mangum

app = FastAPI()

@app.get("/items/{item}")
def read(item: str, request: Request, q: list[str] = []):
    return {"item": item, "q": request.query_params.getlist("q"), "cookie": request.cookies.get("c"),
            "id": request.scope["aws.context"].aws_request_id}

@app.post("/bytes")
async def take(request: Request):
    body = await request.body()
    response = Response(body[::-1], media_type="application/octet-stream", status_code=201)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response

handler = Mangum(app, lifespan="off")
"""
POWERTOOLS = """
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="test")
metrics = Metrics(namespace="test", service="test")
app = LambdaFunctionUrlResolver()

@app.get("/hello/<name>")
def hello(name: str):
    metrics.add_metric(name="Hello", unit=MetricUnit.Count, value=1)
    logger.info("greets", extra={"who": name})
    return {"hello": name, "query": app.current_event.query_string_parameters}

@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict, context: LambdaContext):
    return app.resolve(event, context)
"""


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return client_of(server)


@pytest.fixture(scope="module")
def http() -> urllib3.PoolManager:
    return urllib3.PoolManager(retries=False, timeout=PATIENT_S)


def opened(client: Any, name: str, code: str, **words: Any) -> str:
    """The URL of a new function."""
    make(client, name, code, Timeout=60)
    made = client.create_function_url_config(FunctionName=name, **{"AuthType": "NONE", **words})
    return str(made["FunctionUrl"]).rstrip("/")


@pytest.fixture(scope="module")
def echo(client: Any) -> str:
    return opened(client, "echo", ECHO)


@pytest.fixture(scope="module")
def stream(client: Any) -> str:
    return opened(client, "stream", STREAM, InvokeMode="RESPONSE_STREAM")


def test_a_request_is_an_event(echo: str, http: urllib3.PoolManager) -> None:
    answer = http.request("POST", f"{echo}/a/b%20c?x=1&x=2", body=b'{"y": 1}', headers={"Cookie": "c=1; d=2"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    event = answer.json()["event"]
    assert (event["version"], event["rawPath"]) == ("2.0", "/a/b%20c")
    assert event["queryStringParameters"] == {"x": "1,2"}
    assert (event["cookies"], event["body"]) == (["c=1", "d=2"], '{"y": 1}')
    assert event["requestContext"]["requestId"] == answer.headers["x-amzn-RequestId"]
    assert event["requestContext"]["http"]["method"] == "POST"


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [("text", 200, b"plain"), ("response", 201, b"made"), ("bytes", 200, b"\xff\xd9")],
)
def test_what_a_function_says_is_the_answer(
    echo: str, http: urllib3.PoolManager, query: str, status: int, body: bytes
) -> None:
    answer = http.request("GET", f"{echo}/?answer={query}")
    assert (answer.status, answer.data) == (status, body)
    if query == "response":
        assert answer.headers.getlist("set-cookie") == ["a=1", "b=2"]
        assert answer.headers["x-a"] == "1"


def test_a_function_that_fails_tells_no_secrets(echo: str, http: urllib3.PoolManager) -> None:
    answer = http.request("GET", f"{echo}/?answer=raise")
    assert (answer.status, answer.data) == (502, b"Internal Server Error")


def test_the_host_form(echo: str, http: urllib3.PoolManager) -> None:
    url_id = echo.rpartition("/")[2]
    base = echo.partition("/lambda-url/")[0]
    answer = http.request(
        "GET", f"{base}/api/v1/x", headers={"Host": f"{url_id}.lambda-url.eu-west-1.localhost"}
    )
    said = answer.json()
    assert said["event"]["rawPath"] == "/api/v1/x"
    assert said["event"]["requestContext"]["domainPrefix"] == url_id
    assert said["arn"] == "arn:aws:lambda:eu-west-1:000000000000:function:echo"


def test_a_rest_api_s_form(client: Any, http: urllib3.PoolManager) -> None:
    url = opened(client, "rest", POWERTOOLS.replace("LambdaFunctionUrlResolver", "APIGatewayRestResolver"))
    base, _, url_id = url.partition("/lambda-url/")
    rest = f"{base}/restapis/{url_id}/Prod/_user_request_"
    assert http.request("GET", f"{rest}/hello/you?x=1").json() == {"hello": "you", "query": {"x": "1"}}
    url = opened(client, "rest-echo", ECHO)
    base, _, url_id = url.partition("/lambda-url/")
    rest = f"{base}/restapis/{url_id}/Prod/_user_request_"
    answer = http.request("GET", f"{rest}/a?answer=response")
    assert (answer.status, answer.data) == (201, b"made")
    answer = http.request("GET", f"{rest}/a?answer=text")
    assert (answer.status, answer.json()) == (502, {"message": "Internal server error"})


def test_a_signature_where_one_is_wanted(
    client: Any, server: RunningServer, http: urllib3.PoolManager
) -> None:
    url = opened(client, "locked", ECHO, AuthType="AWS_IAM") + "/x?a=b%20c"
    assert http.request("GET", url).status == 403
    pair = Credentials(server.about["access_key_id"], server.about["secret_access_key"])
    signed = AWSRequest(method="POST", url=url, data=b"{}")
    SigV4Auth(pair, "lambda", REGION).add_auth(signed)
    assert http.request("POST", url, body=b"{}", headers=dict(signed.headers)).status == 200
    assert http.request("POST", url, body=b"[]", headers=dict(signed.headers)).status == 403


def test_a_stream(stream: str, http: urllib3.PoolManager) -> None:
    answer = http.request("GET", f"{stream}/plain")
    assert (answer.status, answer.data) == (200, b"one,two")
    answer = http.request("GET", f"{stream}/prelude")
    assert (answer.status, answer.data, answer.headers["x-a"]) == (203, b"one,two", "1")
    assert answer.headers["set-cookie"] == "c=1"
    answer = http.request("GET", f"{stream}/dict")
    assert (answer.status, answer.data, answer.headers["content-type"]) == (202, b"one,two", "text/csv")


def test_a_stream_that_fails(stream: str, http: urllib3.PoolManager) -> None:
    answer = http.request("GET", f"{stream}/early")
    assert (answer.status, answer.data) == (502, b"Internal Server Error")
    with pytest.raises(urllib3.exceptions.HTTPError):
        http.request("GET", f"{stream}/late")


def test_mangum_and_fastapi_run_as_they_are(client: Any, http: urllib3.PoolManager) -> None:
    url = opened(client, "mangum", MANGUM)
    answer = http.request("GET", f"{url}/items/a%20b?q=1&q=2", headers={"Cookie": "c=1"})
    said = answer.json()
    assert (said["item"], said["cookie"]) == ("a b", "1")
    assert said["id"] == answer.headers["x-amzn-RequestId"]
    answer = http.request("POST", f"{url}/bytes", body=b"\x00\xff\x01")
    assert (answer.status, answer.data) == (201, b"\x01\xff\x00")
    assert [cookie.partition(";")[0] for cookie in answer.headers.getlist("set-cookie")] == ["a=1", "b=2"]
    assert http.request("GET", f"{url}/nothing").json() == {"detail": "Not Found"}


def test_powertools_run_as_they_are(client: Any, server: RunningServer, http: urllib3.PoolManager) -> None:
    url = opened(client, "powertools", POWERTOOLS)
    answer = http.request("GET", f"{url}/hello/you?x=1")
    assert answer.json() == {"hello": "you", "query": {"x": "1"}}
    assert http.request("GET", f"{url}/nothing").status == 404
    request_id = answer.headers["x-amzn-RequestId"]
    logs = client_of(server, "logs")
    pattern = f'{{ $.function_request_id = "{request_id}" }}'
    events = logs.filter_log_events(logGroupName="/aws/lambda/powertools", filterPattern=pattern)["events"]
    said = [json.loads(event["message"]) for event in events]
    assert [(one["message"], one["who"], one["function_name"]) for one in said] == [
        ("greets", "you", "powertools")
    ]


def test_a_url_that_there_is_not_says_what_aws_says(server: RunningServer, http: urllib3.PoolManager) -> None:
    answer = http.request("GET", f"{server.url}/lambda-url/{'a' * 32}/")
    assert (answer.status, answer.json()) == (403, {"Message": None})
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"
