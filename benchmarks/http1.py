"""A plain HTTP/1.1 client that times the first byte, and the bytes of a request."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Final

import httptools
import msgspec

TIMEOUT_S: Final = 120.0
CHUNK_BYTES: Final = 256 * 1024


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes and what it carries."""

    host: str
    port: int
    path: str
    method: str = "POST"
    headers: dict[str, str] = {}
    body: bytes = b""

    def request(self) -> bytes:
        """The whole request as it goes over the wire, to a server that keeps the connection."""
        headers = {"Host": f"{self.host}:{self.port}", "Content-Length": str(len(self.body)), **self.headers}
        if self.body:
            headers.setdefault("Content-Type", "application/json")
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + self.body


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A response. `first_byte_ms` starts before a connection is opened, or at the request on an open one."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte_ms: float


class Collector:
    """Takes a response apart. Names of headers are in lower case."""

    def __init__(self) -> None:
        self.headers: Final[dict[str, str]] = {}
        self.chunks: Final[list[bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, chunk: bytes) -> None:
        """A piece of the body."""
        self.chunks.append(chunk)

    def on_message_complete(self) -> None:
        """The end."""
        self.complete = True


def ask(target: Target, *, timeout_s: float = TIMEOUT_S) -> Reply:
    """Open a connection, ask, read the whole answer. Raises `OSError`, also after `timeout_s`."""
    started_s = time.perf_counter()
    with connect(target, timeout_s=timeout_s) as connection:
        return ask_on(connection, target, started_s=started_s)


def connect(target: Target, *, timeout_s: float = TIMEOUT_S) -> socket.socket:
    """A connection that may be asked again and again. Raises `OSError`."""
    connection = socket.create_connection((target.host, target.port), timeout=timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask_on(connection: socket.socket, target: Target, *, started_s: float | None = None) -> Reply:
    """Ask on an open connection; `started_s`, by `time.perf_counter`, is now unless it is told."""
    collector = Collector()
    parser = httptools.HttpResponseParser(collector)
    request = target.request()
    started_s = time.perf_counter() if started_s is None else started_s
    connection.sendall(request)
    chunk = connection.recv(CHUNK_BYTES)
    first_byte_s = time.perf_counter()
    while chunk:
        parser.feed_data(chunk)
        if collector.complete:
            break
        chunk = connection.recv(CHUNK_BYTES)
    if not collector.complete:
        raise ConnectionError(f"{target.path}: the server closed the connection in the middle of its answer")
    return Reply(
        status=parser.get_status_code(),
        headers=collector.headers,
        body=b"".join(collector.chunks),
        first_byte_ms=(first_byte_s - started_s) * 1e3,
    )
