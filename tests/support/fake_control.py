"""A small HTTP server that answers as it was told and remembers what it was asked.

It stands in for the control API where a test is about the client's side of the wire: what is sent, and what
becomes of an answer. What the real server answers is tested with the real server.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from lambent.wire.api import Problem
from tests.support.patience import PATIENT_S

API_KEY: Final = "lk_test_secret"


class Asked(msgspec.Struct, frozen=True):
    """A request as it arrived. Names of headers are lower-case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to give. Of `chunks` each is sent by itself; the last waits until the test calls `go_on`.

    The answer waits for `after`, if there is such an event, and then sets `reached`.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}
    chunks: tuple[bytes, ...] = ()
    after: threading.Event | None = None
    reached: threading.Event | None = None


def json_told(value: object, status: int = 200) -> Told:
    """`value` as a JSON answer."""
    return Told(status=status, body=msgspec.json.encode(value), headers={"Content-Type": "application/json"})


def problem_told(problem: Problem, headers: Mapping[str, str] | None = None) -> Told:
    """A refusal."""
    kind = {"Content-Type": "application/problem+json", **(headers or {})}
    return Told(status=problem.status, body=msgspec.json.encode(problem), headers=kind)


class FakeControl:
    """Listens on a free port of 127.0.0.1 while the block runs."""

    def __init__(self) -> None:
        self.asked: Final[list[Asked]] = []
        self.arrived: Final = threading.Event()
        self._told: Final[dict[tuple[str, str], list[Told]]] = {}
        self._going_on: Final = threading.Event()
        self._server: Final = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread: Final = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def tell(self, method: str, path: str, *answers: Told) -> None:
        """Answer a request with `answers` in turn; the last one is given again and again."""
        self._told[method, path] = list(answers)

    def go_on(self) -> None:
        """Let the last chunks go, and every answer that is held."""
        self._going_on.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENT_S)

    def _answer_to(self, asked: Asked) -> Told:
        self.asked.append(asked)
        self.arrived.set()
        if asked.headers.get("authorization") != f"Bearer {API_KEY}":
            return problem_told(Problem("Unauthenticated", 401, "unauthenticated", "no key that is known"))
        answers = self._told.get((asked.method, asked.path))
        if not answers:
            return problem_told(Problem("Not found", 404, "not_found", f"no {asked.path}"))
        told = answers.pop(0) if len(answers) > 1 else answers[0]
        if told.after:
            told.after.wait(PATIENT_S)
        if told.reached:
            told.reached.set()
        return told

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        control = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _exchange(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                parsed = urlsplit(self.path)
                asked = Asked(
                    self.command,
                    parsed.path,
                    dict(parse_qsl(parsed.query)),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                self._give(control._answer_to(asked))

            do_GET = do_POST = do_PUT = do_DELETE = _exchange  # noqa: N815  # the base class looks for these names

            def _give(self, told: Told) -> None:
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                if told.chunks:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self._stream(told.chunks)
                    return
                if told.status != 204:
                    self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            def _stream(self, chunks: Iterable[bytes]) -> None:
                *first, last = chunks
                for chunk in first:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
                control._going_on.wait(PATIENT_S)
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's own name
                """Say nothing."""

        return Handler
