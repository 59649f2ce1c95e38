"""HTTP requests as events of AWS's functions, and what such functions answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from lambent.wire.aws.cors import headers_for, is_preflight
from lambent.wire.aws.httpanswers import HttpAnswer, Unanswerable, answer_of, split_prelude
from lambent.wire.aws.httpevents import HttpRequest, PayloadFormat, event_of
from lambent.wire.aws.shapes import Cors

PLAIN = HttpRequest(
    method="POST",
    path="/my/path%20x",
    query="a=1&a=2&b=%C3%A4&c=",
    headers=(
        ("host", "abc.lambda-url.us-east-1.on.aws"),
        ("user-agent", "agent"),
        ("accept", "a"),
        ("accept", "b"),
        ("cookie", "one=1; two=2"),
        ("content-type", "application/json"),
    ),
    body=b'{"x": 1}',
    request_id="id",
    api_id="abc",
    domain="abc.lambda-url.us-east-1.on.aws",
    source_ip="10.0.0.1",
    time_unix_ms=1_583_348_638_390,
)


def told(payload: PayloadFormat = PayloadFormat.V2, **changes: Any) -> Any:
    return json.loads(event_of(msgspec.structs.replace(PLAIN, **changes), payload))


def test_format_2_says_what_aws_documents() -> None:
    assert told() == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/path%20x",
        "rawQueryString": "a=1&a=2&b=%C3%A4&c=",
        "cookies": ["one=1", "two=2"],
        "headers": {
            "host": "abc.lambda-url.us-east-1.on.aws",
            "user-agent": "agent",
            "accept": "a,b",
            "content-type": "application/json",
        },
        "queryStringParameters": {"a": "1,2", "b": "ä", "c": ""},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc",
            "domainName": "abc.lambda-url.us-east-1.on.aws",
            "domainPrefix": "abc",
            "http": {
                "method": "POST",
                "path": "/my/path x",
                "protocol": "HTTP/1.1",
                "sourceIp": "10.0.0.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "body": '{"x": 1}',
        "isBase64Encoded": False,
    }


def test_format_1_says_each_value_twice() -> None:
    event = told(PayloadFormat.V1, stage="Prod")
    assert event["httpMethod"] == "POST"
    assert (event["resource"], event["pathParameters"]) == ("/{proxy+}", {"proxy": "my/path%20x"})
    assert event["headers"]["Accept"] == "b"
    assert event["multiValueHeaders"]["Accept"] == ["a", "b"]
    assert event["headers"]["Cookie"] == "one=1; two=2"
    assert event["queryStringParameters"] == {"a": "2", "b": "ä", "c": ""}
    assert event["multiValueQueryStringParameters"]["a"] == ["1", "2"]
    assert event["requestContext"]["identity"]["sourceIp"] == "10.0.0.1"
    assert (event["requestContext"]["stage"], event["body"]) == ("Prod", '{"x": 1}')


def test_what_is_not_there_is_null_in_format_1_and_left_out_of_format_2() -> None:
    bare = {"query": "", "body": b"", "headers": (), "path": "/"}
    old = told(PayloadFormat.V1, **bare)
    for name in ("queryStringParameters", "multiValueQueryStringParameters", "body", "pathParameters"):
        assert old[name] is None
    assert old["resource"] == "/"
    assert not {"cookies", "queryStringParameters", "body"} & told(**bare).keys()


@pytest.mark.parametrize(
    ("content_type", "body", "is_text"),
    [
        ("application/json", b"{}", True),
        ("text/plain; charset=utf-8", "ä".encode(), True),
        ("application/problem+json", b"{}", True),
        ("image/svg+xml", b"<svg/>", True),
        ("text/plain", b"\xff", False),
        ("application/octet-stream", b"abc", False),
        ("application/x-www-form-urlencoded", b"a=1", False),
        ("multipart/form-data; boundary=x", b"--x", False),
        ("", b"abc", True),
        ("", b"\xff\x00", False),
    ],
)
def test_bytes_are_told_in_base64(content_type: str, body: bytes, is_text: bool) -> None:  # noqa: FBT001 a column of the table
    headers = (("content-type", content_type),) if content_type else ()
    event = told(headers=headers, body=body)
    assert event["isBase64Encoded"] is not is_text
    assert event["body"] == (body.decode() if is_text else base64.b64encode(body).decode())


def answered(result: object) -> HttpAnswer:
    return answer_of(json.dumps(result).encode(), "application/json")


JSON_TYPE = ("content-type", "application/json")


@pytest.mark.parametrize(
    ("result", "status", "headers", "body"),
    [
        pytest.param("Hello", 200, (JSON_TYPE,), b"Hello", id="a string is the body, without quotes"),
        pytest.param('"', 200, (JSON_TYPE,), b'"', id="a quote is one"),
        pytest.param("\ud800!", 200, (JSON_TYPE,), "\ufffd!".encode(), id="half a character is none"),
        pytest.param(
            {"statusCode": 200, "body": "\udc00"}, 200, (JSON_TYPE,), "\ufffd".encode(), id="nor in a body"
        ),
        pytest.param({"m": 1}, 200, (JSON_TYPE,), b'{"m": 1}', id="so is an object without a status"),
        pytest.param(["statusCode"], 200, (JSON_TYPE,), b'["statusCode"]', id="and a list"),
        pytest.param(None, 200, (JSON_TYPE,), b"null", id="and nothing"),
        pytest.param({"a": {"statusCode": 1}}, 200, (JSON_TYPE,), b'{"a": {"statusCode": 1}}', id="inside"),
        pytest.param({"statusCode": 204}, 204, (JSON_TYPE,), b"", id="a status alone"),
        pytest.param({"statusCode": "201", "body": "x"}, 201, (JSON_TYPE,), b"x", id="a status as text"),
        pytest.param(
            {"statusCode": 200, "headers": {"Content-Type": "text/html", "X-N": 3, "X-B": True}, "body": "h"},
            200,
            (("content-type", "text/html"), ("x-n", "3"), ("x-b", "true")),
            b"h",
            id="headers of any value",
        ),
        pytest.param(
            {"statusCode": 200, "body": base64.b64encode(b"\xff").decode(), "isBase64Encoded": True},
            200,
            (JSON_TYPE,),
            b"\xff",
            id="base64",
        ),
        pytest.param(
            {"statusCode": 200, "cookies": ["a=1; Secure", "b=2"]},
            200,
            (JSON_TYPE, ("set-cookie", "a=1; Secure"), ("set-cookie", "b=2")),
            b"",
            id="cookies",
        ),
        pytest.param(
            {"statusCode": 200, "headers": {"A": "0"}, "multiValueHeaders": {"a": ["1", "2"]}},
            200,
            (("a", "1"), ("a", "2"), JSON_TYPE),
            b"",
            id="many values of a header",
        ),
        pytest.param({"statusCode": 200, "body": {"x": 1}}, 200, (JSON_TYPE,), b'{"x": 1}', id="an object"),
        pytest.param(
            {"statusCode": 200, "headers": {"Content-Length": "99"}}, 200, (JSON_TYPE,), b"", id="a length"
        ),
    ],
)
def test_what_a_function_returns_is_a_response(
    result: object, status: int, headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    assert answered(result) == HttpAnswer(status, headers, body)


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": 99},
        {"statusCode": 101},
        {"statusCode": 10**30},
        {"statusCode": 200, "headers": {"a b": "1"}},
        {"statusCode": 200, "headers": {"€": "1"}},
        {"statusCode": 200, "headers": {"": "1"}},
        {"statusCode": 200, "headers": {"a": "\x00"}},
        {"statusCode": 200, "headers": {"a": {"b": 1}}},
        {"statusCode": 200, "cookies": ["a=1\n"]},
        {"statusCode": "many"},
        {"statusCode": None},
        {"statusCode": 200, "headers": {"a\r\nb": "1"}},
        {"statusCode": 200, "headers": {"a": "1\r\nset-cookie: x=1"}},
        {"statusCode": 200, "body": "no base64!", "isBase64Encoded": True},
        {"statusCode": 200, "cookies": "a=1"},
    ],
)
def test_what_is_no_response_is_refused(result: object) -> None:
    with pytest.raises(Unanswerable):
        answered(result)


def test_what_says_to_be_json_and_is_none_is_a_body() -> None:
    for body in (b'"half', rb'"\ud800', b""):
        assert answer_of(body, "application/json") == HttpAnswer(200, (JSON_TYPE,), body)


def test_what_is_not_json_is_a_body_of_its_type() -> None:
    assert answer_of(b"\xff", "application/octet-stream") == HttpAnswer(
        200, (("content-type", "application/octet-stream"),), b"\xff"
    )


def test_a_stream_may_begin_with_a_head() -> None:
    found = split_prelude(
        b'{"statusCode": 201, "headers": {"X-A": "1"}, "cookies": ["c=1"]}' + b"\0" * 8 + b"ab"
    )
    assert found is not None
    answer, rest = found
    assert (answer.status, rest) == (201, b"ab")
    assert ("x-a", "1") in answer.headers
    assert ("set-cookie", "c=1") in answer.headers
    assert ("content-type", "application/octet-stream") in answer.headers
    assert split_prelude(b'{"statusCode": 201}') is None
    assert split_prelude(b"\0" * 16) is None
    with pytest.raises(Unanswerable):
        split_prelude(b"{nonsense" + b"\0" * 8)


@pytest.mark.parametrize(
    ("allowed", "origin", "passes"),
    [
        (["*"], "https://a.example", True),
        (["https://a.example"], "https://a.example", True),
        (["https://a.example"], "https://b.example", False),
        (["https://*.example"], "https://b.example", True),
        (["https://*.example"], "https://b.example.evil", False),
        (["https://*.example"], "https://evil/b.example", False),
        (["http://localhost:*"], "http://localhost:3000", True),
        ([], "https://a.example", False),
        (["*"], "", False),
    ],
)
def test_origins(allowed: list[str], origin: str, passes: bool) -> None:  # noqa: FBT001 a column of the table
    assert bool(headers_for(Cors(allow_origins=allowed), origin, preflight=False)) is passes


def test_a_preflight_hears_what_it_may() -> None:
    rules = Cors(
        allow_origins=["*"], allow_methods=["GET"], allow_headers=["x-a"], max_age=5, allow_credentials=True
    )
    assert is_preflight("OPTIONS", {b"access-control-request-method": b"GET"})
    assert dict(headers_for(rules, "https://a.example", preflight=True)) == {
        "access-control-allow-origin": "https://a.example",
        "vary": "Origin",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET",
        "access-control-allow-headers": "x-a",
        "access-control-max-age": "5",
    }
