"""AWS Lambda's door: what its SDKs call, answered so that they cannot tell the difference.

Invoke in its three types, and reading what is deployed. A caller proves itself by a signature or by a key.
"""

from __future__ import annotations

import base64
import binascii
import platform
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError, LoadFailed, PayloadTooLarge, Unauthenticated, UserFault
from lambent.core.invocation import (
    FunctionError,
    Invocation,
    Outcome,
    Principal,
    PrintTail,
    Role,
    Status,
    new_id,
)
from lambent.core.routing import OWN
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.address import sticky_of
from lambent.gateway.auth import Keys
from lambent.gateway.bodies import ANYBODY, Bodies, Hold
from lambent.gateway.deadline import check_none, deadline_of
from lambent.gateway.once import Once, size_of
from lambent.gateway.protocols import Invoker
from lambent.gateway.requests import Request, check_json
from lambent.gateway.responses import JSON_HEADER, Header, Reply, headers_of, outcome_headers, type_header
from lambent.gateway.tracing import XRAY, trace_of
from lambent.pool.routes import Route, Routes
from lambent.wire import aws_lambda, sigv4
from lambent.wire.aws_lambda import LATEST, Fault, FunctionConfiguration, FunctionName, Place
from lambent.wire.typed import from_json

PATH: Final = re.compile(r"/20\d\d-\d\d-\d\d/")
SERVICE: Final = "lambda"
PAGE_MAX: Final = 50
UNHANDLED: Final[Header] = (b"x-amz-function-error", b"Unhandled")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """AWS's own limits of payloads: of a request, of its answer, and of an asynchronous request."""

    request_bytes_max: int = 6_291_456
    response_bytes_max: int = 6_291_556
    event_bytes_max: int = 1_048_576


class Asked(msgspec.Struct, frozen=True):
    """A request whose sender is known. `segments` are the decoded parts of the path after the date."""

    request: Request
    principal: Principal
    place: Place
    segments: Sequence[str]
    body: bytes

    def header(self, name: bytes) -> str:
        """A header's value, empty where there is none."""
        return self.request.headers.get(name, b"").decode("latin-1")


class Answered(msgspec.Struct, frozen=True):
    """An outcome and the request id that it was made under."""

    invocation_id: str
    outcome: Outcome


Operation = Callable[[Asked], Awaitable[Reply]]


class AwsLambdaDoor:
    """`/2015-03-31/functions/...`."""

    def __init__(
        self,
        *,
        invoker: Invoker,
        acceptance: Acceptance,
        routes: Routes,
        keys: Keys,
        clock: Clock,
        bodies: Bodies,
        limits: Limits | None = None,
    ) -> None:
        self._invoker: Final = invoker
        self._acceptance: Final = acceptance
        self._routes: Final = routes
        self._keys: Final = keys
        self._clock: Final = clock
        self._bodies: Final = bodies
        self._limits: Final = limits or Limits()
        self._once: Final = Once[Answered](clock, size_bytes=lambda answered: size_of(answered.outcome))
        self._operations: Final[Mapping[tuple[str, ...], Operation]] = {
            ("POST", "functions", "*", "invocations"): self._invoke,
            ("GET", "functions"): self._list,
            ("GET", "functions", "*"): self._get,
            ("GET", "functions", "*", "configuration"): self._get_configuration,
        }

    async def answer(self, request: Request) -> Reply:
        """Do what the path and the method say. Raises what the dispatcher raises, and `Fault`."""
        request.invocation_id = new_id()
        raw_path = request.scope["raw_path"].decode("latin-1")
        segments = [unquote(part) for part in raw_path.split("/")[2:] if part]
        shape = (request.method, *(part if at != 1 else "*" for at, part in enumerate(segments)))
        operation = self._operations.get(shape)
        async with self._bodies.hold(ANYBODY) as hold:
            body = await self._body(request, hold)
            principal, place = await self._sender(request, body)
            hold.pass_to(principal.project)
            return await self._operate(operation, Asked(request, principal, place, segments, body))

    async def _operate(self, operation: Operation | None, asked: Asked) -> Reply:
        if operation is None:
            request = asked.request
            text = f"{request.method} {request.path} is not supported here; deploy with `lambent deploy`"
            raise Fault("UnknownOperationException", 501, text)
        return await operation(asked)

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """An error of ours in AWS's shape."""
        fault = aws_lambda.fault_of(error)
        headers = [
            JSON_HEADER,
            (b"x-amzn-errortype", fault.kind.encode()),
            *_request_id(request.invocation_id),
            *(header for header in headers_of(error) if header[0] == b"retry-after"),
        ]
        return Reply(fault.http_status, headers, fault.body())

    async def _body(self, request: Request, hold: Hold) -> bytes:
        try:
            return await request.body(self._limits.request_bytes_max, hold)
        except PayloadTooLarge as error:
            raise aws_lambda.too_large(self._limits.request_bytes_max) from error

    async def _sender(self, request: Request, body: bytes) -> tuple[Principal, Place]:
        scope = request.scope
        signed = sigv4.SignedRequest(
            method=request.method,
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=scope["headers"],
            body=body,
        )
        try:
            signature = sigv4.read(signed)
            if signature is None:
                return await self._bearer(request), Place()
            principal = await self._keys.authenticate_signed(signed, signature)
        except sigv4.SignatureRejected as error:
            kind = "IncompleteSignature" if error.flaw is sigv4.Flaw.INCOMPLETE else "InvalidSignature"
            raise Fault(kind + "Exception", 403, error.message, extra={}) from error
        if signature.service != SERVICE:
            text = f"Credential should be scoped to correct service: '{SERVICE}'. "
            raise Fault("InvalidSignatureException", 403, text, extra={})
        return principal, Place(region=signature.region)

    async def _bearer(self, request: Request) -> Principal:
        if not (request.headers.get(b"authorization") or request.headers.get(b"x-api-key")):
            text = "Missing Authentication Token"
            raise Fault("MissingAuthenticationTokenException", 403, text, extra={})
        try:
            return await self._keys.authenticate(request.headers)
        except Unauthenticated as error:
            text = "The security token included in the request is invalid."
            raise Fault("UnrecognizedClientException", 403, text, extra={}) from error

    async def _invoke(self, asked: Asked) -> Reply:
        asked.principal.require(Role.INVOKE)
        function = aws_lambda.read_name(asked.segments[1], asked.request.query.get("Qualifier", ""))
        self._route(asked, function)
        match asked.header(b"x-amz-invocation-type") or "RequestResponse":
            case "RequestResponse":
                return await self._run(asked, function)
            case "Event":
                return await self._accept(asked, function)
            case "DryRun":
                return Reply(204, [*_request_id(asked.request.invocation_id)])
            case other:
                allowed = "Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
                raise aws_lambda.invalid("invocationType", other, allowed)

    async def _run(self, asked: Asked, function: FunctionName) -> Reply:
        deadline_s = deadline_of(asked.request.headers, self._clock.now_s())
        invocation = _invocation(asked, function, self._routes, deadline_s=deadline_s)
        try:
            answered = await self._run_once(asked, invocation)
        except UserFault as error:
            return _not_run(asked, error)
        asked.request.invocation_id = answered.invocation_id
        return self._outcome(asked, function, answered)

    async def _run_once(self, asked: Asked, invocation: Invocation) -> Answered:
        # The SDKs send a slow call again, under the same id. As on AWS, nobody watches whether the client is
        # still there: it comes back for the answer.
        async def work() -> Answered:
            return Answered(invocation.id, await self._invoker.invoke(invocation))

        attempt_of = asked.header(b"amz-sdk-invocation-id")
        if not attempt_of:
            return await work()
        return await self._once.run((invocation.project, invocation.deployment, attempt_of), work)

    async def _accept(self, asked: Asked, function: FunctionName) -> Reply:
        if len(asked.body) > self._limits.event_bytes_max:
            raise aws_lambda.too_large(self._limits.event_bytes_max)
        check_none(asked.request.headers)
        ticket = await self._acceptance.accept(
            _invocation(asked, function, self._routes), key=asked.header(b"amz-sdk-invocation-id")
        )
        return Reply(202, [*_request_id(ticket.id), (b"x-amz-executed-version", _version(function))])

    def _outcome(self, asked: Asked, function: FunctionName, answered: Answered) -> Reply:
        outcome, request_id = answered.outcome, answered.invocation_id
        version = self._executed(function, outcome)
        headers = [
            *_request_id(request_id),
            (b"x-amz-executed-version", version),
            *outcome_headers(request_id, outcome),
        ]
        if outcome.trace is not None and outcome.trace.xray:
            headers.append((XRAY, outcome.trace.xray.encode("latin-1")))
        if asked.header(b"x-amz-log-type") == "Tail":
            log = aws_lambda.log_result(request_id, version.decode(), outcome)
            headers.append((b"x-amz-log-result", log.encode()))
        error = outcome.error
        if outcome.status is Status.OK and len(outcome.body) > self._limits.response_bytes_max:
            error = aws_lambda.response_too_large(self._limits.response_bytes_max)
        if error is None:
            return Reply(200, [type_header(outcome.content_type), *headers], outcome.body)
        status = Status.FAILED if outcome.status is Status.OK else outcome.status
        body = aws_lambda.error_payload(request_id, status, error)
        return Reply(200, [JSON_HEADER, UNHANDLED, *headers], body)

    async def _list(self, asked: Asked) -> Reply:
        asked.principal.require(Role.READ)
        query = asked.request.query
        most = query.get("MaxItems", "")
        size = min(PAGE_MAX, int(most)) if most.isdecimal() and 0 < len(most) < 6 else PAGE_MAX
        routes = sorted(
            (
                route
                for route in self._routes.all()
                if route.project == asked.principal.project
                and route.invocable
                and route.name > query.get("Marker", "")
            ),
            key=lambda route: route.name,
        )
        page: dict[str, object] = {
            "Functions": [_configuration(asked, route, LATEST) for route in routes[:size]]
        }
        if len(routes) > size:
            page["NextMarker"] = routes[size - 1].name
        return _json(asked, page)

    async def _get(self, asked: Asked) -> Reply:
        configuration = self._described(asked)
        code = {"RepositoryType": "S3", "Location": ""}
        return _json(asked, {"Configuration": configuration, "Code": code, "Tags": {}})

    async def _get_configuration(self, asked: Asked) -> Reply:
        return _json(asked, self._described(asked))

    def _described(self, asked: Asked) -> FunctionConfiguration:
        asked.principal.require(Role.READ)
        function = aws_lambda.read_name(asked.segments[1], asked.request.query.get("Qualifier", ""))
        return _configuration(asked, self._route(asked, function), function.qualifier or LATEST)

    def _route(self, asked: Asked, function: FunctionName) -> Route:
        """The route that a name stands for. Of the numbered versions only the active one answers.

        Where an alias is split, that is one of two.
        """
        arn = asked.place.function_arn(function.name, function.qualifier)
        if self._routes.get(asked.principal.project, function.name) is None:
            raise aws_lambda.not_found(arn)
        route = self._routes.invocable(asked.principal.project, function.name)
        if function.qualifier in ("", LATEST, str(route.plan.number)):
            return route
        if self._routes.split(route.project, route.name, function.qualifier) is None:
            raise aws_lambda.not_found(arn)
        return self._routes.target(route.project, route.name, alias=function.qualifier, key="")

    def _executed(self, function: FunctionName, outcome: Outcome) -> bytes:
        """As on AWS: which version an alias stood for, else what was asked for."""
        ran = self._routes.of_revision(outcome.revision) if _alias(function) else None
        return str(ran.plan.number).encode() if ran else _version(function)


def _invocation(
    asked: Asked, function: FunctionName, routes: Routes, *, deadline_s: float | None = None
) -> Invocation:
    """Raises `Fault` for a payload that is not JSON, and for a client context that is none."""
    if asked.body:
        try:
            check_json(asked.body)
        except msgspec.DecodeError as error:
            raise aws_lambda.unparsable(str(error)) from error
    project, alias = asked.principal.project, _alias(function)
    return Invocation(
        id=asked.request.invocation_id,
        project=project,
        deployment=function.name,
        body=asked.body,
        alias=alias,
        sticky=sticky_of(asked.request.headers, routes, project, function.name, alias),
        client_context=_client_context(asked.header(b"x-amz-client-context")),
        print_tail=PrintTail.KEPT if asked.header(b"x-amz-log-type") == "Tail" else PrintTail.DROPPED,
        deadline_s=deadline_s,
        trace=trace_of(asked.request.headers, asked.request.scope["headers"]),
    )


def _client_context(header: str) -> str:
    if not header:
        return ""
    try:
        text = base64.b64decode(header, validate=True)
        from_json(text, dict[str, msgspec.Raw])
        return text.decode()
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        said = "Client context must be a valid Base64-encoded JSON object."
        raise Fault("InvalidRequestContentException", 400, said) from error


def _not_run(asked: Asked, error: UserFault) -> Reply:
    """Code that cannot be loaded is the function's error, and an ordinary answer, as on AWS."""
    kind = error.kind if isinstance(error, LoadFailed) and error.kind else type(error).__name__
    trace = error.trace if isinstance(error, LoadFailed) else ()
    body = msgspec.json.encode(FunctionError(error.message, kind, "", trace))
    return Reply(200, [JSON_HEADER, UNHANDLED, *_request_id(asked.request.invocation_id)], body)


def _configuration(asked: Asked, route: Route, version: str) -> FunctionConfiguration:
    major, minor, _ = platform.python_version_tuple()
    return aws_lambda.configuration(
        route.spec,
        place=asked.place,
        revision=route.plan.revision,
        version=version,
        modified_unix_ms=route.created_unix_ms,
        runtime=f"python{major}.{minor}",
    )


def _json(asked: Asked, value: object) -> Reply:
    headers = [JSON_HEADER, *_request_id(asked.request.invocation_id)]
    return Reply(200, headers, msgspec.json.encode(value))


def _request_id(invocation_id: str) -> list[Header]:
    return [(b"x-amzn-requestid", invocation_id.encode())]


def _alias(function: FunctionName) -> str:
    is_version = function.qualifier == LATEST or function.qualifier.isdecimal()
    return OWN if is_version else function.qualifier


def _version(function: FunctionName) -> bytes:
    return (function.qualifier or LATEST).encode()
