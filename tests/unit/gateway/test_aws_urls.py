"""The door of functions' URLs, as browsers and other clients see it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from botocore.auth import SigV4Auth

from lambent.core.errors import LoadFailed
from lambent.core.invocation import FunctionError, Status
from lambent.gateway.protocols.aws import sender
from lambent.pool.function_urls import FunctionUrl
from lambent.pool.reservations import Reservation
from lambent.wire.aws.shapes import Cors
from tests.unit.gateway.asgi import House, Response, outcome, request
from tests.unit.gateway.test_sigv4 import signed, signed_at_ms

ID = "abc123"
URL = f"/lambda-url/{ID}/"


def open_url(house: House, **changes: Any) -> None:
    house.function_urls.put(
        FunctionUrl(**{"url_id": ID, "project": "default", "name": "hello", "auth_type": "NONE", **changes})
    )


def call(house: House, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(request(house.gateway, method, target, body, named))


def event(house: House) -> Any:
    return json.loads(house.invoker.asked[-1].body)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (f"/lambda-url/{ID}/a/b%20c?x=1", "127.0.0.1:8700"),
        ("/a/b%20c?x=1", f"{ID}.lambda-url.eu-west-1.localhost:8700"),
    ],
)
def test_a_url_has_two_forms(house: House, target: str, host: str) -> None:
    open_url(house)
    answer = call(house, "PUT", target, b"body", host=host)
    assert (answer.status, answer.body) == (200, b"done")
    said = event(house)
    assert (said["rawPath"], said["rawQueryString"]) == ("/a/b%20c", "x=1")
    assert (said["requestContext"]["http"]["method"], said["body"]) == ("PUT", "body")
    assert said["requestContext"]["domainName"] == host
    assert said["requestContext"]["requestId"] == answer.headers["x-amzn-requestid"]
    assert said["headers"]["x-forwarded-proto"] == "http"


def test_its_root_is_a_path_too(house: House) -> None:
    open_url(house)
    assert call(house, "GET", f"/lambda-url/{ID}").status == 200
    assert event(house)["rawPath"] == "/"


def test_what_the_function_says_is_the_answer(house: House) -> None:
    open_url(house)
    house.invoker.next = outcome(b'{"statusCode": 418, "headers": {"X-A": "1"}, "body": "tea"}')
    answer = call(house, "GET", URL)
    assert (answer.status, answer.headers["x-a"], answer.body) == (418, "1", b"tea")


@pytest.mark.parametrize(
    "ended",
    [
        outcome(b"{}", status=Status.FAILED, error=FunctionError("secret", "Error")),
        outcome(b'{"statusCode": 1}'),
        LoadFailed("secret"),
    ],
)
def test_a_function_that_fails_is_told_without_its_reason(house: House, ended: Any) -> None:
    open_url(house)
    house.invoker.next = ended
    answer = call(house, "GET", URL)
    assert (answer.status, answer.body) == (502, b"Internal Server Error")


def test_a_url_that_is_nobodys(house: House) -> None:
    answer = call(house, "GET", URL)
    assert (answer.status, answer.json()) == (403, {"Message": None})


def test_a_url_that_wants_a_signature(house: House) -> None:
    open_url(house, auth_type="AWS_IAM")
    answer = call(house, "GET", URL)
    assert (answer.status, answer.json()) == (403, {"Message": "Forbidden"})
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"

    async def story() -> Response:
        key = await house.key()
        made = signed(
            SigV4Auth, "POST", URL, {}, b"{}",
            access_key_id=key.access_key_id, secret=key.secret_access_key,
        )  # fmt: skip
        house.clock.advance(max(0.0, (signed_at_ms(made) - house.clock.unix_ms()) / 1000))
        headers = {name.decode(): value.decode() for name, value in made.headers}
        return await request(house.gateway, "POST", URL, b"{}", headers)

    assert asyncio.run(story()).status == 200
    assert "userArn" in event(house)["requestContext"]["authorizer"]["iam"]


def test_a_key_of_another_project_does_not_open_it(house: House) -> None:
    open_url(house, auth_type="AWS_IAM")

    async def story() -> Response:
        key = await house.key(project="other")
        return await house.call("GET", URL, key=key.api_key)

    assert asyncio.run(story()).status == 403


def test_browsers_of_other_origins(house: House) -> None:
    open_url(house, cors=Cors(allow_origins=["https://a.example"], allow_methods=["GET"]))
    asks = {"access_control_request_method": "GET"}
    answer = call(house, "OPTIONS", URL, origin="https://a.example", **asks)
    assert (answer.status, house.invoker.asked) == (200, [])
    assert answer.headers["access-control-allow-methods"] == "GET"
    assert call(house, "GET", URL, origin="https://a.example").headers["access-control-allow-origin"]
    assert "access-control-allow-origin" not in call(house, "GET", URL, origin="https://b.example").headers


def test_one_call_too_many_is_throttled(house: House) -> None:
    open_url(house)
    house.reservations.limit("default", "hello", Reservation(calls_max=0))
    answer = call(house, "GET", URL)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (429, "TooManyRequestsException")


def test_a_body_that_is_too_large(house: House) -> None:
    open_url(house)
    assert call(house, "POST", URL, b"x", content_length="9000000").status == 413


def test_with_no_checks_everybody_is_let_in(house: House) -> None:
    senders = sender.Senders(house.keys, auth=sender.AwsAuth.NONE)

    async def story(headers: dict[str, str]) -> sender.Sender:
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(await senders.of(sender.Request(scope, receive, send), b"{}", "lambda"))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        await request(app, "POST", "/x", b"{}", headers)
        found: sender.Sender = seen[0]
        return found

    scope = "20261123/eu-west-1/lambda/aws4_request"
    wrong = f"AWS4-HMAC-SHA256 Credential=test/{scope}, SignedHeaders=host, Signature=0"
    for headers in (
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": "AWS4-HMAC-SHA256 nonsense"},
        {"authorization": wrong, "x-amz-date": "20261123T000000Z", "host": "h"},
    ):
        assert asyncio.run(story(headers)).principal.project == "default"
    assert asyncio.run(story(headers)).place.region == "eu-west-1"


@pytest.mark.parametrize(
    "target",
    [
        "/lambda-url/",
        "/lambda-url//",
        "/lambda-url/%2e%2e/x",
        "/restapis/",
        "/restapis/abc123/Prod/x",
        "/restapis/a/b",
    ],
)
def test_what_is_no_url_is_nobodys(house: House, target: str) -> None:
    open_url(house)
    assert call(house, "GET", target).status == 403


@pytest.mark.parametrize(
    "host", [".lambda-url.", "x.lambda-url.", "ABC.lambda-url.r.h", "a.b.lambda-url.r.h", "\xff.lambda-url."]
)
def test_a_host_that_is_none(house: House, host: str) -> None:
    open_url(house)
    assert asyncio.run(house.call("GET", "/invoke/hello", host=host)).status == 403


def test_odd_requests_are_events_too(house: House) -> None:
    open_url(house)
    for target in (f"{URL}%ff%00?%ff=%00&&=&a", f"{URL}{'a' * 5000}", f"{URL}?{'a&' * 3000}"):
        assert call(house, "PATCH", target, b"\xff\x00").status == 200
    assert event(house)["isBase64Encoded"]


def test_a_rest_api_gets_events_of_format_1(house: House) -> None:
    open_url(house)
    house.invoker.next = outcome(b'{"statusCode": 200, "body": "x"}')
    answer = call(house, "GET", f"/restapis/{ID}/dev/_user_request_/a/b?x=1&x=2")
    assert (answer.status, answer.body) == (200, b"x")
    said = event(house)
    assert (said["path"], said["requestContext"]["stage"]) == ("/a/b", "dev")
    assert said["multiValueQueryStringParameters"] == {"x": ["1", "2"]}
    house.invoker.next = outcome(b'"text"')
    answer = call(house, "GET", f"/restapis/{ID}/dev/_user_request_")
    assert (answer.status, answer.json()) == (502, {"message": "Internal server error"})
