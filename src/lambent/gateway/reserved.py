"""Invocations that are held to what was reserved for their deployment: over it they are refused at once."""

from __future__ import annotations

from typing import Final

from lambent.core.invocation import Invocation, Outcome
from lambent.gateway.flow import Streams
from lambent.gateway.presence import Presence
from lambent.gateway.protocols import Invoker
from lambent.pool.reservations import Reservations


class Reserved:
    """See `protocols.Invoker`."""

    def __init__(self, invoker: Invoker, reservations: Reservations) -> None:
        self._invoker: Final = invoker
        self._reservations: Final = reservations

    async def invoke(
        self, invocation: Invocation, *, client: Presence | None = None, streams: Streams | None = None
    ) -> Outcome:
        """How it ended. Raises `QueueFull` where as many run as may."""
        self._reservations.enter(invocation.project, invocation.deployment, invocation.alias)
        try:
            return await self._invoker.invoke(invocation, client=client, streams=streams)
        finally:
            self._reservations.leave(invocation.project, invocation.deployment, invocation.alias)

    async def check_room(self, project: str, name: str) -> None:
        """Raise `QueueFull` where an invocation of a deployment would be refused now."""
        await self._invoker.check_room(project, name)
