"""How much of a head, and of what is no body, one connection may bring."""

from __future__ import annotations

import asyncio

import pytest

from lambent.gateway.connection import HEAD_BYTES_MAX
from tests.unit.gateway.served import CHUNKED, GET, PIECE, POST, answer, listening


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: ", id="one header without an end"),
        pytest.param(b"GET /", id="a target without an end"),
        pytest.param(CHUNKED + b"1;", id="the extension of a chunk"),
        pytest.param(CHUNKED + b"0\r\nX: ", id="a trailer"),
    ],
)
def test_what_is_no_body_is_bounded(start: bytes) -> None:
    async def story() -> bytes:
        async with listening() as address:
            return await answer(address, start, PIECE, repeat=500)

    said = asyncio.run(story())
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")


def test_many_small_headers_are_bounded_too() -> None:
    async def story() -> bytes:
        async with listening() as address:
            many = b"".join(b"x%d: y\r\n" % number for number in range(100_000))
            return await answer(address, POST, many)

    said = asyncio.run(story())
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("share", [1.05, 1.5, 1.9])
def test_a_head_over_the_bound_is_refused_also_where_one_read_brings_all_of_it(share: float) -> None:
    async def story() -> bytes:
        async with listening() as address:
            long = b"X: " + b"a" * int(HEAD_BYTES_MAX * share) + b"\r\n\r\n"
            return await answer(address, GET[:-2] + long)

    said = asyncio.run(story())
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")


def test_a_body_may_be_longer_than_any_head() -> None:
    async def story() -> tuple[bytes, bytes]:
        async with listening() as address:
            size = len(PIECE) * 100
            plain = await answer(address, POST + b"Content-Length: %d\r\n\r\n" % size, PIECE, repeat=100)
            chunk = b"%x\r\n" % len(PIECE) + PIECE + b"\r\n"
            return plain, await answer(address, CHUNKED, chunk * 20, b"0\r\n\r\n")

    for said in asyncio.run(story()):
        assert said.startswith(b"HTTP/1.1 200 ")


def test_a_large_head_below_the_bound_is_read() -> None:
    async def story() -> bytes:
        async with listening() as address:
            return await answer(address, GET[:-2] + b"X: " + b"a" * (HEAD_BYTES_MAX // 2) + b"\r\n\r\n")

    assert asyncio.run(story()).startswith(b"HTTP/1.1 200 ")
