"""RunPod's serverless API over everything that is deployed: jobs are asynchronous invocations.

`RUNPOD_ENDPOINT_BASE_URL=http://HOST:PORT/runpod/v2`; an endpoint's id is a deployment's name, or
`name:alias`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from lambent.core.errors import CallerFault, LambentError, NotFound
from lambent.core.invocation import Principal, Role
from lambent.core.naming import name_and_alias
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.filing import Filing, Wish
from lambent.gateway.requests import NotAllowed, Request
from lambent.gateway.responses import Reply, headers_of, json_reply
from lambent.pool.routes import Route
from lambent.wire import runpod
from lambent.wire.faces import Filed, came_of

SYNC_S: Final = 60.0  # how long `runsync` waits; its client asks on
READ_MAX: Final = 10_000  # jobs of which it is remembered that `stream` has told them

Health = Callable[[Route], dict[str, Any]]


class RunPodDoor:
    """`/runpod/v2/{name}/...`. `health` says how a deployment stands."""

    def __init__(self, behind: Behind, filing: Filing, health: Health) -> None:
        self._filing: Final = filing
        self._behind: Final = behind
        self._health: Final = health
        self._told: Final[OrderedDict[str, None]] = OrderedDict()

    def claims(self, request: Request) -> bool:
        """By the path."""
        return request.path.startswith(runpod.PREFIX)

    async def answer(self, request: Request) -> Reply | None:
        """See `Door.answer`."""
        match = runpod.PATH.fullmatch(request.path)
        if match is None:
            raise NotFound(f"there is nothing at {request.path}")
        principal = await self._behind.keys.authenticate(request.headers)
        name, alias = name_and_alias(match["name"])
        route = self._behind.routes.invocable(principal.project, name)
        verb, ticket = match["verb"].partition("/")[0], match["id"]
        _allow(request, verb)
        if verb == "health":
            principal.require(Role.READ)
            return json_reply(200, self._health(route))
        if ticket is None:
            filed = await self._accept(request, principal, route, alias)
            if verb == "run":
                return json_reply(200, runpod.job(filed))
            filed = await self._filing.find(principal, filed.id, wait_s=SYNC_S)
            return json_reply(200, runpod.job(filed))
        principal.require(Role.INVOKE if verb == "cancel" else Role.READ)
        filed = await self._filing.find(principal, ticket, wait_s=SYNC_S if verb == "status-sync" else 0.0)
        if filed.deployment != name:
            raise NotFound(f"{name!r} has no job {ticket!r}")
        if verb == "cancel":
            return json_reply(200, runpod.job(await self._filing.cancel(principal, ticket)))
        return json_reply(200, self._streamed(filed) if verb == "stream" else runpod.job(filed))

    def refuse(self, _: Request, error: LambentError) -> Reply:
        """`{"error": "..."}`."""
        return json_reply(error.status, {"error": error.message, "status": error.status}, headers_of(error))

    async def _accept(self, request: Request, principal: Principal, route: Route, alias: str) -> Filed:
        wanted: runpod.Wanted = await self._filing.read(request, principal, runpod.Wanted)
        if wanted.input is None:
            raise CallerFault("the request needs an input")
        wish = Wish(
            route=route, alias=alias, input=wanted.input, webhook=wanted.webhook or "", model=route.name
        )
        return await self._filing.accept(request, principal, wish)

    def _streamed(self, filed: Filed) -> dict[str, Any]:
        """What it said, once: who asks again hears nothing more, and so that it is over."""
        shown = runpod.job(filed)
        shown["stream"] = []
        if "output" in shown and filed.id not in self._told:
            self._told[filed.id] = None
            if len(self._told) > READ_MAX:
                self._told.popitem(last=False)
            shown["stream"] = runpod.pieces_of(came_of(filed).output)
        return shown


def _allow(request: Request, verb: str) -> None:
    reads = verb not in ("run", "runsync", "cancel")
    allowed = ("GET", "HEAD", "POST") if verb in ("status", "stream", "status-sync") else ("GET", "HEAD")
    if request.method not in (allowed if reads else ("POST",)):
        raise NotAllowed(f"{request.method} {request.path}: use {'GET' if reads else 'POST'}")
