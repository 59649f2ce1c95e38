"""Bodies that come compressed, and answers for who asks: gzip and deflate (RFC 9110 section 8.4.1).

A body is decompressed piece by piece, and has room found for each before the next: what a few bytes unpack to
is refused as if it had been sent so. Level 1 makes JSON of numbers half as long at about 120 MB/s and text a
quarter at 250: that pays on any network, and not on the way to a client on this machine.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from lambent.core.errors import CallerFault
from lambent.gateway.bodies import Hold
from lambent.gateway.requests import Request, too_large
from lambent.gateway.responses import Reply

GZIP_OR_ZLIB: Final = 47  # for zlib: look which of the two it is
BARE: Final = -15  # deflate without zlib's head, which some send under that name
LEVEL: Final = 1  # harder work gains little
IN_PLACE_BYTES_MAX: Final = 64 * 1024  # above this the work would hold others up, and goes to a thread
PIECE_BYTES: Final = 1024 * 1024
WORTH_BYTES: Final = 4096  # of an answer: below, little is left to save beside the heads of its packets
IDENTITY: Final = frozenset({b"", b"identity"})
GZIP: Final = frozenset({b"gzip", b"x-gzip"})
CODINGS: Final = frozenset({b"gzip", b"deflate"})
CODING: Final = b"content-encoding"
WANTED: Final = b"accept-encoding"
NEVER: Final = re.compile(rb"q\s*=\s*0(\.0*)?")
HERE: Final = ("127.", "::1")


class UnknownCoding(CallerFault):
    """A body is compressed in a way that is not known here."""

    code = "unsupported_encoding"
    status = 415


async def plain_body(request: Request, bytes_max: int, hold: Hold) -> bytes:
    """The whole body, as it was before it was compressed. Raises as `Request.body` and `decompressed`."""
    body = await request.body(bytes_max, hold)
    if CODING not in request.headers:
        return body
    return await decompressed(request.headers, body, hold, bytes_max=bytes_max)


async def decompressed(headers: Mapping[bytes, bytes], body: bytes, hold: Hold, *, bytes_max: int) -> bytes:
    """The body as it was before it was compressed, for which `hold` finds room.

    Raises `UnknownCoding`, `CallerFault` for damaged data, `PayloadTooLarge` for what gets too large, and
    what `hold` raises.
    """
    coding = headers.get(CODING, b"").strip().lower()
    if coding in IDENTITY or not body:
        return body
    if coding not in CODINGS | GZIP:
        shown = coding.decode("latin-1")[:40]
        raise UnknownCoding(f"Content-Encoding: {shown!r} is not known here; use gzip or deflate")
    inflating = _inflated(body, BARE if coding == b"deflate" and not _has_head(body) else GZIP_OR_ZLIB)
    pieces: list[bytes] = []
    size_bytes, is_quick = 0, len(body) <= IN_PLACE_BYTES_MAX
    while True:
        piece = next(inflating, b"") if is_quick else await asyncio.to_thread(next, inflating, b"")
        if not piece:
            return b"".join(pieces)
        is_quick = is_quick and len(piece) < PIECE_BYTES  # then little is left, or nothing
        size_bytes += len(piece)
        if size_bytes > bytes_max:
            raise too_large(bytes_max)
        hold.grow_to(size_bytes)
        pieces.append(piece)


async def coded(request: Request, reply: Reply) -> Reply:
    """An answer as its client wants it: compressed, where it can read that and it pays."""
    if len(reply.body) < WORTH_BYTES or WANTED not in request.headers:
        return reply
    coding = wanted_coding(request.headers) or (b"" if _is_here(request) else _accepted(request.headers))
    return await compressed(coding, reply) if coding else reply


async def compressed(coding: bytes, reply: Reply) -> Reply:
    """The answer in this coding."""
    body = reply.body
    if len(body) <= IN_PLACE_BYTES_MAX:
        body = _deflated(coding, body)
    else:
        body = await asyncio.to_thread(_deflated, coding, body)
    told = [*reply.headers, (CODING, coding), (b"vary", WANTED)]
    return msgspec.structs.replace(reply, headers=told, body=body)


def wanted_coding(headers: Mapping[bytes, bytes]) -> bytes:
    """The coding that a client asks for by naming it alone; empty for none.

    Many clients name all that they can read, whatever they do.
    """
    coding = headers.get(WANTED, b"").strip().lower()
    return coding if coding in CODINGS else b""


def _accepted(headers: Mapping[bytes, bytes]) -> bytes:
    """Gzip, where it is among what a client can read (RFC 9110 section 12.5.3)."""
    for one in headers.get(WANTED, b"").lower().split(b","):
        name, _, weight = one.partition(b";")
        if name.strip() in GZIP:
            return b"" if NEVER.fullmatch(weight.strip()) else b"gzip"
    return b""


def _is_here(request: Request) -> bool:
    client = request.scope.get("client")
    return not client or str(client[0]).startswith(HERE)


def _deflated(coding: bytes, body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0) if coding == b"gzip" else zlib.compress(body, LEVEL)


def _has_head(body: bytes) -> bool:
    """Whether it begins as RFC 1950 section 2.2 has it, or as gzip."""
    return (
        len(body) < 2
        or body[:2] == b"\x1f\x8b"
        or (body[0] & 0x0F == 8 and not (body[0] * 256 + body[1]) % 31)
    )


def _inflated(body: bytes, bits: int) -> Iterator[bytes]:
    """What was compressed, in pieces of at most `PIECE_BYTES`, none of them empty. Raises `CallerFault`."""
    stream = zlib.decompressobj(bits)
    fed_bytes = 0
    try:
        while fed_bytes < len(body) and not stream.eof:
            rest: bytes | memoryview = memoryview(body)[fed_bytes : fed_bytes + PIECE_BYTES]
            fed_bytes += len(rest)
            while piece := stream.decompress(rest, PIECE_BYTES):
                yield piece
                rest = stream.unconsumed_tail
    except zlib.error as error:
        raise CallerFault(f"the body cannot be decompressed: {error}") from error
    if not stream.eof or stream.unused_data or fed_bytes < len(body):
        raise CallerFault("the body cannot be decompressed: it does not end where its data end")
