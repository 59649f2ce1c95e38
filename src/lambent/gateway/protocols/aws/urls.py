"""Functions' URLs: `/lambda-url/{id}/...`, or the host `{id}.lambda-url.{region}....`, as events and back.

At `/restapis/{id}/{stage}/_user_request_/...` the same function is called as by a REST API: format 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError, PayloadTooLarge, QueueFull, StillLoading, UserFault
from lambent.core.invocation import Called, Invocation, Outcome, Principal, Role, Status, new_id
from lambent.core.routing import OWN
from lambent.core.tracing import parent_from
from lambent.gateway.bodies import ANYBODY, Bodies, Hold
from lambent.gateway.protocols import Invoker, invocation_of
from lambent.gateway.protocols.aws.asked import request_id
from lambent.gateway.protocols.aws.invoke import Limits
from lambent.gateway.protocols.aws.sender import Senders
from lambent.gateway.protocols.aws.urlstream import UrlStream
from lambent.gateway.requests import Request
from lambent.gateway.responses import JSON_HEADER, Header, Reply, headers_of, outcome_headers
from lambent.gateway.tracing import XRAY
from lambent.pool.function_urls import FunctionUrl, FunctionUrls
from lambent.pool.routes import Routes
from lambent.wire.aws import cors
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.httpanswers import Unanswerable, answer_of, says_status
from lambent.wire.aws.httpevents import HttpRequest, PayloadFormat, event_of
from lambent.wire.aws.names import LATEST, Place

PREFIX: Final = "/lambda-url/"
REST: Final = re.compile(r"/restapis/([a-z0-9]+)/([A-Za-z0-9_-]+)/_user_request_(/.*)?")
HOST_MARK: Final = b".lambda-url."
HOST: Final = re.compile(rb"([a-z0-9]+)\.lambda-url\.([a-z0-9-]+)\.")
# Said of the connection, which ends at the front.
OF_CONNECTION: Final = frozenset({b"connection", b"keep-alive"})
SERVICE: Final = "lambda"
STREAMS: Final = "RESPONSE_STREAM"
FAILED: Final = Reply(502, [JSON_HEADER], b"Internal Server Error")
REST_FAILED: Final = Reply(502, [JSON_HEADER], b'{"message": "Internal server error"}')


class At(msgspec.Struct, frozen=True):
    """Where a request is: which URL, in which region, on which path of it; with a stage, as a REST API."""

    url_id: str
    path: str
    region: str = Place().region
    stage: str = ""


class UrlDoor:
    """Any method, any path; what comes is told to the function in payload format 2.0 or 1.0."""

    def __init__(
        self,
        *,
        invoker: Invoker,
        urls: FunctionUrls,
        routes: Routes,
        senders: Senders,
        bodies: Bodies,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._invoker: Final = invoker
        self._urls: Final = urls
        self._routes: Final = routes
        self._senders: Final = senders
        self._bodies: Final = bodies
        self._clock: Final = clock
        self._limits: Final = limits or Limits()

    def claims(self, request: Request) -> bool:
        """Whether it is for a function's URL."""
        path = request.path
        return path.startswith((PREFIX, "/restapis/")) or HOST_MARK in request.headers.get(b"host", b"")

    async def answer(self, request: Request) -> Reply | None:
        """Run the function, or answer a browser. Raises `Fault`, and what the dispatcher raises."""
        request.invocation_id = new_id()
        at = at_of(request)
        url = self._urls.get(at.url_id)
        if url is None:
            raise Fault("AccessDeniedException", 403, "", key="Message", extra={})  # as recorded from AWS
        allowed = self._cors(request, url)
        if url.cors is not None and cors.is_preflight(request.method, request.headers):
            return Reply(200, allowed)
        async with self._bodies.hold(ANYBODY) as hold:
            body = await self._body(request, hold)
            sender = await self._sender(request, url, body)
            hold.pass_to(url.project)
            invocation = self._invocation(request, at, url, sender, body)
            return await self._run(request, at, url, invocation, allowed)

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """As AWS's URLs word it: with a capital letter, and little."""
        status, kind, text = _worded(error)
        headers = [JSON_HEADER, (b"x-amzn-errortype", kind.encode()), *request_id(request.invocation_id)]
        retry = [header for header in headers_of(error) if header[0] == b"retry-after"]
        return Reply(status, [*headers, *retry], msgspec.json.encode({"Message": text}))

    async def _body(self, request: Request, hold: Hold) -> bytes:
        return await request.body(self._limits.request_bytes_max, hold)

    async def _sender(self, request: Request, url: FunctionUrl, body: bytes) -> Principal | None:
        """Who signed, where the URL wants a signature."""
        if url.auth_type == "NONE":
            return None
        try:
            principal = (await self._senders.of(request, body, SERVICE)).principal
            principal.require(Role.INVOKE)
        except LambentError as error:
            raise _forbidden() from error
        if principal.project != url.project:
            raise _forbidden()
        return principal

    def _invocation(
        self, request: Request, at: At, url: FunctionUrl, sender: Principal | None, body: bytes
    ) -> Invocation:
        headers, scope = request.headers, request.scope
        place = Place(region=at.region)
        told = HttpRequest(
            method=request.method,
            path=at.path,
            query=scope["query_string"].decode("latin-1"),
            headers=_told_headers(request),
            body=body,
            request_id=request.invocation_id,
            api_id=url.url_id,
            domain=headers.get(b"host", b"").decode("latin-1"),
            source_ip=_client_of(request),
            time_unix_ms=self._clock.unix_ms(),
            protocol=f"HTTP/{scope.get('http_version', '1.1')}",
            account="anonymous" if sender is None else place.account,
            authorizer=None if sender is None else _authorizer(sender, place),
            stage=at.stage or "$default",
        )
        payload = PayloadFormat.V1 if at.stage else PayloadFormat.V2
        return invocation_of(
            request,
            self._routes,
            project=url.project,
            name=url.name,
            alias=url.alias or OWN,
            body=event_of(told, payload),
            arrived_s=self._clock.now_s(),
            called=Called(place.function_arn(url.name, url.alias), "" if url.alias else LATEST),
        )

    async def _run(
        self, request: Request, at: At, url: FunctionUrl, invocation: Invocation, allowed: list[Header]
    ) -> Reply | None:
        failed = REST_FAILED if at.stage else FAILED
        told: list[Header] = [
            *request_id(invocation.id),
            (XRAY, _xray(invocation)),
            (b"traceresponse", parent_from(invocation.id, invocation.trace).encode()),
            *allowed,
        ]
        stream = UrlStream(request, told)
        streams = stream if url.invoke_mode == STREAMS and not at.stage else None
        async with stream.companions:
            try:
                outcome = await self._invoker.invoke(invocation, client=request.client, streams=streams)
            except (UserFault, StillLoading):
                return Reply(failed.status, [*failed.headers, *told], failed.body)
            if not stream.is_used:
                return self._whole(outcome, told, invocation.id, failed)
            if await stream.finish(outcome):
                return None
        return Reply(failed.status, [*failed.headers, *told], failed.body)

    def _whole(self, outcome: Outcome, told: list[Header], invocation_id: str, failed: Reply) -> Reply:
        told = [
            *told,
            *(one for one in outcome_headers(invocation_id, outcome) if one[0] != b"traceresponse"),
        ]
        try:
            if outcome.status is not Status.OK or len(outcome.body) > self._limits.response_bytes_max:
                raise Unanswerable("it failed, or its answer is too large")
            if failed is REST_FAILED and not says_status(outcome.body):
                raise Unanswerable("a REST API takes nothing but a response with its status")
            answer = answer_of(outcome.body, outcome.content_type)
        except Unanswerable:
            return Reply(failed.status, [*failed.headers, *told], failed.body)
        given = [(name.encode(), value.encode("utf-8", "replace")) for name, value in answer.headers]
        return Reply(answer.status, [*given, *told], answer.body)

    def _cors(self, request: Request, url: FunctionUrl) -> list[Header]:
        if url.cors is None:
            return []
        origin = request.headers.get(b"origin", b"").decode("latin-1")
        asks = cors.is_preflight(request.method, request.headers)
        found = cors.headers_for(url.cors, origin, preflight=asks)
        return [(name.encode(), value.encode("latin-1")) for name, value in found]


def at_of(request: Request) -> At:
    """Which URL is meant. The path is as it was sent, without what is ours."""
    raw: str = (request.scope.get("raw_path") or request.path.encode()).decode("latin-1")
    if request.path.startswith(PREFIX):
        url_id, _, rest = raw[len(PREFIX) :].partition("/")
        return At(url_id, f"/{rest}")
    if api := REST.fullmatch(raw):
        return At(api[1], api[3] or "/", stage=api[2])
    match = HOST.match(request.headers.get(b"host", b""))
    return At(match[1].decode(), raw, match[2].decode()) if match else At("", raw)


def _told_headers(request: Request) -> list[tuple[str, str]]:
    """The request's own, and those that a front of AWS's adds."""
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.scope["headers"]
        if name not in OF_CONNECTION
    ]
    sent = request.headers
    scheme = request.scope.get("scheme") or "http"
    _, _, port = sent.get(b"host", b"").decode("latin-1").rpartition(":")
    trace_id = request.invocation_id.replace("-", "")
    added = {
        "x-amzn-trace-id": f"Root=1-{trace_id[:8]}-{trace_id[8:]}",
        "x-forwarded-for": _client_of(request),
        "x-forwarded-port": port if port.isdecimal() else ("443" if scheme == "https" else "80"),
        "x-forwarded-proto": scheme,
    }
    return headers + [pair for pair in added.items() if pair[0].encode() not in sent]


def _client_of(request: Request) -> str:
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def _xray(invocation: Invocation) -> bytes:
    if invocation.trace is not None and invocation.trace.xray:
        return invocation.trace.xray.encode("latin-1")
    trace_id = invocation.id.replace("-", "")
    return f"Root=1-{trace_id[:8]}-{trace_id[8:]}".encode()


def _authorizer(sender: Principal, place: Place) -> Mapping[str, object]:
    caller = sender.key_id
    return {
        "iam": {
            "accessKey": caller,
            "accountId": place.account,
            "callerId": caller,
            "cognitoIdentity": None,
            "principalOrgId": None,
            "userArn": f"arn:aws:iam::{place.account}:user/{caller}",
            "userId": caller,
        }
    }


def _forbidden() -> Fault:
    return Fault("AccessDeniedException", 403, "Forbidden", key="Message", extra={})


def _worded(error: LambentError) -> tuple[int, str, str | None]:
    """Status, type and text of a refusal."""
    match error:
        case Fault():
            return error.http_status, error.kind, error.message or None
        case PayloadTooLarge():
            return 413, "RequestTooLargeException", "Request Entity Too Large"
        case QueueFull():
            return 429, "TooManyRequestsException", "Rate Exceeded."
    return error.status, "ServiceException" if error.status >= 500 else type(error).__name__, error.message
