"""The way in for AWS's clients: which service, which operation, who is the sender; faults in AWS's words.

A caller proves itself by a signature or by a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.core.errors import LambentError, NotFound, PayloadTooLarge
from lambent.core.invocation import new_id
from lambent.gateway.bodies import ANYBODY, Bodies
from lambent.gateway.protocols.aws.asked import Asked
from lambent.gateway.protocols.aws.sender import Senders
from lambent.gateway.protocols.aws.services import TARGET, Found, Service
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, headers_of
from lambent.wire.aws.faults import fault_of, too_large

KNOWN_MAX: Final = 1000
PATH_BYTES_MAX: Final = 512  # of one that is remembered: who sends it has proved nothing yet


class Target(msgspec.Struct, frozen=True):
    """What a request asks for, and of which service."""

    service: Service
    found: Found


class AwsDoor:
    """Everything that AWS's clients send, whichever service they mean."""

    def __init__(self, *, services: Sequence[Service], senders: Senders, bodies: Bodies) -> None:
        self._services: Final = tuple(services)
        self._senders: Final = senders
        self._bodies: Final = bodies
        self._known: Final[dict[tuple[str, bytes], Target]] = {}  # what was asked for lately, by its path

    def claims(self, request: Request) -> bool:
        """Whether one of the services is asked."""
        return self._known_to_be_asked(request) is not None or self._service(request) is not None

    async def answer(self, request: Request) -> Reply | None:
        """Do what the request says. Raises what the operations raise, and `Fault`."""
        request.invocation_id = new_id()
        target = self._known_to_be_asked(request) or self._find(request)
        found = target.found
        operation = found.operation
        async with self._bodies.hold(ANYBODY) as hold:
            try:
                body = await request.body(operation.request_bytes_max, hold)
            except PayloadTooLarge as error:
                raise too_large(operation.request_bytes_max, operation.name) from error
            sender = await self._senders.of(request, body, target.service.scope)
            hold.pass_to(sender.principal.project)
            asked = Asked(request, sender.principal, sender.place, found.labels, sender.body)
            return await operation.run(asked)

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """An error of ours in AWS's shape."""
        reply = self._claiming(request).refuse(request, fault_of(error))
        reply.headers.extend(header for header in headers_of(error) if header[0] == b"retry-after")
        return reply

    def _known_to_be_asked(self, request: Request) -> Target | None:
        # A service that is told by this header is told by it alone.
        if TARGET in request.headers:
            return None
        return self._known.get((request.method, request.scope["raw_path"]))

    def _find(self, request: Request) -> Target:
        service = self._claiming(request)
        target = Target(service, service.find(request))
        path: bytes = request.scope["raw_path"]
        if target.found.is_by_path and len(path) <= PATH_BYTES_MAX:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[request.method, path] = target
        return target

    def _claiming(self, request: Request) -> Service:
        service = self._service(request)
        if service is None:
            raise NotFound(f"no service of AWS's is at {request.path}")
        return service

    def _service(self, request: Request) -> Service | None:
        for service in self._services:
            if service.claims(request):
                return service
        return None
