"""SageMaker's two services, connected: its runtime, and its control API."""

from __future__ import annotations

from collections.abc import Iterator

from lambent.clock import SystemClock
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.protocols.aws.endpoints import PATH, Endpoints, EndpointService, Limits
from lambent.gateway.protocols.aws.endpoints_later import EndpointsLater
from lambent.gateway.protocols.aws.services import RestService, Service
from lambent.wiring.parts import Parts

SCOPE = "sagemaker"  # both services sign for it


def services(parts: Parts, acceptance: Acceptance, clock: SystemClock) -> Iterator[Service]:
    """As the door asks them."""
    yield _runtime(parts, acceptance, clock)


def _runtime(parts: Parts, acceptance: Acceptance, clock: SystemClock) -> EndpointService:
    limits = Limits(
        request_bytes_max=parts.settings.aws_request_bytes_max,
        later_bytes_max=parts.settings.aws_event_bytes_max,
        stream_bytes_max=parts.settings.aws_stream_bytes_max,
    )
    now = Endpoints(invoker=parts.dispatcher, routes=parts.routes, clock=clock, limits=limits)
    later = EndpointsLater(acceptance=acceptance, routes=parts.routes, limits=limits)
    return EndpointService(RestService(SCOPE, PATH, [*now.operations(), *later.operations()]))
