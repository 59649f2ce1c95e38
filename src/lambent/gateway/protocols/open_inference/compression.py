"""Bodies that come compressed, and answers for who asks: gzip and deflate (RFC 9110 section 8.4.1)."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Mapping
from typing import Final

from lambent.core.errors import CallerFault
from lambent.gateway.requests import too_large

GZIP_OR_ZLIB: Final = 47  # for zlib: look which of the two it is
LEVEL: Final = 1  # numbers do not compress well, and harder work gains little
IN_PLACE_BYTES_MAX: Final = 64 * 1024  # above this the work would hold others up, and goes to a thread
IDENTITY: Final = frozenset({b"", b"identity"})
CODINGS: Final = frozenset({b"gzip", b"deflate"})


async def decompressed(headers: Mapping[bytes, bytes], body: bytes, *, bytes_max: int) -> bytes:
    """The body as it was before it was compressed.

    Raises `CallerFault` for another coding or damaged data, `PayloadTooLarge` for what gets too large.
    """
    coding = headers.get(b"content-encoding", b"").strip().lower()
    if coding in IDENTITY:
        return body
    if coding not in CODINGS:
        shown = coding.decode("latin-1")[:40]
        raise CallerFault(f"Content-Encoding: {shown!r} is not known here; use gzip or deflate")
    if len(body) <= IN_PLACE_BYTES_MAX:
        return _inflated(body, bytes_max)
    return await asyncio.to_thread(_inflated, body, bytes_max)


def wanted_coding(headers: Mapping[bytes, bytes]) -> bytes:
    """The coding that a client asks for by naming it alone; empty for none.

    Many clients name all that they can read, whatever they do, and to compress tensors for them would cost
    more than it gains.
    """
    coding = headers.get(b"accept-encoding", b"").strip().lower()
    return coding if coding in CODINGS else b""


async def compressed(coding: bytes, body: bytes) -> bytes:
    """The body in this coding."""
    if len(body) <= IN_PLACE_BYTES_MAX:
        return _deflated(coding, body)
    return await asyncio.to_thread(_deflated, coding, body)


def _deflated(coding: bytes, body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0) if coding == b"gzip" else zlib.compress(body, LEVEL)


def _inflated(body: bytes, bytes_max: int) -> bytes:
    stream = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        found = stream.decompress(body, bytes_max)
    except zlib.error as error:
        raise CallerFault(f"the body cannot be decompressed: {error}") from error
    if stream.unconsumed_tail:
        raise too_large(bytes_max)
    if not stream.eof or stream.unused_data:
        raise CallerFault("the body cannot be decompressed: it does not end where its data end")
    return found
