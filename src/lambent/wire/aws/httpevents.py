"""HTTP requests as the events that AWS's functions get: payload format 2.0 and 1.0."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from lambent.core.invocation import JSON

FIELDS_MAX: Final = 1000
# What is told as text; everything else, forms among them, as base64.
TEXTS: Final = frozenset({JSON, "application/xml", "application/javascript", "application/ecmascript"})


class PayloadFormat(StrEnum):
    """How an HTTP request is told to a function."""

    V1 = "1.0"  # API Gateway's REST APIs
    V2 = "2.0"  # function URLs, and API Gateway's HTTP APIs


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request at a function's URL. `path` and `query` are as they were sent, without what the door adds.

    Names of headers are in lower case. `api_id` is the URL's id; `domain` the host that it was sent to.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    request_id: str
    api_id: str
    domain: str
    source_ip: str
    time_unix_ms: int
    protocol: str = "HTTP/1.1"
    account: str = "anonymous"
    stage: str = "$default"
    resource: str = "/{proxy+}"  # 1.0 alone
    path_parameters: Mapping[str, str] | None = None
    authorizer: Mapping[str, object] | None = None


def event_of(request: HttpRequest, payload: PayloadFormat) -> bytes:
    """The event as JSON."""
    return msgspec.json.encode(_v2(request) if payload is PayloadFormat.V2 else _v1(request))


def _v2(request: HttpRequest) -> dict[str, object]:
    headers = _joined([(name, value) for name, value in request.headers if name != "cookie"])
    cookies = [
        part.strip()
        for name, value in request.headers
        if name == "cookie"
        for part in value.split(";")
        if part.strip()
    ]
    query = _joined(_fields(request.query))
    event: dict[str, object] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": _context_v2(request, headers),
        **_body(request),
    }
    optional = {
        "cookies": cookies,
        "queryStringParameters": query,
        "pathParameters": request.path_parameters,
    }
    return event | {name: value for name, value in optional.items() if value}


def _context_v2(request: HttpRequest, headers: Mapping[str, str]) -> dict[str, object]:
    context: dict[str, object] = {
        "accountId": request.account,
        "apiId": request.api_id,
        "domainName": request.domain,
        "domainPrefix": request.domain.partition(".")[0],
        "http": {
            "method": request.method,
            "path": unquote(request.path),  # decoded, unlike the raw one (recorded)
            "protocol": request.protocol,
            "sourceIp": request.source_ip,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": request.request_id,
        "routeKey": "$default",
        "stage": request.stage,
        "time": _time(request),
        "timeEpoch": request.time_unix_ms,
    }
    return context | ({"authorizer": request.authorizer} if request.authorizer else {})


def _v1(request: HttpRequest) -> dict[str, object]:
    pairs = [(_title(name), value) for name, value in request.headers]
    query = _fields(request.query)
    parameters = request.path_parameters
    if parameters is None and request.resource == "/{proxy+}":
        parameters = {"proxy": request.path.lstrip("/")} if request.path.strip("/") else None
    resource = "/" if parameters is None and request.resource == "/{proxy+}" else request.resource
    body = _body(request)
    return {
        "resource": resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": dict(pairs) or None,
        "multiValueHeaders": _lists(pairs) or None,
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _lists(query) or None,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": _context_v1(request, resource, dict(pairs)),
        "body": body.get("body"),
        "isBase64Encoded": body["isBase64Encoded"],
    }


def _context_v1(request: HttpRequest, resource: str, headers: Mapping[str, str]) -> dict[str, object]:
    nobody = (
        "accessKey", "accountId", "caller", "cognitoAuthenticationProvider", "cognitoAuthenticationType",
        "cognitoIdentityId", "cognitoIdentityPoolId", "principalOrgId", "user", "userArn",
    )  # fmt: skip
    return {
        "accountId": request.account,
        "apiId": request.api_id,
        "authorizer": request.authorizer,
        "domainName": request.domain,
        "domainPrefix": request.domain.partition(".")[0],
        "extendedRequestId": request.request_id,
        "httpMethod": request.method,
        "identity": {
            **dict.fromkeys(nobody),
            "sourceIp": request.source_ip,
            "userAgent": headers.get("User-Agent", ""),
        },
        "path": request.path,
        "protocol": request.protocol,
        "requestId": request.request_id,
        "requestTime": _time(request),
        "requestTimeEpoch": request.time_unix_ms,
        "resourceId": "",
        "resourcePath": resource,
        "stage": request.stage,
    }


def _body(request: HttpRequest) -> dict[str, object]:
    if not request.body:
        return {"isBase64Encoded": False}
    kind = next((value for name, value in request.headers if name == "content-type"), "")
    if is_text(kind):
        try:
            return {"body": request.body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}


def is_text(content_type: str) -> bool:
    """Whether a body of this type is told as text. One without a type is, where it is UTF-8."""
    essence = content_type.partition(";")[0].strip().lower()
    return (
        not essence or essence.startswith("text/") or essence in TEXTS or essence.endswith(("+json", "+xml"))
    )


def _fields(query: str) -> list[tuple[str, str]]:
    """The fields of a query, decoded; of a query beyond all bounds the first ones."""
    return parse_qsl("&".join(query.split("&")[:FIELDS_MAX]), keep_blank_values=True)


def _joined(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {name: ",".join(values) for name, values in _lists(pairs).items()}


def _lists(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _title(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _time(request: HttpRequest) -> str:
    when = datetime.fromtimestamp(request.time_unix_ms / 1000, UTC)
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    # Not by %b: months have the names of the process's locale there.
    return f"{when:%d}/{months[when.month - 1]}/{when:%Y:%H:%M:%S} +0000"
