"""One file for each door, and what all of them are given."""

from __future__ import annotations

from typing import Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError
from lambent.core.invocation import JSON, Asked, Called, Invocation, Outcome, new_id
from lambent.gateway.address import sticky_of
from lambent.gateway.auth import Keys
from lambent.gateway.bodies import Bodies
from lambent.gateway.deadline import deadline_of
from lambent.gateway.flow import Streams
from lambent.gateway.presence import Presence
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply
from lambent.gateway.tracing import trace_of
from lambent.pool.routes import Routes


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


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """What is behind every door: who runs invocations, who answers them, whose keys are good.

    `bodies` is the room for what is sent, `body_bytes_max` the limit of one body.
    """

    invoker: Invoker
    routes: Routes
    keys: Keys
    clock: Clock
    bodies: Bodies
    body_bytes_max: int


def invocation_of(
    request: Request,
    routes: Routes,
    *,
    project: str,
    name: str,
    alias: str,
    body: bytes,
    arrived_s: float | None = None,
    content_type: str = JSON,
    client_context: str = "",
    more: bool = False,
    asked: Asked | None = None,
    called: Called | None = None,
) -> Invocation:
    """What a request asks of a deployment, under the request's id, in its trace and by its caller's deadline.

    `arrived_s` (monotonic) is there where somebody waits for the outcome. Raises `CallerFault`.
    """
    headers = request.headers
    request.invocation_id = request.invocation_id or new_id()
    return Invocation(
        id=request.invocation_id,
        project=project,
        deployment=name,
        body=body,
        content_type=content_type,
        client_context=client_context,
        alias=alias,
        sticky=sticky_of(headers, routes, project, name, alias),
        more=more,
        asked=asked,
        deadline_s=None if arrived_s is None else deadline_of(headers, arrived_s),
        trace=trace_of(headers, request.scope["headers"]),
        called=called,
    )
