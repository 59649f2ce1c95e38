"""SageMaker's asynchronous inference: accepted once it is on disk, its outcome fetched from a URL of ours.

Where AWS writes to a bucket, a location is one of this server: it answers 404 until there is something, as
a bucket does, and wants a key or a signature. An input comes with the request: there is no bucket to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.core.errors import NotFound
from lambent.core.invocation import JSON, Called, FunctionError, Role
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.deadline import check_none
from lambent.gateway.protocols.aws.asked import Asked, Operation, json_of, request_id
from lambent.gateway.protocols.aws.endpoints import Limits, content_type_of, endpoint_of, invocation_of
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, type_header
from lambent.pool.routes import Routes
from lambent.storage.tickets import OPEN, Ticket, TicketState
from lambent.wire.aws import sagemaker
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.sagemaker_control import Kind, arn_of

INPUT: Final = sagemaker.PREFIX + b"inputlocation"
KEY_CHARACTERS_MAX: Final = 100
OUTPUTS: Final = "async-outputs"
FAILURES: Final = "async-failures"


class EndpointsLater:
    """`InvokeEndpointAsync`, and the locations that it tells."""

    def __init__(self, *, acceptance: Acceptance, routes: Routes, limits: Limits | None = None) -> None:
        self._acceptance: Final = acceptance
        self._routes: Final = routes
        self._limits: Final = limits or Limits()

    def operations(self) -> Iterator[tuple[str, str, Operation]]:
        """By method and path."""
        bytes_max = self._limits.later_bytes_max
        accept = Operation(name="InvokeEndpointAsync", run=self._accept, request_bytes_max=bytes_max)
        yield "POST", "/endpoints/{EndpointName}/async-invocations", accept
        for folder, run in ((OUTPUTS, self._output), (FAILURES, self._failure)):
            yield "GET", f"/endpoints/{{EndpointName}}/{folder}/{{Id}}", Operation(name="GetObject", run=run)

    async def _accept(self, asked: Asked) -> Reply:
        route = endpoint_of(self._routes, asked)
        headers = asked.request.headers
        sagemaker.check_bounds(headers)
        if location := asked.header(INPUT):
            raise sagemaker.invalid(
                f"InputLocation {location} cannot be read: no object store is connected to this server. "
                "Send the input as the request's Body"
            )
        if not asked.body:
            raise sagemaker.invalid("Either InputLocation or Body must be provided.")
        check_none(headers)
        invocation = invocation_of(
            asked,
            self._routes,
            route,
            accept=sagemaker.ACCEPT_LATER,
            content_type=content_type_of(headers.get(sagemaker.TYPE_LATER), asked.body),
        )
        arn = arn_of(asked.place, Kind.ENDPOINT, route.name)
        invocation = msgspec.structs.replace(invocation, called=Called(arn, ""))
        ticket = await self._acceptance.accept(invocation, key=asked.header(b"amz-sdk-invocation-id"))
        asked.request.invocation_id = ticket.id
        reply = json_of(asked, {"InferenceId": asked.header(sagemaker.INFERENCE_ID) or ticket.id}, status=202)
        for header, folder in ((b"outputlocation", OUTPUTS), (b"failurelocation", FAILURES)):
            location = f"{_url(asked.request)}/endpoints/{route.name}/{folder}/{ticket.id}"
            reply.headers.append((sagemaker.PREFIX + header, location.encode()))
        return reply

    async def _output(self, asked: Asked) -> Reply:
        ticket = await self._ticket(asked)
        if ticket.state is not TicketState.SUCCEEDED or ticket.error:
            raise _nothing_there(ticket)
        headers = [type_header(ticket.result_type), *request_id(asked.request.invocation_id)]
        return Reply(200, headers, ticket.result)

    async def _failure(self, asked: Asked) -> Reply:
        ticket = await self._ticket(asked)
        if ticket.state in OPEN or (ticket.state is TicketState.SUCCEEDED and not ticket.error):
            raise _nothing_there(ticket)
        body, kind = ticket.result, ticket.result_type
        if not body:
            said = ticket.error or f"it is {ticket.state}"
            what = "Lambent.ResultNotKept" if ticket.state is TicketState.SUCCEEDED else "Lambent.NotRun"
            body, kind = msgspec.json.encode(FunctionError(said, what, ticket.id)), JSON
        return Reply(200, [type_header(kind), *request_id(asked.request.invocation_id)], body)

    async def _ticket(self, asked: Asked) -> Ticket:
        asked.principal.require(Role.READ)
        name, ticket_id = asked.labels
        try:
            ticket = await self._acceptance.find(asked.principal.project, ticket_id)
        except NotFound:
            ticket = None
        if ticket is None or ticket.deployment != name:
            raise _no_key(f"there is no asynchronous invocation {ticket_id[:KEY_CHARACTERS_MAX]!r} of it")
        return ticket


def _nothing_there(ticket: Ticket) -> Fault:
    return _no_key(f"the invocation is {ticket.state}")


def _no_key(why: str) -> Fault:
    """In the words of the bucket that AWS would have written to."""
    return Fault("NoSuchKey", 404, f"The specified key does not exist: {why}.", key="Message", extra={})


def _url(request: Request) -> str:
    """This server, as the client found it."""
    host = request.headers.get(b"host", b"").decode("latin-1")
    return f"{request.scope.get('scheme') or 'http'}://{host}"
