"""What a function's URL answers to browsers of other origins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lambent.wire.aws.shapes import Cors

Headers = Sequence[tuple[str, str]]


def is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser asks what it may do, rather than do it."""
    return method == "OPTIONS" and b"access-control-request-method" in headers


def headers_for(cors: Cors, origin: str, *, preflight: bool) -> Headers:
    """The headers for a browser at `origin`; none for one that may do nothing."""
    return tuple(_headers_for(cors, origin, preflight=preflight)) if _admits(cors, origin) else ()


def _headers_for(cors: Cors, origin: str, *, preflight: bool) -> Iterator[tuple[str, str]]:
    origins = cors.allow_origins or []
    everybody = "*" in origins and not cors.allow_credentials
    yield "access-control-allow-origin", "*" if everybody else origin
    if not everybody:
        yield "vary", "Origin"
    if cors.allow_credentials:
        yield "access-control-allow-credentials", "true"
    if cors.expose_headers:
        yield "access-control-expose-headers", ",".join(cors.expose_headers)
    if preflight:
        if cors.allow_methods:
            yield "access-control-allow-methods", ",".join(cors.allow_methods)
        if cors.allow_headers:
            yield "access-control-allow-headers", ",".join(cors.allow_headers)
        if cors.max_age is not None:
            yield "access-control-max-age", str(cors.max_age)


def _admits(cors: Cors, origin: str) -> bool:
    return bool(origin) and any(_matches(allowed, origin) for allowed in cors.allow_origins or ())


def _matches(allowed: str, origin: str) -> bool:
    """A `*` in an origin stands for anything but a slash."""
    if "*" not in allowed:
        return allowed == origin
    first, *others = allowed.split("*")
    if not origin.startswith(first):
        return False
    at = len(first)
    if allowed == "*":
        return True
    for part in others:
        found = origin.find(part, at)
        if found < 0 or "/" in origin[at:found]:
            return False
        at = found + len(part)
    return not others[-1] or origin.endswith(others[-1])
