"""The doors of other ecosystems, AWS's apart: inference and tools here, the rest beside it."""

from __future__ import annotations

from collections.abc import Sequence

from lambent import __version__
from lambent.core.invocation import Status
from lambent.core.naming import counted_as
from lambent.gateway.protocols import Behind, ClaimingDoor
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.mcp import McpDoor
from lambent.gateway.protocols.open_inference.door import OpenInferenceDoor
from lambent.gateway.protocols.open_inference.models import Models, Runs
from lambent.gateway.protocols.predict_v1 import PredictDoor
from lambent.gateway.protocols.torchserve import TorchServeDoor
from lambent.wiring.filing import filing
from lambent.wiring.parts import Parts
from lambent.wiring.talking import talking


def protocols(parts: Parts, behind: Behind, apps: AppsDoor) -> Sequence[ClaimingDoor]:
    """Each claims paths of its own."""

    def accepts() -> bool:
        return parts.dispatcher.accepting

    return [
        OpenInferenceDoor(behind, models=inference_models(parts), version=__version__, accepts=accepts),
        PredictDoor(behind, apps=apps),
        McpDoor(behind, version=__version__),
        TorchServeDoor(behind, apps=apps, accepts=accepts),
        *talking(parts, behind),
        *filing(parts, behind),
    ]


def inference_models(parts: Parts) -> Models:
    """What the Open Inference Protocol knows of models."""

    def runs(project: str, name: str) -> Runs:
        ended = [*parts.metrics.ended(counted_as(project, name))]
        good = [one for one in ended if one[0] == Status.OK]
        bad = [one for one in ended if one[0] != Status.OK]
        return Runs(*_summed(good), *_summed(bad))

    return Models(parts.routes, parts.pool, runs)


def _summed(ended: Sequence[tuple[str, int, float]]) -> tuple[int, float]:
    return sum(count for _, count, _ in ended), sum(seconds for _, _, seconds in ended)
