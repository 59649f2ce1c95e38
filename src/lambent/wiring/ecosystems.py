"""The doors of other ecosystems, AWS's apart: inference and tools here, the rest beside it."""

from __future__ import annotations

from collections.abc import Sequence

from lambent import __version__
from lambent.clock import SystemClock
from lambent.core.invocation import Status
from lambent.gateway.bodies import Bodies
from lambent.gateway.protocols import ClaimingDoor
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.mcp import McpDoor
from lambent.gateway.protocols.open_inference.door import OpenInferenceDoor
from lambent.gateway.protocols.open_inference.generating import Generating
from lambent.gateway.protocols.open_inference.inferring import Inferring
from lambent.gateway.protocols.open_inference.models import Models, Runs
from lambent.gateway.protocols.predict_v1 import PredictDoor
from lambent.gateway.protocols.torchserve import TorchServeDoor
from lambent.wiring.filing import filing
from lambent.wiring.parts import Parts
from lambent.wiring.talking import talking


def protocols(parts: Parts, apps: AppsDoor, bodies: Bodies, clock: SystemClock) -> Sequence[ClaimingDoor]:
    """Each claims paths of its own."""
    return [
        OpenInferenceDoor(
            invoker=parts.dispatcher,
            inferring=Inferring(parts.dispatcher, parts.routes),
            generating=Generating(parts.dispatcher, parts.routes),
            models=inference_models(parts),
            keys=parts.keys,
            clock=clock,
            bodies=bodies,
            body_bytes_max=parts.settings.body_bytes_max,
            version=__version__,
            accepts=lambda: parts.dispatcher.accepting,
        ),
        PredictDoor(
            invoker=parts.dispatcher,
            apps=apps,
            routes=parts.routes,
            keys=parts.keys,
            clock=clock,
            bodies=bodies,
            body_bytes_max=parts.settings.body_bytes_max,
        ),
        McpDoor(
            invoker=parts.dispatcher,
            routes=parts.routes,
            keys=parts.keys,
            clock=clock,
            bodies=bodies,
            body_bytes_max=parts.settings.body_bytes_max,
            version=__version__,
        ),
        TorchServeDoor(
            invoker=parts.dispatcher,
            apps=apps,
            routes=parts.routes,
            keys=parts.keys,
            clock=clock,
            bodies=bodies,
            body_bytes_max=parts.settings.body_bytes_max,
            accepts=lambda: parts.dispatcher.accepting,
        ),
        *talking(parts, bodies, clock),
        *filing(parts, bodies),
    ]


def inference_models(parts: Parts) -> Models:
    """What the Open Inference Protocol knows of models."""

    def runs(deployment: str) -> Runs:
        ended = [*parts.metrics.ended(deployment)]
        good = [one for one in ended if one[0] == Status.OK]
        bad = [one for one in ended if one[0] != Status.OK]
        return Runs(*_summed(good), *_summed(bad))

    return Models(parts.routes, parts.pool, runs)


def _summed(ended: Sequence[tuple[str, int, float]]) -> tuple[int, float]:
    return sum(count for _, count, _ in ended), sum(seconds for _, _, seconds in ended)
