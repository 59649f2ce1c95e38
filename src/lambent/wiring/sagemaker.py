"""SageMaker's two services, connected: its runtime, and its control API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lambent.clock import SystemClock
from lambent.control.aws.sagemaker.data import ModelData
from lambent.control.aws.sagemaker.endpoints import EndpointVerbs
from lambent.control.aws.sagemaker.models import ModelVerbs
from lambent.control.aws.sagemaker.raising import Raising
from lambent.control.aws.sagemaker.shelf import Shelf
from lambent.control.aws.sagemaker.tags import TagVerbs
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.protocols.aws.control import served_by_name
from lambent.gateway.protocols.aws.endpoints import PATH, Endpoints, Limits
from lambent.gateway.protocols.aws.endpoints_later import EndpointsLater
from lambent.gateway.protocols.aws.services import InItsWords, RestService, Service, TargetService
from lambent.wire.aws import sagemaker, sagemaker_control
from lambent.wire.aws.control import ControlOperation
from lambent.wiring.parts import Parts

SCOPE: Final = "sagemaker"  # both services sign for it
TARGET: Final = "SageMaker"


class SageMaker:
    """What stands behind AWS's door for models and their endpoints."""

    def __init__(self, parts: Parts, clock: SystemClock) -> None:
        self._parts: Final = parts
        self._clock: Final = clock
        self._shelf: Final = Shelf(parts.kept.store.records, clock)
        self._raising: Final = Raising(
            shelf=self._shelf,
            deployments=parts.deployments,
            aliasing=parts.aliasing,
            activation=parts.activation,
            tasks=parts.tasks,
        )

    async def restore(self, project: str) -> None:
        """At start: go on with what was under way in a project."""
        await self._raising.restore(project)

    def services(self, acceptance: Acceptance) -> Iterator[Service]:
        """As the door asks them."""
        yield InItsWords(self._runtime(acceptance), sagemaker.in_its_words)
        control = TargetService(SCOPE, TARGET, served_by_name(self._operations()))
        yield InItsWords(control, sagemaker_control.in_its_words)

    def _runtime(self, acceptance: Acceptance) -> RestService:
        parts, settings = self._parts, self._parts.settings
        limits = Limits(
            request_bytes_max=settings.aws_request_bytes_max,
            later_bytes_max=settings.aws_event_bytes_max,
            stream_bytes_max=settings.aws_stream_bytes_max,
        )
        now = Endpoints(invoker=parts.dispatcher, routes=parts.routes, clock=self._clock, limits=limits)
        later = EndpointsLater(acceptance=acceptance, routes=parts.routes, limits=limits)
        return RestService(SCOPE, PATH, [*now.operations(), *later.operations()])

    def _operations(self) -> Iterator[ControlOperation]:
        parts, shelf = self._parts, self._shelf
        data = ModelData(parts.kept.artifacts, size_bytes_max=parts.settings.artifact_bytes_max)
        yield from ModelVerbs(shelf=shelf, data=data).operations()
        yield from EndpointVerbs(shelf=shelf, raising=self._raising, routes=parts.routes).operations()
        yield from TagVerbs(shelf).operations()
