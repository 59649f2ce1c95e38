"""What goes to an OTLP receiver, and by which way: spans of invocations, and the metrics of the page."""

from __future__ import annotations

import os
import socket
import uuid

from lambent import __version__
from lambent.clock import SystemClock
from lambent.core.spans import Value
from lambent.core.telemetry import Telemetry, read_metrics_telemetry, read_telemetry
from lambent.gateway.exporting import Exporter, Post
from lambent.gateway.measuring import MetricsExporter
from lambent.observe.metrics import Metrics
from lambent.wire.otlp import Encoder

NAME = "lambent"


class Exporters:
    """Those that somebody wants: `None` for the others. Raises `InvalidSpec`."""

    def __init__(self, metrics: Metrics, clock: SystemClock, *, endpoint: str) -> None:
        instance = str(uuid.uuid4())
        spans = read_telemetry(os.environ, endpoint=endpoint)
        self.spans: Exporter | None = None
        if spans is not None:
            self.spans = Exporter(
                spans,
                clock,
                unix_ns=clock.unix_ns,
                encoder=_encoder(spans, instance),
                post=_post(spans),
                counts=metrics,
            )
        numbers = read_metrics_telemetry(os.environ, endpoint=endpoint)
        self.metrics: MetricsExporter | None = None
        if numbers is not None:
            self.metrics = MetricsExporter(
                numbers,
                metrics.measured,
                unix_ns=clock.unix_ns,
                encoder=_encoder(numbers, instance),
                post=_post(numbers),
            )


def _encoder(telemetry: Telemetry, instance: str) -> Encoder:
    resource: dict[str, Value] = {
        "service.version": __version__,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        "service.instance.id": instance,
        **telemetry.resource,
    }
    return Encoder(resource, name=NAME, version=__version__)


def _post(telemetry: Telemetry) -> Post:
    from lambent.gateway.posting import HttpPost  # see there

    return HttpPost(telemetry, user_agent=f"Lambent/{__version__}")
