"""Bodies that AWS's clients send in chunks which say themselves whether they are whole: `aws-chunked`.

After the AWS documentation, "Signature calculations for the Authorization header: transferring payload in
multiple chunks". Each chunk carries a signature over itself and the one before it, or none; after the last
may come trailers with a checksum of the whole.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from lambent.wire.sigv4 import (
    STREAMING,
    UNSIGNED_PAYLOAD,
    Flaw,
    Signature,
    SignatureRejected,
    SignedRequest,
    claimed_hash,
    mismatch,
)

UNSIGNED_CHUNKS: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED_CHUNKS: Final = frozenset(
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
)
NOTHING_HASHED: Final = hashlib.sha256(b"").hexdigest()
TRAILERS_MAX: Final = 32
# Those that the standard library has; of others the length alone is checked.
CHECKSUMS: Final[Mapping[bytes, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        b"x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
        b"x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
        b"x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
    }
)


class Chunk(msgspec.Struct, frozen=True):
    """One chunk, its signature (empty where it has none), and where the next one begins."""

    payload: bytes
    digest: bytes
    end: int


def is_chunked(request: SignedRequest) -> bool:
    """Whether its body is in such chunks."""
    return claimed_hash(request).startswith(STREAMING)


def check_signed(request: SignedRequest, service: str) -> None:
    """Raise `SignatureRejected` where the signature leaves the body out.

    AWS takes that for objects alone: "Lambda doesn't support unsigned payloads" (CloudFront Developer Guide,
    origin access control for function URLs). Whoever is between client and server could change such a body.
    """
    kind = claimed_hash(request)
    if kind in (UNSIGNED_PAYLOAD, UNSIGNED_CHUNKS):
        raise SignatureRejected(
            Flaw.MISMATCH,
            f"x-amz-content-sha256 is {kind}: the body of a request to {service} has to be signed",
        )


def decoded(request: SignedRequest, signature: Signature, key: bytes | None) -> bytes:
    """The body itself. Raises `SignatureRejected` where it is not whole.

    `key` is the signing key; without one, whoever signed is believed.
    """
    kind = claimed_hash(request)
    if kind != UNSIGNED_CHUNKS and kind not in SIGNED_CHUNKS:
        raise _broken(f"x-amz-content-sha256: {kind} is not supported")
    before = signature.digest.encode()
    pieces: list[bytes] = []
    at = 0
    while True:
        chunk = _chunk(request.body, at)
        at = chunk.end
        if kind in SIGNED_CHUNKS and key is not None:
            before = _checked(chunk, before, signature, key)
        if not chunk.payload:
            break
        pieces.append(chunk.payload)
    body = b"".join(pieces)
    _check_length(request, body)
    _check_trailers(_trailers(request.body[at:]), body, before, signature, key)
    return body


def _chunk(body: bytes, start: int) -> Chunk:
    head_end = body.find(b"\r\n", start, start + 256)
    size, _, extension = body[start : max(head_end, start)].partition(b";")
    try:
        size_bytes = int(size, 16) if size.isalnum() and len(size) <= 8 else -1
    except ValueError:
        size_bytes = -1
    begin = head_end + 2
    end = begin + size_bytes
    # The empty chunk is the last, and trailers may follow it at once.
    closing = b"\r\n" if size_bytes > 0 else b""
    if head_end < 0 or size_bytes < 0 or body[end : end + len(closing)] != closing:
        raise _broken("the body is not what aws-chunked says: a chunk is missing, cut off or not one")
    digest = extension.removeprefix(b"chunk-signature=") if extension else b""
    return Chunk(body[begin:end], digest, end + len(closing))


def _checked(chunk: Chunk, before: bytes, signature: Signature, key: bytes) -> bytes:
    told = f"{NOTHING_HASHED}\n{hashlib.sha256(chunk.payload).hexdigest()}"
    expected = _digest("AWS4-HMAC-SHA256-PAYLOAD", before, told, signature, key)
    if not hmac.compare_digest(expected, chunk.digest):
        raise mismatch()
    return expected


def _digest(algorithm: str, before: bytes, told: str, signature: Signature, key: bytes) -> bytes:
    lines = (algorithm, signature.signed_at, signature.claim.scope, before.decode("latin-1"), told)
    return hmac.digest(key, "\n".join(lines).encode("latin-1"), "sha256").hex().encode()


def _trailers(rest: bytes) -> Mapping[bytes, bytes]:
    lines = [line for line in rest.split(b"\r\n") if line]
    if len(lines) > TRAILERS_MAX:
        raise _broken(f"the body has more than {TRAILERS_MAX} trailers")
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise _broken("a trailer of the body is none")
        found[name.strip().lower()] = value.strip()
    return found


def _check_trailers(
    trailers: Mapping[bytes, bytes], body: bytes, before: bytes, signature: Signature, key: bytes | None
) -> None:
    given = trailers.get(b"x-amz-trailer-signature")
    named = {name: value for name, value in trailers.items() if name != b"x-amz-trailer-signature"}
    if given is not None and key is not None:
        text = b"".join(b"%b:%b\n" % pair for pair in sorted(named.items()))
        told = hashlib.sha256(text).hexdigest()
        if not hmac.compare_digest(_digest("AWS4-HMAC-SHA256-TRAILER", before, told, signature, key), given):
            raise mismatch()
    for name, value in named.items():
        checksum = CHECKSUMS.get(name)
        if checksum is not None and base64.b64encode(checksum(body)) != value:
            raise _broken(f"{name.decode('latin-1')} is not the checksum of the body")


def _check_length(request: SignedRequest, body: bytes) -> None:
    name = b"x-amz-decoded-content-length"
    said = next((value for found, value in request.headers if found == name), None)
    if said is not None and said != b"%d" % len(body):
        raise _broken("x-amz-decoded-content-length is not the length of the body")


def _broken(message: str) -> SignatureRejected:
    return SignatureRejected(Flaw.INCOMPLETE, message)
