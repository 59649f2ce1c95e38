"""AWS Signature Version 4, verified over the request as it came: header form and presigned URL.

The algorithm is that of the AWS documentation ("Create a signed AWS API request"). Two things that a verifier
gets wrong easily: it must use the raw request target, because the signer encoded the path that it sent once
more (for every service but S3); and it must take the body's hash from the body where the client sent none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes

import msgspec

from lambent.core.errors import Unauthenticated

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
STREAMING: Final = "STREAMING-"  # a body in chunks that say themselves what they are: `wire.aws_chunked`
TERMINATOR: Final = "aws4_request"
TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
STAMP: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
SKEW_S_MAX: Final = 15 * 60
# A path that means the same however often it is encoded, without an empty segment or one of dots.
PLAIN_PATH: Final = re.compile(rb"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.~-]+)+/?")
PLAIN_QUERY: Final = re.compile(rb"(?:[A-Za-z0-9_.~&=-]|%[0-9A-F]{2})*")
NO_QUERY: Final = ("",)
# The signer of a request that is temporary may add it before or after it signs.
MAY_BE_UNSIGNED: Final = b"x-amz-security-token"
CONTENT_HASH: Final = b"x-amz-content-sha256"
EXPIRES_S_MAX: Final = 7 * 86_400


class AwsAuth(StrEnum):
    """Whether AWS's clients must prove who they are."""

    VERIFY = "verify"  # by a signature of a key of ours, or by the key itself
    NONE = "none"  # whatever they sign with; a key of ours still says whose project is meant


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


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the signatures of a client have in common for a day: who signs, for what, which headers.

    `scope` is the credential scope that the signing key is derived for. `signed_headers` are their names,
    `prefixes` how they begin a line each, and `places` says where among them each one stands.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    scope: str
    signed_headers: bytes
    prefixes: tuple[bytes, ...]
    places: Mapping[bytes, int]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What the client claims. `expires_s` is the life of a presigned URL, None for a signed header.

    `signed_unix_s` is `signed_at` where that was read before.
    """

    claim: Claim
    signed_at: str
    digest: str
    expires_s: int | None = None
    signed_unix_s: int | None = None


def claim_of(*, access_key_id: str, date: str, region: str, service: str, signed_headers: str) -> Claim:
    """A claim of these words; `signed_headers` are names with semicolons between them."""
    joined = signed_headers.encode("latin-1", "replace")
    names = joined.split(b";")
    return Claim(
        access_key_id=access_key_id,
        date=date,
        region=region,
        service=service,
        scope=f"{date}/{region}/{service}/{TERMINATOR}",
        signed_headers=joined,
        prefixes=tuple(name + b":" for name in names),
        places={name: place for place, name in enumerate(names)},
    )


def read(request: SignedRequest) -> Signature | None:
    """The signature that a request carries, or None where it carries none. Raises `SignatureRejected`."""
    authorization = header(request, b"authorization")
    if authorization.startswith(ALGORITHM.encode()):
        return _from_header(request, authorization.decode("latin-1"))
    if b"X-Amz-Signature=" in request.query:
        return _from_query(request)
    return None


def verify(request: SignedRequest, signature: Signature, key: bytes, *, now_unix_ms: int) -> None:
    """Return if `key` (`signing_key`) made `signature` over `request` in time; else `SignatureRejected`."""
    _check_time(signature, now_unix_ms // 1000)
    given, claim = signature.digest.encode(), signature.claim
    begin = f"{ALGORITHM}\n{signature.signed_at}\n{claim.scope}\n"
    head = request.method.upper().encode() + b"\n" + _canonical_path(request.path, claim.service) + b"\n"
    rest = _header_lines(request, claim) + _payload_hash(request, signature).encode("latin-1")
    for query in _canonical_queries(request.query):
        to_sign = begin + hashlib.sha256(head + query.encode("latin-1") + rest).hexdigest()
        expected = hmac.digest(key, to_sign.encode("latin-1", "replace"), "sha256").hex()
        if hmac.compare_digest(expected.encode(), given):
            return
    raise mismatch()


def mismatch() -> SignatureRejected:
    """It was made with another secret, or over another request; AWS's words."""
    return SignatureRejected(
        Flaw.MISMATCH,
        "The request signature we calculated does not match the signature you provided. Check your AWS "
        "Secret Access Key and signing method. Consult the service documentation for details.",
    )


def signing_key(signature: Signature, secret: str) -> bytes:
    """The key that `secret` signs with in the scope of `signature`: for a day, a region and a service."""
    key, claim = b"AWS4" + secret.encode(), signature.claim
    for part in (claim.date, claim.region, claim.service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def claimed_hash(request: SignedRequest) -> str:
    """What the client says of its body's hash, empty where it says nothing."""
    return header(request, CONTENT_HASH).decode("latin-1")


def _header_lines(request: SignedRequest, claim: Claim) -> bytes:
    """The signed headers, without spaces too many, those of equal names joined; and their names.

    Every `x-amz-` header changes what a request means, so each one that is there must be among them.
    """
    places = claim.places
    values: list[bytes | None] = [None] * len(claim.prefixes)
    for name, value in request.headers:
        place = places.get(name)
        if place is not None:
            before = values[place]
            values[place] = _trimmed(value) if before is None else before + b"," + _trimmed(value)
        elif name.startswith(b"x-amz-") and name != MAY_BE_UNSIGNED:
            raise _uncovered(name)
    lines = [prefix + (value or b"") for prefix, value in zip(claim.prefixes, values, strict=True)]
    return b"\n".join((b"", *lines, b"", claim.signed_headers, b""))


def _trimmed(value: bytes) -> bytes:
    if b"  " in value or b"\t" in value or value.strip(b" ") is not value:
        return " ".join(value.decode("latin-1").split()).encode("latin-1")
    return value


def _from_header(request: SignedRequest, authorization: str) -> Signature:
    fields: dict[str, str] = {}
    for field in authorization.removeprefix(ALGORITHM).split(","):
        name, _, value = field.strip().partition("=")
        fields[name] = value
    signed_at = _signed_at(request)
    missing = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not fields.get(name)
    ]
    if not signed_at:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if missing:
        hashed = base64.b64encode(hashlib.sha256(authorization.encode("latin-1")).digest()).decode()
        missing.append(f"(Hashed with SHA-256 and encoded with Base64) Authorization={hashed}")
        raise _incomplete(" ".join(missing))
    return _signature(
        credential=fields["Credential"],
        signed_headers=fields["SignedHeaders"],
        digest=fields["Signature"],
        signed_at=signed_at,
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
    if len(parts) != 5 or not all(parts):
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential}'"
        )
    if parts[4] != TERMINATOR:
        raise _incomplete(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{parts[4]}'."
        )
    names = signed_headers.split(";")
    if "host" not in names and ":authority" not in names:
        raise _incomplete("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    if names != sorted(set(names)):
        raise _incomplete("SignedHeaders must be sorted, each name once and in lower case.")
    if not digest:
        raise _incomplete("Signature is missing")
    if signed_at[:8] != parts[1]:
        raise _incomplete(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{parts[1]}' != '{signed_at[:8]}', from '{signed_at}'."
        )
    claim = claim_of(
        access_key_id=parts[0],
        date=parts[1],
        region=parts[2],
        service=parts[3],
        signed_headers=signed_headers,
    )
    return Signature(claim=claim, signed_at=signed_at, digest=digest, expires_s=expires_s)


def _signed_at(request: SignedRequest) -> str:
    """When it was signed: `X-Amz-Date`, else `Date`, in the basic form of ISO 8601; empty for neither."""
    if stamp := header(request, b"x-amz-date"):
        return stamp.decode("latin-1")
    try:
        return (
            parsedate_to_datetime(header(request, b"date").decode("latin-1"))
            .astimezone(UTC)
            .strftime(TIMESTAMP)
        )
    except (ValueError, TypeError, OverflowError):
        return ""


def _check_time(signature: Signature, now_s: int) -> None:
    signed_s = signature.signed_unix_s
    if signed_s is None:
        signed_s = unix_s(signature.signed_at)
    life_s = SKEW_S_MAX if signature.expires_s is None else signature.expires_s
    if now_s > signed_s + life_s:
        took = f"{SKEW_S_MAX // 60} min." if signature.expires_s is None else f"{life_s} s."
        raise SignatureRejected(
            Flaw.EXPIRED,
            f"Signature expired: {signature.signed_at} is now earlier than {_stamp(now_s - life_s)} "
            f"({_stamp(now_s)} - {took})",
        )
    if signed_s > now_s + SKEW_S_MAX:
        raise SignatureRejected(
            Flaw.EXPIRED,
            f"Signature not yet current: {signature.signed_at} is still later than "
            f"{_stamp(now_s + SKEW_S_MAX)} ({_stamp(now_s)} + {SKEW_S_MAX // 60} min.)",
        )


def unix_s(stamp: str) -> int:
    """The time that `signed_at` names. Raises `SignatureRejected`."""
    # Not by strptime, which takes longer than the rest of the check.
    match = STAMP.fullmatch(stamp)
    try:
        if match is not None:
            year, month, day, hour, minute, second = map(int, match.groups())
            return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        pass
    raise _incomplete(
        f"Date must be in ISO-8601 'basic format'. Got '{stamp}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def _payload_hash(request: SignedRequest, signature: Signature) -> str:
    # It is among those that must be signed where they are there.
    claimed = claimed_hash(request) if CONTENT_HASH in signature.claim.places else ""
    if claimed == UNSIGNED_PAYLOAD or (
        not claimed and signature.expires_s is not None and signature.claim.service == "s3"
    ):
        return UNSIGNED_PAYLOAD
    if claimed.startswith(STREAMING):
        return claimed  # its chunks are looked at where they are put together
    actual = hashlib.sha256(request.body).hexdigest()
    if claimed and not hmac.compare_digest(claimed.encode("latin-1"), actual.encode()):
        raise SignatureRejected(Flaw.MISMATCH, "x-amz-content-sha256 is not the SHA-256 of the body")
    return actual


def _canonical_path(path: bytes, service: str) -> bytes:
    if service == "s3":
        return path or b"/"
    if PLAIN_PATH.fullmatch(path):
        return path
    return quote(_without_dots(path), safe="/~").encode("ascii")


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


def _canonical_queries(query: bytes) -> Sequence[str]:
    """As it was sent, in order; and as AWS writes it, where the client wrote it in another way."""
    if not query:
        return NO_QUERY
    pairs = [pair for pair in _pairs(query.decode("latin-1")) if pair[0] != "X-Amz-Signature"]
    if PLAIN_QUERY.fullmatch(query):
        return (_joined(pairs),)
    return _joined(pairs), _joined((_encoded(name), _encoded(value)) for name, value in pairs)


def _joined(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def _encoded(text: str) -> str:
    return quote_from_bytes(unquote_to_bytes(text.encode("latin-1")), safe="-_.~")


def _pairs(query: str) -> Iterable[tuple[str, str]]:
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        yield name, value


def header(request: SignedRequest, name: bytes) -> bytes:
    """The first header of that name, empty where there is none."""
    for found, value in request.headers:
        if found == name:
            return value
    return b""


def _uncovered(name: bytes) -> SignatureRejected:
    return SignatureRejected(
        Flaw.MISMATCH,
        f"There were headers present in the request which were not signed: {name.decode('latin-1')}",
    )


def _incomplete(message: str) -> SignatureRejected:
    return SignatureRejected(Flaw.INCOMPLETE, message)


def _stamp(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime(TIMESTAMP)
