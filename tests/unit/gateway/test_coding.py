"""Bodies that come compressed are read within their limit, and answers are compressed for who gains by it."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import CallerFault, LambentError, PayloadTooLarge
from lambent.gateway.bodies import Bodies
from lambent.gateway.coding import PIECE_BYTES, WORTH_BYTES, UnknownCoding, coded, plain_body
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply
from tests.support.virtual_time import ManualClock

MIB = 1024 * 1024
FAR = ("10.0.0.7", 4000)
NEAR = ("127.0.0.1", 4000)


def bare(body: bytes) -> bytes:
    """Deflate without a head."""
    made = zlib.compressobj(6, zlib.DEFLATED, -15)
    return made.compress(body) + made.flush()


def request_of(headers: dict[str, str], body: bytes = b"", client: tuple[str, int] = FAR) -> Request:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: Any) -> None:
        raise AssertionError("nothing is sent here")

    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"method": "POST", "path": "/", "headers": listed, "client": client}, receive, send)


def read(body: bytes, coding: str, *, bytes_max: int = 8 * MIB, room: int = 64 * MIB) -> bytes:
    async def story() -> bytes:
        bodies = Bodies(ManualClock(), bytes_max=room)
        async with bodies.hold("p") as hold:
            return await plain_body(request_of({"content-encoding": coding}, body), bytes_max, hold)

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare)],
)
@pytest.mark.parametrize(
    "size", [0, 1, 70_000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES]
)
def test_a_body_is_what_it_was(coding: str, compress: Any, size: int) -> None:
    body = (b"lambent" * (size // 7 + 1))[:size]
    assert read(compress(body), coding) == body


def test_a_body_that_says_identity_or_is_empty_is_itself() -> None:
    assert read(b"{}", "identity") == b"{}"
    assert read(b"", "gzip") == b""


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_noise_is_refused_or_read_and_raises_nothing_else(noise: bytes, coding: str) -> None:
    try:
        read(noise, coding)
    except CallerFault:
        return


@pytest.mark.parametrize("cut", [gzip.compress(b"x" * 999)[:-1], gzip.compress(b"x") + b"y", b"{}" * 40_000])
def test_what_is_damaged_is_refused(cut: bytes) -> None:
    with pytest.raises(CallerFault, match="cannot be decompressed"):
        read(cut, "gzip")


def test_a_coding_that_is_not_known_is_named() -> None:
    with pytest.raises(UnknownCoding, match="'br' is not known"):
        read(b"{}", "br")


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(200 * MIB), 1)
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            read(bomb, "gzip", bytes_max=8 * MIB)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 14 * MIB  # the limit, a piece and what is read of it


def test_a_body_has_room_for_what_it_unpacks_to_or_is_refused() -> None:
    body = gzip.compress(bytes(6 * MIB))
    with pytest.raises(LambentError, match="LAMBENT_BODIES_BYTES_MAX"):
        read(body, "gzip", room=4 * MIB)


def answered(accept: str | None, body: bytes, client: tuple[str, int] = FAR) -> Reply:
    headers = {} if accept is None else {"accept-encoding": accept}
    return asyncio.run(coded(request_of(headers, client=client), Reply(200, [(b"x", b"y")], body)))


@pytest.mark.parametrize(
    ("accept", "client", "coding"),
    [
        pytest.param(None, FAR, b"", id="nothing is asked for"),
        pytest.param("gzip, deflate, br", FAR, b"gzip", id="a client far away reads it"),
        pytest.param("br, GZIP;q=0.5", FAR, b"gzip", id="at whatever weight"),
        pytest.param("gzip;q=0, deflate", FAR, b"", id="a client refuses it"),
        pytest.param("gzip;q=0.000", FAR, b"", id="a client refuses it at length"),
        pytest.param("br", FAR, b"", id="a client reads something else"),
        pytest.param("gzip, deflate", NEAR, b"", id="a client here gains nothing"),
        pytest.param("gzip", NEAR, b"gzip", id="a client here names it alone"),
        pytest.param("deflate", NEAR, b"deflate", id="or the other one"),
    ],
)
def test_an_answer_is_compressed_for_who_gains_by_it(
    accept: str | None, client: tuple[str, int], coding: bytes
) -> None:
    body = b"text " * 40_000
    reply = answered(accept, body, client)
    headers = dict(reply.headers)
    assert headers.get(b"content-encoding", b"") == coding
    assert (headers.get(b"vary") == b"accept-encoding") is bool(coding)
    assert (zlib.decompress(reply.body, 47) if coding else reply.body) == body


def test_a_short_answer_is_left_as_it_is() -> None:
    assert answered("gzip", b"x" * (WORTH_BYTES - 1)).body == b"x" * (WORTH_BYTES - 1)
    assert len(answered("gzip", b"x" * WORTH_BYTES).body) < WORTH_BYTES
