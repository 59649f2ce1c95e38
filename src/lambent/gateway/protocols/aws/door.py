"""The way in for AWS's clients: which service, which operation, who is the sender; faults in AWS's words.

A caller proves itself by a signature or by a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.core.errors import LambentError, PayloadTooLarge
from lambent.core.invocation import new_id
from lambent.gateway.bodies import ANYBODY, Bodies
from lambent.gateway.protocols.aws.asked import Asked
from lambent.gateway.protocols.aws.sender import Senders
from lambent.gateway.protocols.aws.services import Service
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, headers_of
from lambent.wire.aws.faults import fault_of, too_large


class AwsDoor:
    """Everything that AWS's clients send, whichever service they mean."""

    def __init__(self, *, services: Sequence[Service], senders: Senders, bodies: Bodies) -> None:
        self._services: Final = services
        self._senders: Final = senders
        self._bodies: Final = bodies

    def claims(self, request: Request) -> bool:
        """Whether one of the services is asked."""
        return any(service.claims(request) for service in self._services)

    async def answer(self, request: Request) -> Reply | None:
        """Do what the request says. Raises what the operations raise, and `Fault`."""
        request.invocation_id = new_id()
        service = self._service(request)
        found = service.find(request)
        operation = found.operation
        async with self._bodies.hold(ANYBODY) as hold:
            try:
                body = await request.body(operation.request_bytes_max, hold)
            except PayloadTooLarge as error:
                raise too_large(operation.request_bytes_max, operation.name) from error
            sender = await self._senders.of(request, body, service.scope)
            hold.pass_to(sender.principal.project)
            asked = Asked(request, sender.principal, sender.place, found.labels, sender.body)
            return await operation.run(asked)

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """An error of ours in AWS's shape."""
        reply = self._service(request).refuse(request, fault_of(error))
        reply.headers.extend(header for header in headers_of(error) if header[0] == b"retry-after")
        return reply

    def _service(self, request: Request) -> Service:
        return next(service for service in self._services if service.claims(request))
