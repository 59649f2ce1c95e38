"""The doors that models talk through."""

from __future__ import annotations

from collections.abc import Sequence

from lambent.gateway.protocols import Behind, ClaimingDoor
from lambent.gateway.protocols.anthropic import AnthropicDoor
from lambent.gateway.protocols.openai.door import OpenAIDoor
from lambent.gateway.protocols.openai.models import Models
from lambent.gateway.protocols.openai.operations import Operations
from lambent.gateway.protocols.speaking import Speaking
from lambent.wiring.parts import Parts


def talking(parts: Parts, behind: Behind) -> Sequence[ClaimingDoor]:
    """OpenAI's and Anthropic's."""
    clock = behind.clock
    speaking = Speaking(invoker=behind.invoker, routes=behind.routes, clock=clock, notes=parts.exporter)
    return [
        OpenAIDoor(behind, operations=Operations(speaking, clock).operations(), models=Models(behind.routes)),
        AnthropicDoor(behind, speaking),
    ]
