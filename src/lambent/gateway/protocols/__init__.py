"""One file for each door, and what all of them are given."""

from __future__ import annotations

from typing import Protocol

from lambent.core.errors import LambentError
from lambent.core.invocation import Invocation, Outcome
from lambent.gateway.flow import Streams
from lambent.gateway.presence import Presence
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply


class Door(Protocol):
    """Turns the requests of one protocol into invocations, and outcomes into its answers."""

    async def answer(self, request: Request) -> Reply | None:
        """The answer; `None` where it has been sent.

        Raises `LambentError`, which goes to `refuse`, and `ClientLeft`.
        """

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """An error in the protocol's own words."""


class ClaimingDoor(Door, Protocol):
    """A door that knows its requests by their paths and headers."""

    def claims(self, request: Request) -> bool:
        """Whether a request is of this protocol. Asked for every request, so it is cheap."""


class Invoker(Protocol):
    """Who runs invocations: the dispatcher."""

    async def invoke(
        self, invocation: Invocation, *, client: Presence | None = None, streams: Streams | None = None
    ) -> Outcome:
        """Run it and say how it ended. An answer that streams goes to `streams`, where there is one."""

    async def check_room(self, project: str, name: str) -> None:
        """Raise `QueueFull` where an invocation of a deployment would be refused now."""
