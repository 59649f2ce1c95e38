"""Queues of messages, connected to the door by which AWS's clients use them."""

from __future__ import annotations

from lambent.gateway.protocols.aws.sqs import SqsService
from lambent.gateway.protocols.aws.sqs_messages import MessageOperations
from lambent.gateway.protocols.aws.sqs_moves import MoveOperations
from lambent.gateway.protocols.aws.sqs_policy import PolicyOperations
from lambent.gateway.protocols.aws.sqs_queues import QueueOperations
from lambent.wiring.parts import Parts


def sqs(parts: Parts) -> SqsService:
    """The service that AWS's clients know."""
    operations = {
        **QueueOperations(parts.queues).operations(),
        **PolicyOperations(parts.queues).operations(),
        **MessageOperations(parts.queues).operations(),
        **MoveOperations(parts.queues, parts.moves).operations(),
    }
    return SqsService(operations)
