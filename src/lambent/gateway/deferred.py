"""How the durable queue has an invocation run: as for a client that may leave, who is whoever cancels it."""

from __future__ import annotations

import asyncio
from typing import Final

from lambent.core.errors import Conflict
from lambent.core.invocation import Invocation, Outcome
from lambent.gateway.asking import Invoke
from lambent.gateway.presence import ClientLeft, Presence


class Deferred:
    """Runs invocations that can be cancelled."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke: Final = invoke

    async def __call__(self, invocation: Invocation, cancelled: asyncio.Future[None], /) -> Outcome:
        """How it ended; from when `cancelled` is done on nobody wants it.

        Raises `Conflict` where it was cancelled before it ran, and what the dispatcher raises.
        """
        presence = Presence()
        cancelled.add_done_callback(lambda _: presence.leave())
        try:
            return await self._invoke(invocation, client=presence)
        except ClientLeft:
            raise Conflict(f"{invocation.id!r} was cancelled before it ran") from None
