"""WebSocket handshakes that cannot be read, on real sockets: each is told so, and its connection ends."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.patience import PATIENT_S
from tests.unit.gateway.test_connection import Address, listening

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


async def everything(address: Address, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(PATIENT_S):
            writer.write(sent)
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(UPGRADE.replace(b"GET", b"POST") + b"\r\n", b"unsupported HTTP method", id="a POST"),
        pytest.param(UPGRADE + b"Content-Length: 2\r\n\r\n{}", b"unsupported request body", id="a body"),
        pytest.param(UPGRADE + b"X: y\r\n" * 300 + b"\r\n", b"too many HTTP headers", id="many headers"),
        pytest.param(UPGRADE + b"Cookie: " + b"a" * 20_000 + b"\r\n\r\n", b"line too long", id="a long one"),
    ],
)
def test_a_handshake_that_cannot_be_read_is_refused(sent: bytes, said: bytes) -> None:
    async def story() -> bytes:
        async with listening() as address:
            return await everything(address, sent)

    answer = asyncio.run(story())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"bad_handshake" in answer
    assert said in answer
