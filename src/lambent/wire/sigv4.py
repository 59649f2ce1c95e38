"""AWS Signature Version 4, verified over the request as it came: header form and presigned URL.

The algorithm is that of the AWS documentation ("Create a signed AWS API request"). Two things that a verifier
gets wrong easily: it must use the raw request target, because the signer encoded the path that it sent once
more (for every service but S3); and it must take the body's hash from the body where the client sent none.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from lambent.core.errors import Unauthenticated

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
SKEW_S_MAX: Final = 15 * 60
EXPIRES_S_MAX: Final = 7 * 86_400


class Flaw(StrEnum):
    """What is wrong with a signature."""

    INCOMPLETE = "incomplete"  # not one that we can read
    EXPIRED = "expired"  # too old, or from the future
    MISMATCH = "mismatch"  # made with another secret, or over another request


class SignatureRejected(Unauthenticated):
    """The request is signed, but not so that we can believe it."""

    code = "invalid_signature"
    status = 403

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came on the wire: names of headers in lower case, `path` and `query` not decoded."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What the client claims. `expires_s` is the life of a presigned URL, None for a signed header."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_at: str
    signed_headers: tuple[str, ...]
    digest: str
    expires_s: int | None = None

    @property
    def scope(self) -> str:
        """The credential scope that the signing key is derived for."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def read(request: SignedRequest) -> Signature | None:
    """The signature that a request carries, or None where it carries none. Raises `SignatureRejected`."""
    authorization = _header(request, b"authorization")
    if authorization.startswith(ALGORITHM.encode()):
        return _from_header(request, authorization.decode("latin-1"))
    if b"X-Amz-Signature=" in request.query:
        return _from_query(request)
    return None


def verify(request: SignedRequest, signature: Signature, secret: str, *, now_unix_ms: int) -> None:
    """Return if `secret` made `signature` over `request` in time; else raise `SignatureRejected`."""
    _check_time(signature, now_unix_ms // 1000)
    _check_coverage(request, signature)
    canonical = canonical_request(request, signature)
    to_sign = (
        f"{ALGORITHM}\n{signature.signed_at}\n{signature.scope}\n{hashlib.sha256(canonical).hexdigest()}"
    )
    expected = hmac.new(_signing_key(signature, secret), to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.digest.encode()):
        raise SignatureRejected(
            Flaw.MISMATCH,
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details.",
        )


def canonical_request(request: SignedRequest, signature: Signature) -> bytes:
    """The bytes that both sides hash."""
    values: dict[str, list[bytes]] = {name: [] for name in signature.signed_headers}
    for raw_name, value in request.headers:
        if (name := raw_name.decode("latin-1")) in values:
            values[name].append(b" ".join(value.split()))
    lines = [
        request.method.upper().encode(),
        _canonical_path(request.path, signature.service),
        _canonical_query(request.query),
        *(name.encode() + b":" + b",".join(found) for name, found in values.items()),
        b"",
        ";".join(signature.signed_headers).encode(),
        _payload_hash(request, signature).encode(),
    ]
    return b"\n".join(lines)


def _from_header(request: SignedRequest, authorization: str) -> Signature:
    fields: dict[str, str] = {}
    for field in authorization.removeprefix(ALGORITHM).split(","):
        name, _, value = field.strip().partition("=")
        fields[name] = value
    return _signature(
        credential=fields.get("Credential", ""),
        signed_headers=fields.get("SignedHeaders", ""),
        digest=fields.get("Signature", ""),
        signed_at=_signed_at(request),
    )


def _from_query(request: SignedRequest) -> Signature:
    fields = {unquote(name): unquote(value) for name, value in _pairs(request.query.decode("latin-1"))}
    if fields.get("X-Amz-Algorithm") != ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm must be {ALGORITHM}")
    expires = fields.get("X-Amz-Expires", "")
    # The length is bounded first: Python refuses to read a number of thousands of digits.
    if not expires.isdecimal() or len(expires) > 6 or not 1 <= int(expires) <= EXPIRES_S_MAX:
        raise _incomplete(f"X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_S_MAX}")
    return _signature(
        credential=fields.get("X-Amz-Credential", ""),
        signed_headers=fields.get("X-Amz-SignedHeaders", ""),
        digest=fields.get("X-Amz-Signature", ""),
        signed_at=fields.get("X-Amz-Date", ""),
        expires_s=int(expires),
    )


def _signature(
    *, credential: str, signed_headers: str, digest: str, signed_at: str, expires_s: int | None = None
) -> Signature:
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise _incomplete("Credential must be KEY/DATE/REGION/SERVICE/aws4_request")
    names = tuple(signed_headers.split(";"))
    if "host" not in names or list(names) != sorted(set(names)):
        raise _incomplete("SignedHeaders must be sorted and must include host")
    if not digest:
        raise _incomplete("Signature is missing")
    if signed_at[:8] != parts[1]:
        raise _incomplete("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date")
    return Signature(
        access_key_id=parts[0],
        date=parts[1],
        region=parts[2],
        service=parts[3],
        signed_at=signed_at,
        signed_headers=names,
        digest=digest,
        expires_s=expires_s,
    )


def _signed_at(request: SignedRequest) -> str:
    """When it was signed: `X-Amz-Date`, else `Date`, in the basic form of ISO 8601."""
    if stamp := _header(request, b"x-amz-date"):
        return stamp.decode("latin-1")
    try:
        return (
            parsedate_to_datetime(_header(request, b"date").decode("latin-1"))
            .astimezone(UTC)
            .strftime(TIMESTAMP)
        )
    except (ValueError, TypeError):
        raise _incomplete("a signed request needs an X-Amz-Date or a Date header") from None


def _check_time(signature: Signature, now_s: int) -> None:
    try:
        signed_s = int(datetime.strptime(signature.signed_at, TIMESTAMP).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise _incomplete(f"{signature.signed_at!r} is not a date as in 20261123T150000Z") from None
    life_s = SKEW_S_MAX if signature.expires_s is None else signature.expires_s
    if now_s > signed_s + life_s:
        raise SignatureRejected(
            Flaw.EXPIRED,
            f"Signature expired: {signature.signed_at} is now earlier than {_stamp(now_s - life_s)} "
            f"({_stamp(now_s)} - {life_s} s)",
        )
    if signed_s > now_s + SKEW_S_MAX:
        raise SignatureRejected(
            Flaw.EXPIRED,
            f"Signature not yet current: {signature.signed_at} is still later than {_stamp(now_s)}",
        )


def _check_coverage(request: SignedRequest, signature: Signature) -> None:
    """Every `x-amz-` header changes what a request means, so each one present must be signed."""
    for raw_name, _ in request.headers:
        name = raw_name.decode("latin-1")
        if name.startswith("x-amz-") and name not in signature.signed_headers:
            raise SignatureRejected(
                Flaw.MISMATCH, f"There were headers present in the request which were not signed: {name}"
            )


def _signing_key(signature: Signature, secret: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (signature.date, signature.region, signature.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _payload_hash(request: SignedRequest, signature: Signature) -> str:
    claimed = _header(request, b"x-amz-content-sha256").decode("latin-1")
    if claimed == UNSIGNED_PAYLOAD or (
        not claimed and signature.expires_s is not None and signature.service == "s3"
    ):
        return UNSIGNED_PAYLOAD
    actual = hashlib.sha256(request.body).hexdigest()
    if claimed.startswith("STREAMING-"):
        raise _incomplete(f"x-amz-content-sha256: {claimed} is not supported")
    if claimed and not hmac.compare_digest(claimed.encode("latin-1"), actual.encode()):
        raise SignatureRejected(Flaw.MISMATCH, "x-amz-content-sha256 is not the SHA-256 of the body")
    return actual


def _canonical_path(path: bytes, service: str) -> bytes:
    if service == "s3":
        return path or b"/"
    return quote(_without_dots(path), safe="/~").encode()


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, and no empty segments, as AWS's signers do."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    last = b"/" if kept and path.endswith(b"/") else b""
    return b"/" + b"/".join(kept) + last


def _canonical_query(query: bytes) -> bytes:
    pairs = [pair for pair in _pairs(query.decode("latin-1")) if pair[0] != "X-Amz-Signature"]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs)).encode("latin-1")


def _pairs(query: str) -> Iterable[tuple[str, str]]:
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        yield name, value


def _header(request: SignedRequest, name: bytes) -> bytes:
    return next((value for found, value in request.headers if found == name), b"")


def _incomplete(message: str) -> SignatureRejected:
    return SignatureRejected(Flaw.INCOMPLETE, message)


def _stamp(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime(TIMESTAMP)
