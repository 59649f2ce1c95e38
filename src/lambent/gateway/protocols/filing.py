"""Work for the durable queue that comes in another API's words, and is asked about in them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from lambent.core.deferral import Reach, Terms
from lambent.core.errors import CallerFault, Conflict, NotFound
from lambent.core.invocation import PATH_BESIDE, Principal, Role
from lambent.core.urls import checked_url
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.protocols import Behind, invocation_of
from lambent.gateway.requests import Request
from lambent.pool.routes import Route
from lambent.storage.filed import filed_of
from lambent.wire.faces import Face, FaceKind, Filed, face_as_text, face_from
from lambent.wire.process import SPEAKS_HTTP
from lambent.wire.typed import from_json

WAIT_S_MAX: Final = 60.0
# Where the programs of these APIs are asked that serve HTTP by themselves: Cog's server, and RunPod's.
PATHS: Final = {FaceKind.REPLICATE: "/predictions", FaceKind.RUNPOD: "/runsync"}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a deployment: its input, and whom to tell of the end."""

    route: Route
    alias: str
    input: Any
    webhook: str = ""
    model: str = ""


class Filing:
    """Accepts such work, finds it and cancels it; each API sees its own alone."""

    def __init__(self, behind: Behind, acceptance: Acceptance, *, kind: FaceKind) -> None:
        self._behind: Final = behind
        self._acceptance: Final = acceptance
        self._kind: Final = kind

    async def read(self, request: Request, principal: Principal, kind: type[Any]) -> Any:
        """The body as `kind`. Raises `Forbidden`, `CallerFault` where it is none, and as reading does."""
        principal.require(Role.INVOKE)
        async with self._behind.bodies.hold(principal.project) as hold:
            body = await request.body(self._behind.body_bytes_max, hold)
            try:
                return from_json(body, kind)
            except msgspec.DecodeError as error:
                raise CallerFault(str(error)) from error

    async def accept(self, request: Request, principal: Principal, wish: Wish) -> Filed:
        """On disk once this returns. Raises what `Acceptance.accept` raises."""
        plan = wish.route.plan
        wraps = plan.runtime in SPEAKS_HTTP
        headers, scope = request.headers, request.scope
        host = headers.get(b"host", b"localhost").decode("latin-1")
        face = Face(self._kind, wish.model, plan.revision, f"{scope['scheme']}://{host}", wraps)
        beside = {"custom": {PATH_BESIDE: PATHS[self._kind]}}
        invocation = invocation_of(
            request,
            self._behind.routes,
            project=principal.project,
            name=wish.route.name,
            alias=wish.alias,
            body=msgspec.json.encode({"input": wish.input} if wraps else wish.input),
            client_context=msgspec.json.encode(beside).decode() if wraps else "",
        )
        terms = Terms(
            webhook=checked_url(wish.webhook) if wish.webhook else "",
            reach=Reach.ANY if principal.role.includes(Role.DEPLOY) else Reach.PUBLIC,
            face=face_as_text(face),
        )
        return filed_of(await self._acceptance.accept(invocation, terms=terms))

    async def find(self, principal: Principal, ticket: str, *, wait_s: float = 0.0) -> Filed:
        """One as it is, or once it has ended within `wait_s`. Raises `NotFound`."""
        principal.require(Role.READ)
        found = await self._acceptance.find(principal.project, ticket, wait_s=wait_s)
        face = face_from(found.face)
        if face is None or face.kind is not self._kind:
            raise NotFound(f"there is no {ticket!r} that was accepted here")
        return filed_of(found)

    async def cancel(self, principal: Principal, ticket: str) -> Filed:
        """Let one end that has not; one that has ended stays as it is. Raises `NotFound`."""
        principal.require(Role.INVOKE)
        await self.find(principal, ticket)
        try:
            return filed_of(await self._acceptance.cancel(principal.project, ticket))
        except Conflict:
            return await self.find(principal, ticket)
