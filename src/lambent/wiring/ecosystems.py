"""Doors of other ecosystems that need no more than what runs: the prediction protocol V1."""

from __future__ import annotations

from collections.abc import Sequence

from lambent.clock import SystemClock
from lambent.gateway.bodies import Bodies
from lambent.gateway.protocols import ClaimingDoor
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.predict_v1 import PredictDoor
from lambent.wiring.parts import Parts


def protocols(parts: Parts, apps: AppsDoor, bodies: Bodies, clock: SystemClock) -> Sequence[ClaimingDoor]:
    """Each claims paths of its own."""
    return [
        PredictDoor(
            invoker=parts.dispatcher,
            apps=apps,
            routes=parts.routes,
            keys=parts.keys,
            clock=clock,
            bodies=bodies,
            body_bytes_max=parts.settings.body_bytes_max,
        )
    ]
