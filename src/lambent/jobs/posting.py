"""One POST to somebody else's server: to the address that was looked at, bounded, without redirects.

The name is resolved once, the addresses are judged, and the connection goes to one of those: a name that
resolves to something else a moment later (DNS rebinding) leads nowhere. Nothing of the answer is kept but
its status.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httptools
import msgspec

from lambent.core.deferral import Reach
from lambent.core.urls import PORTS, is_public

POST_TIMEOUT_S: Final = 20.0
HEAD_BYTES_MAX: Final = 64 << 10


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: a status, or 0 and why there was none. `retry_after_s` where it named a time."""

    status: int
    error: str = ""
    retry_after_s: float = 0.0


async def post(url: str, body: bytes, headers: Sequence[tuple[str, str]], *, reach: Reach) -> Answer:
    """Send `body` to `url`, which must have been checked. Raises nothing but cancellation."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(POST_TIMEOUT_S):
            return await _exchange(parts, _request(parts, body, headers), reach)
    except TimeoutError:
        return Answer(status=0, error=f"no answer within {POST_TIMEOUT_S:g} s")
    except (OSError, ssl.SSLError, httptools.HttpParserError) as error:
        return Answer(status=0, error=f"{type(error).__name__}: {error}"[:500])


async def _exchange(parts: SplitResult, request: bytes, reach: Reach) -> Answer:
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    # One private address among public ones is enough: such a name is made to slip through.
    if reach is Reach.PUBLIC and not all(map(is_public, addresses)):
        return Answer(
            status=0,
            error=f"{host} is not a public address, and the key that named it may only invoke: "
            "set the deployment's webhook, or use a key that may deploy",
        )
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(
        addresses[0], port, ssl=tls, server_hostname=host if tls else None
    )
    try:
        writer.write(request)
        await writer.drain()
        return await _read(reader)
    finally:
        with suppress(OSError):
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = _Head()
    parser = httptools.HttpResponseParser(head)
    received = 0
    while not head.complete:
        chunk = await reader.read(4096)
        received += len(chunk)
        if not chunk:
            return Answer(status=0, error="it hung up without an answer")
        if received > HEAD_BYTES_MAX:
            return Answer(status=0, error=f"the head of its answer is over {HEAD_BYTES_MAX} bytes")
        parser.feed_data(chunk)
        if head.complete and parser.get_status_code() < 200:  # 100 Continue and its like come before it
            head.complete = False
    return Answer(status=parser.get_status_code(), retry_after_s=head.retry_after_s)


class _Head:
    """What httptools tells of an answer's head."""

    def __init__(self) -> None:
        self.complete = False
        self.retry_after_s = 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and len(value) < 9 and value.isdigit():
            self.retry_after_s = float(value)

    def on_headers_complete(self) -> None:
        self.complete = True


def _request(parts: SplitResult, body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc
    lines = [
        f"POST {target} HTTP/1.1",
        f"host: {host}",
        "user-agent: lambent-webhooks",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
