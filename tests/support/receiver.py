"""A real HTTP server that takes webhooks, answers as it was told and remembers what came."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

import msgspec


class Arrived(msgspec.Struct, frozen=True):
    """A message as it arrived. Names of headers are lower-case."""

    headers: dict[str, str]
    body: bytes


class Receiver:
    """Listens on a free port of 127.0.0.1 while the block runs. `statuses` are given in turn, then 204."""

    def __init__(self, *statuses: int) -> None:
        self.arrived: Final[list[Arrived]] = []
        self._statuses: Final = [*statuses]
        self._lock: Final = threading.Lock()
        self._server: Final = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread: Final = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook?a=1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the base class looks for this name
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._lock:
                    receiver.arrived.append(Arrived(headers, body))
                    status = receiver._statuses.pop(0) if receiver._statuses else 204
                self.send_response(status)
                self.send_header("location", "/elsewhere")  # what a redirect would need
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's own name
                """Say nothing."""

        return Handler
