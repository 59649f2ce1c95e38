"""Invoke and InvokeAsync: a function is run now, later or not at all, and answers as on AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import StillLoading, UserFault
from lambent.core.invocation import FunctionError, Invocation, PrintTail, Role, Status
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.deadline import check_none, deadline_of
from lambent.gateway.protocols import Invoker
from lambent.gateway.protocols.aws.asked import Asked, Operation, request_id
from lambent.gateway.protocols.aws.attempts import Answered, Attempts
from lambent.gateway.protocols.aws.calls import executed, invocation_of, not_loaded
from lambent.gateway.protocols.aws.naming import Named, Naming
from lambent.gateway.responses import JSON_HEADER, Header, Reply, outcome_headers, type_header
from lambent.gateway.tracing import XRAY
from lambent.pool.routes import Routes
from lambent.storage.tickets import Ticket
from lambent.wire.aws import faults, invoking
from lambent.wire.aws.names import LATEST

TYPE: Final = b"x-amz-invocation-type"
REQUEST_RESPONSE: Final = b"RequestResponse"
UNHANDLED: Final[Header] = (b"x-amz-function-error", b"Unhandled")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """AWS's own limits of payloads: of a request, its answer, an asynchronous request, a stream."""

    request_bytes_max: int = 6_291_456
    response_bytes_max: int = 6_291_556
    event_bytes_max: int = 1_048_576
    stream_bytes_max: int = 200 * 1024 * 1024


# How a program ends that ends while it is loaded, which names the request in its message.
EXITS: Final = frozenset({"Runtime.ExitError"})


class Invoke:
    """Invoke, in its three types, and its ancestor."""

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
        self._naming: Final = Naming(routes)
        self._attempts: Final = Attempts(clock)

    def operations(self) -> Iterator[tuple[str, str, Operation]]:
        """By method and path."""
        bytes_max = self._limits.request_bytes_max
        invoke = Operation(name="InvokeFunction", run=self._invoke, request_bytes_max=bytes_max)
        yield "POST", "/2015-03-31/functions/{FunctionName}/invocations", invoke
        later = Operation(
            name="InvokeAsync", run=self._invoke_async, request_bytes_max=self._limits.event_bytes_max
        )
        yield "POST", "/2014-11-13/functions/{FunctionName}/invoke-async", later

    async def _invoke(self, asked: Asked) -> Reply:
        asked.principal.require(Role.INVOKE)
        named = self._naming.named(asked)
        match asked.request.headers.get(TYPE) or REQUEST_RESPONSE:
            case b"RequestResponse":
                return await self._run(asked, named)
            case b"Event":
                ticket = await self._accept(asked, named)
                return Reply(202, [*request_id(ticket.id)])
            case b"DryRun":
                return Reply(204, [*request_id(asked.request.invocation_id)])
            case other:
                allowed = "Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
                raise faults.invalid("invocationType", other.decode("latin-1"), allowed)

    async def _invoke_async(self, asked: Asked) -> Reply:
        asked.principal.require(Role.INVOKE)
        ticket = await self._accept(asked, self._naming.named(asked))
        return Reply(202, [*request_id(ticket.id)])

    async def _run(self, asked: Asked, named: Named) -> Reply:
        deadline_s = deadline_of(asked.request.headers, self._clock.now_s())
        invocation = invocation_of(asked, named, self._routes, deadline_s=deadline_s)
        try:
            answered = await self._attempts.run(asked, invocation, self._invoker.invoke)
        except (UserFault, StillLoading) as error:
            return _not_loaded(invocation, named, not_loaded(error))
        asked.request.invocation_id = answered.invocation_id
        return self._outcome(invocation, named, answered)

    async def _accept(self, asked: Asked, named: Named) -> Ticket:
        if len(asked.body) > self._limits.event_bytes_max:
            raise faults.too_large(self._limits.event_bytes_max)
        check_none(asked.request.headers)
        invocation = invocation_of(asked, named, self._routes)
        return await self._acceptance.accept(invocation, key=asked.header(b"amz-sdk-invocation-id"))

    def _outcome(self, invocation: Invocation, named: Named, answered: Answered) -> Reply:
        outcome, told = answered.outcome, answered.invocation_id
        version = executed(self._routes, named, outcome)
        headers = [
            *request_id(told),
            (b"x-amz-executed-version", version.encode()),
            *outcome_headers(told, outcome),
        ]
        if outcome.trace is not None and outcome.trace.xray:
            headers.append((XRAY, outcome.trace.xray.encode("latin-1")))
        if invocation.print_tail is PrintTail.KEPT:
            log = invoking.log_result(told, version, outcome, now_unix_ms=self._clock.unix_ms())
            headers.append((b"x-amz-log-result", log.encode()))
        if outcome.status is Status.OK and len(outcome.body) > self._limits.response_bytes_max:
            too_large = invoking.response_too_large(self._limits.response_bytes_max)
            return Reply(200, [JSON_HEADER, UNHANDLED, *headers], invoking.without_request(too_large))
        if outcome.error is None:
            return Reply(200, [type_header(outcome.content_type), *headers], outcome.body)
        body = invoking.as_reported(outcome) or invoking.error_payload(told, outcome.status, outcome.error)
        return Reply(200, [JSON_HEADER, UNHANDLED, *headers], body)


def _not_loaded(invocation: Invocation, named: Named, error: FunctionError) -> Reply:
    """Code that could not be loaded did not run: its log is what loading it came to."""
    told = invocation.id
    version = named.function.qualifier or LATEST
    headers = [JSON_HEADER, UNHANDLED, *request_id(told), (b"x-amz-executed-version", version.encode())]
    if invocation.print_tail is PrintTail.KEPT:
        log = invoking.log_of_failed_load(told, version, error)
        headers.append((b"x-amz-log-result", log.encode()))
    status = Status.EXITED if error.error_type in EXITS else Status.FAILED
    return Reply(200, headers, invoking.error_payload(told, status, error))
