"""A client that shows what is on the wire: raw sockets, answers read piece by piece."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer


class Raw:
    """One connection to a server."""

    def __init__(self, server: RunningServer) -> None:
        address = urlsplit(server.url)
        self.socket = socket.create_connection((address.hostname or "", address.port or 0), PATIENT_S)
        self._key = str(server.about["api_key"])
        self._kept = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: str, target: str, body: object = None, *headers: str) -> None:
        """Send one request; a body that is not bytes is sent as JSON."""
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.head(method, target, f"Content-Length: {len(sent)}", "Content-Type: application/json", *headers)
        self.socket.sendall(sent)

    def head(self, method: str, target: str, *headers: str) -> None:
        """Send the head of a request."""
        lines = [
            f"{method} {target} HTTP/1.1", "Host: here", f"Authorization: Bearer {self._key}", *headers
        ]  # fmt: skip
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def answered(self) -> tuple[int, list[tuple[str, str]]]:
        """The status and the headers of the answer."""
        while b"\r\n\r\n" not in self._kept:
            self._read()
        head, _, self._kept = self._kept.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return int(first.split()[1]), pairs

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a chunked body as they come. Raises `ConnectionError` where it is cut off."""
        while True:
            while b"\r\n" not in self._kept:
                self._read()
            size, _, self._kept = self._kept.partition(b"\r\n")
            count = int(size, 16)
            while len(self._kept) < count + 2:
                self._read()
            chunk, self._kept = self._kept[:count], self._kept[count + 2 :]
            if not count:
                return
            yield chunk

    def with_trailers(self) -> tuple[bytes, list[tuple[str, str]]]:
        """A chunked body, and what stands behind it."""
        body = b""
        while size := int(self._line(), 16):
            body += self.body(size)
            self._line()
        trailers = []
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            trailers.append((name.lower(), value.strip()))
        return body, trailers

    def body(self, size: int) -> bytes:
        """As many bytes of a body that has a length."""
        while len(self._kept) < size:
            self._read()
        body, self._kept = self._kept[:size], self._kept[size:]
        return body

    def vanish(self) -> None:
        """Leave as a killed process does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _line(self) -> bytes:
        while b"\r\n" not in self._kept:
            self._read()
        line, _, self._kept = self._kept.partition(b"\r\n")
        return line

    def _read(self) -> None:
        got = self.socket.recv(1 << 16)
        if not got:
            raise ConnectionError("the server closed the connection")
        self._kept += got
