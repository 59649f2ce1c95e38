"""A receiver of OTLP/HTTP: decodes what comes with opentelemetry-proto, and answers as it is told."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Got:
    """One span as it was read, with the attributes of its resource."""

    span: Any
    attributes: Mapping[str, object]
    resource: Mapping[str, object]

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def span_id(self) -> str:
        return str(self.span.span_id.hex())

    @property
    def parent_id(self) -> str:
        return str(self.span.parent_span_id.hex())

    @property
    def trace_id(self) -> str:
        return str(self.span.trace_id.hex())


@dataclass
class OtlpReceiver:
    """What came. `answers` are given first, each once; then 200."""

    url: str = ""
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    requests: list[Mapping[str, str]] = field(default_factory=list)
    spans: list[Got] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)  # each request
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, invocation_id: str) -> dict[str, Got]:
        """The spans of one invocation, by name; none as long as it has not come."""
        with self.lock:
            ours = [got for got in self.spans if got.attributes.get("faas.invocation_id") == invocation_id]
            ids = {got.span_id for got in ours}
            found = {got.name: got for got in ours}
            for got in self.spans:  # parents come before their children
                if got.parent_id in ids and "faas.name" not in got.attributes:
                    ids.add(got.span_id)
                    found[got.name] = got
            return found

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        with self.lock:
            self.requests.append({**{k.lower(): v for k, v in headers.items()}, "path": path})
            if self.answers:
                return self.answers.pop(0)
            if path.endswith("/metrics"):
                self.metrics.append(_metrics(headers, body))
            else:
                self.spans.extend(_read(headers, body))
            return 200, {"Content-Type": "application/x-protobuf"}, b""


def _plain(headers: Mapping[str, str], body: bytes) -> bytes:
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


def _metrics(headers: Mapping[str, str], body: bytes) -> Any:
    return ExportMetricsServiceRequest.FromString(_plain(headers, body))


def _read(headers: Mapping[str, str], body: bytes) -> Iterator[Got]:
    for one in ExportTraceServiceRequest.FromString(_plain(headers, body)).resource_spans:
        for scoped in one.scope_spans:
            for span in scoped.spans:
                yield Got(span, _values(span.attributes), _values(one.resource.attributes))


def _values(attributes: Any) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def receiving() -> Iterator[OtlpReceiver]:
    """A receiver on a free port of 127.0.0.1."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, told, answer = receiver.take(self.path, headers, body)
            self.send_response(status)
            for name, value in told.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
