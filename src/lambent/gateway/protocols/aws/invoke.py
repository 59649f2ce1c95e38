"""Invoke: a function is run now, later or not at all, and answers as on AWS."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LoadFailed, UserFault
from lambent.core.invocation import Called, FunctionError, Invocation, Outcome, PrintTail, Role, Status
from lambent.core.routing import OWN
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.address import sticky_of
from lambent.gateway.deadline import check_none, deadline_of
from lambent.gateway.once import Once, size_of
from lambent.gateway.protocols import Invoker
from lambent.gateway.protocols.aws.asked import Asked, Operation, request_id
from lambent.gateway.protocols.aws.naming import route_of
from lambent.gateway.requests import check_json
from lambent.gateway.responses import JSON_HEADER, Header, Reply, outcome_headers, type_header
from lambent.gateway.tracing import XRAY, trace_of
from lambent.pool.routes import Routes
from lambent.wire.aws import faults, invoking
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.names import LATEST, FunctionName, read_name
from lambent.wire.typed import from_json

UNHANDLED: Final[Header] = (b"x-amz-function-error", b"Unhandled")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """AWS's own limits of payloads: of a request, of its answer, and of an asynchronous request."""

    request_bytes_max: int = 6_291_456
    response_bytes_max: int = 6_291_556
    event_bytes_max: int = 1_048_576


class Answered(msgspec.Struct, frozen=True):
    """An outcome and the request id that it was made under."""

    invocation_id: str
    outcome: Outcome


class Invoke:
    """Invoke, in its three types."""

    def __init__(
        self,
        *,
        invoker: Invoker,
        acceptance: Acceptance,
        routes: Routes,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._invoker: Final = invoker
        self._acceptance: Final = acceptance
        self._routes: Final = routes
        self._clock: Final = clock
        self._limits: Final = limits or Limits()
        self._once: Final = Once[Answered](clock, size_bytes=lambda answered: size_of(answered.outcome))

    def operations(self) -> Iterator[tuple[str, str, Operation]]:
        """By method and path."""
        invoke = Operation(
            name="InvokeFunction", run=self._invoke, request_bytes_max=self._limits.request_bytes_max
        )
        yield "POST", "/2015-03-31/functions/{FunctionName}/invocations", invoke

    async def _invoke(self, asked: Asked) -> Reply:
        asked.principal.require(Role.INVOKE)
        function = read_name(asked.labels[0], asked.request.query.get("Qualifier", ""))
        route_of(self._routes, asked, function)
        match asked.header(b"x-amz-invocation-type") or "RequestResponse":
            case "RequestResponse":
                return await self._run(asked, function)
            case "Event":
                return await self._accept(asked, function)
            case "DryRun":
                return Reply(204, [*request_id(asked.request.invocation_id)])
            case other:
                allowed = "Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
                raise faults.invalid("invocationType", other, allowed)

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
            raise faults.too_large(self._limits.event_bytes_max)
        check_none(asked.request.headers)
        ticket = await self._acceptance.accept(
            _invocation(asked, function, self._routes), key=asked.header(b"amz-sdk-invocation-id")
        )
        return Reply(202, [*request_id(ticket.id), (b"x-amz-executed-version", _version(function))])

    def _outcome(self, asked: Asked, function: FunctionName, answered: Answered) -> Reply:
        outcome, told = answered.outcome, answered.invocation_id
        version = self._executed(function, outcome)
        headers = [
            *request_id(told),
            (b"x-amz-executed-version", version),
            *outcome_headers(told, outcome),
        ]
        if outcome.trace is not None and outcome.trace.xray:
            headers.append((XRAY, outcome.trace.xray.encode("latin-1")))
        if asked.header(b"x-amz-log-type") == "Tail":
            now_unix_ms = self._clock.unix_ms()
            log = invoking.log_result(told, version.decode(), outcome, now_unix_ms=now_unix_ms)
            headers.append((b"x-amz-log-result", log.encode()))
        error = outcome.error
        if outcome.status is Status.OK and len(outcome.body) > self._limits.response_bytes_max:
            error = invoking.response_too_large(self._limits.response_bytes_max)
        if error is None:
            return Reply(200, [type_header(outcome.content_type), *headers], outcome.body)
        status = Status.FAILED if outcome.status is Status.OK else outcome.status
        body = invoking.error_payload(told, status, error)
        return Reply(200, [JSON_HEADER, UNHANDLED, *headers], body)

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
            raise faults.unparsable(str(error)) from error
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
        called=_called(asked, function),
    )


def _called(asked: Asked, function: FunctionName) -> Called:
    """The version that an alias stands for is told by who runs it."""
    arn = asked.place.function_arn(function.name, function.qualifier)
    qualifier = function.qualifier or LATEST
    is_version = qualifier == LATEST or qualifier.isdecimal()
    return Called(arn, qualifier if is_version else "")


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
    return Reply(200, [JSON_HEADER, UNHANDLED, *request_id(asked.request.invocation_id)], body)


def _alias(function: FunctionName) -> str:
    is_version = function.qualifier == LATEST or function.qualifier.isdecimal()
    return OWN if is_version else function.qualifier


def _version(function: FunctionName) -> bytes:
    return (function.qualifier or LATEST).encode()
