"""Who sends a request of AWS's clients: known by a signature, by a key, or let in without either."""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.core.errors import Unauthenticated
from lambent.core.invocation import Principal, Role
from lambent.gateway.auth import Keys
from lambent.gateway.requests import Request
from lambent.wire.aws import chunked
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.names import Place
from lambent.wire.sigv4 import (
    ALGORITHM,
    CONTENT_HASH,
    AwsAuth,
    Flaw,
    Signature,
    SignatureRejected,
    SignedRequest,
)
from lambent.wire.sigv4_reader import Reader

ANYBODY_ID: Final = "anybody"  # in place of a key's id, where none is asked for
HERE: Final = Place()
MARK: Final = ALGORITHM.encode()


class Sender(msgspec.Struct, frozen=True):
    """A sender, where it believes to be, and the body that it meant: out of its chunks."""

    principal: Principal
    place: Place
    body: bytes


class Senders:
    """Finds out who sends."""

    def __init__(self, keys: Keys, *, auth: AwsAuth = AwsAuth.VERIFY, project: str = "default") -> None:
        """`project` is that of those who are let in without a key."""
        self._keys: Final = keys
        self._reader: Final = Reader()
        self._auth: Final = auth
        self._anybody: Final = Principal(project, ANYBODY_ID, Role.ADMIN)

    async def of(self, request: Request, body: bytes, service: str) -> Sender:
        """The sender of a request to `service`. Raises `Fault` in AWS's words."""
        if not _may_be_signed(request):
            return Sender(await self._bearer(request), HERE, body)
        scope = request.scope
        signed = SignedRequest(
            method=request.method,
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=scope["headers"],
            body=body,
        )
        signature = None
        try:
            signature = self._reader.read(signed)
            if signature is None:
                return Sender(await self._bearer(request), HERE, body)
            return await self._signer(signed, signature, service)
        except SignatureRejected as error:
            if self._auth is AwsAuth.NONE:
                return self._let_in(signed, signature)
            kind = "IncompleteSignature" if error.flaw is Flaw.INCOMPLETE else "InvalidSignature"
            raise Fault(kind + "Exception", 403, error.message, extra={}) from error

    async def _signer(self, signed: SignedRequest, signature: Signature, service: str) -> Sender:
        try:
            principal = await self._keys.authenticate_signed(signed, signature)
        except SignatureRejected:
            raise
        except Unauthenticated:
            if self._auth is AwsAuth.NONE:
                return self._let_in(signed, signature)
            raise
        if signature.claim.service != service and self._auth is AwsAuth.VERIFY:
            text = f"Credential should be scoped to correct service: '{service}'. "
            raise Fault("InvalidSignatureException", 403, text, extra={})
        if CONTENT_HASH in signature.claim.places:
            chunked.check_signed(signed, service)
        body = signed.body
        if CONTENT_HASH in signature.claim.places and chunked.is_chunked(signed):
            body = await self._keys.unchunked(signed, signature)
        return Sender(principal, Place(region=signature.claim.region, is_theirs=True), body)

    def _let_in(self, signed: SignedRequest, signature: Signature | None) -> Sender:
        if signature is None:
            return Sender(self._anybody, HERE, signed.body)
        body = signed.body
        if chunked.is_chunked(signed):
            body = chunked.decoded(signed, signature, None)
        return Sender(self._anybody, Place(region=signature.claim.region, is_theirs=True), body)

    async def _bearer(self, request: Request) -> Principal:
        if not (request.headers.get(b"authorization") or request.headers.get(b"x-api-key")):
            if self._auth is AwsAuth.NONE:
                return self._anybody
            raise Fault("MissingAuthenticationTokenException", 403, "Missing Authentication Token", extra={})
        try:
            return await self._keys.authenticate(request.headers)
        except Unauthenticated as error:
            if self._auth is AwsAuth.NONE:
                return self._anybody
            text = "The security token included in the request is invalid."
            raise Fault("UnrecognizedClientException", 403, text, extra={}) from error


def _may_be_signed(request: Request) -> bool:
    """Whether it is worth the while to look for a signature: of two headers of a name the first is meant."""
    return (
        request.headers.get(b"authorization", b"").startswith(MARK)
        or len(request.headers) != len(request.scope["headers"])
        or bool(request.scope["query_string"])
    )
