"""A ticket as those see it who show it in the words of others."""

from __future__ import annotations

from lambent.core.errors import StorageBroken
from lambent.storage.tickets import Ticket
from lambent.wire.faces import Filed, face_from


def filed_of(ticket: Ticket) -> Filed:
    """What was accepted, and what came of it. Raises `StorageBroken` where it has no such words."""
    face = face_from(ticket.face)
    if face is None:
        raise StorageBroken(f"{ticket.id!r} was not accepted through another's API")
    return Filed(
        id=ticket.id,
        deployment=ticket.deployment,
        state=ticket.state.value,
        face=face,
        body=ticket.body,
        result=ticket.result,
        result_type=ticket.result_type,
        error=ticket.error,
        created_unix_ms=ticket.created_unix_ms,
        ended_unix_ms=ticket.ended_unix_ms,
    )
