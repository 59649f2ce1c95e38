"""The way in for AWS's clients: which service, which operation, who is the sender; faults in AWS's words.

A caller proves itself by a signature or by a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.core.errors import LambentError, PayloadTooLarge, Unauthenticated
from lambent.core.invocation import Principal, new_id
from lambent.gateway.auth import Keys
from lambent.gateway.bodies import ANYBODY, Bodies, Hold
from lambent.gateway.protocols.aws.asked import Asked, Operation
from lambent.gateway.protocols.aws.services import Service
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, headers_of
from lambent.wire import sigv4
from lambent.wire.aws.faults import Fault, fault_of, too_large
from lambent.wire.aws.names import Place


class AwsDoor:
    """Everything that AWS's clients send, whichever service they mean."""

    def __init__(self, *, services: Sequence[Service], keys: Keys, bodies: Bodies) -> None:
        self._services: Final = services
        self._keys: Final = keys
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
            body = await self._body(request, operation, hold)
            principal, place = await self._sender(request, body, service)
            hold.pass_to(principal.project)
            return await operation.run(Asked(request, principal, place, found.labels, body))

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """An error of ours in AWS's shape."""
        reply = self._service(request).refuse(request, fault_of(error))
        reply.headers.extend(header for header in headers_of(error) if header[0] == b"retry-after")
        return reply

    def _service(self, request: Request) -> Service:
        return next(service for service in self._services if service.claims(request))

    async def _body(self, request: Request, operation: Operation, hold: Hold) -> bytes:
        try:
            return await request.body(operation.request_bytes_max, hold)
        except PayloadTooLarge as error:
            raise too_large(operation.request_bytes_max, operation.name) from error

    async def _sender(self, request: Request, body: bytes, service: Service) -> tuple[Principal, Place]:
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
        if signature.service != service.scope:
            text = f"Credential should be scoped to correct service: '{service.scope}'. "
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
