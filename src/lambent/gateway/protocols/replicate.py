"""Replicate's HTTP API over everything that is deployed: predictions are asynchronous invocations.

`{owner}/{name}` is the deployment `{name}`, whoever is said to own it; a version is a revision.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from lambent.core.errors import InvalidSpec, LambentError, NotFound
from lambent.core.invocation import Principal, Role
from lambent.core.routing import OWN
from lambent.gateway.address import alias_of
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.filing import WAIT_S_MAX, Filing, Wish
from lambent.gateway.requests import NotAllowed, Request
from lambent.gateway.responses import Reply, headers_of, json_reply
from lambent.pool.routes import Route
from lambent.wire import replicate
from lambent.wire.faces import State

WAIT: Final = re.compile(r"wait(?:\s*=\s*\"?(?P<seconds>[0-9]{1,6})\"?)?")


class ReplicateDoor:
    """`/v1/predictions`, what `/v1/models` and `/v1/deployments` have of them, and their webhooks' secret."""

    def __init__(self, behind: Behind, filing: Filing, *, secret: Callable[[str], Awaitable[str]]) -> None:
        """`secret` tells what a project's webhooks are signed with."""
        self._secret: Final = secret
        self._filing: Final = filing
        self._behind: Final = behind

    def claims(self, request: Request) -> bool:
        """By the path."""
        path = request.path
        return path.startswith("/v1/") and replicate.PATH.fullmatch(path) is not None

    async def answer(self, request: Request) -> Reply | None:
        """See `Door.answer`."""
        match = replicate.PATH.fullmatch(request.path)
        if match is None:
            raise NotFound(f"there is nothing at {request.path}")
        principal = await self._behind.keys.authenticate(request.headers)
        reads = request.method in ("GET", "HEAD")
        if (ticket := match["id"]) is not None:
            _allow(request, reads=match["cancel"] is None)
            if reads:
                return json_reply(200, replicate.prediction(await self._filing.find(principal, ticket)))
            return json_reply(200, replicate.prediction(await self._filing.cancel(principal, ticket)))
        if match["secret"] is not None:
            _allow(request, reads=True)
            principal.require(Role.ADMIN)
            return json_reply(200, {"key": await self._secret(principal.project)})
        if match["name"] is None or match["what"] == "/predictions":
            _allow(request, reads=False)
            return await self._create(request, principal, match["owner"] or "", match["name"] or "")
        _allow(request, reads=True)
        principal.require(Role.READ)
        return self._versions(principal, match["name"], match["version"])

    def refuse(self, _: Request, error: LambentError) -> Reply:
        """RFC 7807, as Replicate refuses."""
        status = 422 if isinstance(error, InvalidSpec) else error.status
        title = HTTPStatus(status).phrase
        return json_reply(status, replicate.trouble(status, title, error.message), headers_of(error))

    async def _create(self, request: Request, principal: Principal, owner: str, name: str) -> Reply:
        wanted: replicate.Wanted = await self._filing.read(request, principal, replicate.Wanted)
        if not name:
            owner, name = self._named(principal.project, wanted.version or "")
        route = self._behind.routes.invocable(principal.project, name)
        wish = Wish(
            route=route,
            alias=alias_of(request.headers) or OWN,
            input=wanted.input,
            webhook=wanted.completed,
            model=f"{owner or principal.project}/{route.name}",
        )
        filed = await self._filing.accept(request, principal, wish)
        wait_s = _wait_s(request)
        if wait_s:
            filed = await self._filing.find(principal, filed.id, wait_s=wait_s)
        shown = replicate.prediction(filed)
        if wait_s and filed.state == State.RUNNING:  # clients take any other status for an end
            shown["status"] = replicate.STATUSES[State.QUEUED]
        location = f"{replicate.PREDICTIONS}/{filed.id}".encode()
        return json_reply(201, shown, [(b"location", location)])

    def _named(self, project: str, version: str) -> tuple[str, str]:
        """Whom a version means: a revision, or `name`, `owner/name` or `owner/name:revision`."""
        named, _, revision = version.rpartition(":") if ":" in version else (version, "", "")
        route = self._of_revision(project, revision or version)
        if route is not None:
            return "", route.name
        owner, _, name = named.rpartition("/")
        if not revision and name and self._behind.routes.get(project, name):
            return owner, name
        raise InvalidSpec(f"version: {version!r} is no revision that is live here, nor a deployment's name")

    def _of_revision(self, project: str, revision: str) -> Route | None:
        route = self._behind.routes.of_revision(revision)
        active = route is not None and self._behind.routes.get(project, route.name)
        return active if active and active.plan.revision == revision else None

    def _versions(self, principal: Principal, name: str, version: str | None) -> Reply:
        plan = self._behind.routes.invocable(principal.project, name).plan
        if version is not None and version != plan.revision:
            raise NotFound(f"{version!r} is not the revision of {name!r} that answers")
        # The day is what is known of it here: the names of its logs begin with it.
        shown = replicate.version_of(plan.revision, day=plan.log_stream[:10].replace("/", "-"))
        if version is not None:
            return json_reply(200, shown)
        return json_reply(200, {"previous": None, "next": None, "results": [shown]})


def _allow(request: Request, *, reads: bool) -> None:
    if (request.method in ("GET", "HEAD")) != reads or (not reads and request.method != "POST"):
        raise NotAllowed(f"{request.method} {request.path}: use {'GET' if reads else 'POST'}")


def _wait_s(request: Request) -> float:
    """Of `Prefer: wait` and `Prefer: wait=N`."""
    for one in request.headers.get(b"prefer", b"").decode("latin-1").split(","):
        if match := WAIT.fullmatch(one.strip().lower()):
            return min(WAIT_S_MAX, float(match["seconds"] or WAIT_S_MAX))
    return 0.0
