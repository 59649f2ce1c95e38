"""The doors that models talk through."""

from __future__ import annotations

from collections.abc import Sequence

from lambent.clock import SystemClock
from lambent.gateway.bodies import Bodies
from lambent.gateway.protocols import ClaimingDoor
from lambent.gateway.protocols.anthropic import AnthropicDoor
from lambent.gateway.protocols.openai.door import OpenAIDoor
from lambent.gateway.protocols.openai.models import Models
from lambent.gateway.protocols.openai.operations import Operations
from lambent.gateway.protocols.speaking import Speaking
from lambent.wiring.parts import Parts


def talking(parts: Parts, bodies: Bodies, clock: SystemClock) -> Sequence[ClaimingDoor]:
    """OpenAI's and Anthropic's."""
    speaking = Speaking(invoker=parts.dispatcher, routes=parts.routes, clock=clock, notes=parts.exporter)
    return [
        OpenAIDoor(
            operations=Operations(speaking, clock).operations(),
            models=Models(parts.routes),
            keys=parts.keys,
            bodies=bodies,
            body_bytes_max=parts.settings.body_bytes_max,
        ),
        AnthropicDoor(
            speaking=speaking,
            keys=parts.keys,
            bodies=bodies,
            body_bytes_max=parts.settings.body_bytes_max,
        ),
    ]
