"""TorchServe's inference API: `/predictions/{model}[/{version}]` and `/ping`.

A version is a revision's number, or an alias. Errors are `{"code", "type", "message"}`, as its frontend
writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from lambent.core.errors import LambentError, NotFound
from lambent.core.invocation import JSON, OCTETS, Outcome, Principal, Role, Status
from lambent.core.routing import OWN, pinned
from lambent.gateway.address import alias_of
from lambent.gateway.heads import headers_of as told_by
from lambent.gateway.heads import status_of
from lambent.gateway.protocols import Behind, invocation_of
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.requests import NotAllowed, Request
from lambent.gateway.responses import (
    JSON_HEADER,
    Header,
    Reply,
    headers_of,
    id_headers,
    json_reply,
    outcome_headers,
    type_header,
)
from lambent.pool.routes import Route
from lambent.wire import problem
from lambent.wire.process import Runtime
from lambent.wire.torchserve import PREDICTIONS, beside, refusal

PING: Final = "/ping"
UNREADABLE: Final = "Runtime.UnmarshalError"
FAILED: Final = 503  # TorchServe's status for a handler that raised
KINDS: Final[Mapping[int, str]] = {
    400: "BadRequestException",
    401: "InvalidKeyException",
    403: "InvalidKeyException",
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    413: "RequestEntityTooLargeException",
    429: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
}


class TorchServeDoor:
    """Every deployment answers it; a handler of TorchServe's sees headers and query, too."""

    def __init__(self, behind: Behind, *, apps: AppsDoor, accepts: Callable[[], bool]) -> None:
        self._behind: Final = behind
        self._apps: Final = apps
        self._accepts: Final = accepts

    def claims(self, request: Request) -> bool:
        """By the path."""
        return request.path.startswith(PREDICTIONS) or request.path == PING

    async def answer(self, request: Request) -> Reply | None:
        """Predict, or say that the server lives. Raises what the dispatcher raises."""
        if request.path == PING:
            well = self._accepts()
            return json_reply(200 if well else 503, {"status": "Healthy" if well else "Unhealthy"})
        if request.method not in ("POST", "PUT"):
            raise NotAllowed(f"{request.method} {request.path}: use POST or PUT")
        principal = await self._behind.keys.authenticate(request.headers)
        principal.require(Role.INVOKE)
        name, _, version = request.path[len(PREDICTIONS) :].partition("/")
        route = self._behind.routes.get(principal.project, name)
        if route is None:
            raise NotFound(f"Model not found: {name}")
        alias = self._alias(request, route, version)
        if self._apps.serves(principal.project, name, alias):
            return await self._apps.answer(request, principal, root_path="", name=name)
        return await self._predict(request, principal, route, alias)

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """As TorchServe's frontend refuses."""
        headers = [*headers_of(error), *id_headers(request.invocation_id)]
        return _refused(error.status, error.message, headers)

    async def _predict(self, request: Request, principal: Principal, route: Route, alias: str) -> Reply:
        if alias == OWN:
            await self._behind.invoker.check_room(principal.project, route.name)
        async with self._behind.bodies.hold(principal.project) as hold:
            arrived_s = self._behind.clock.now_s()
            body = await request.body(self._behind.body_bytes_max, hold)
            target = self._behind.routes.target(principal.project, route.name, alias=alias, key="")
            is_handler = target.plan.runtime is Runtime.TORCHSERVE
            said = request.headers.get(b"content-type")
            invocation = invocation_of(
                request,
                self._behind.routes,
                project=principal.project,
                name=route.name,
                alias=alias,
                body=body,
                arrived_s=arrived_s,
                content_type=said.decode("latin-1") if said else OCTETS if is_handler else JSON,
                client_context=beside(request.headers, request.query) if is_handler else "",
            )
            outcome = await self._behind.invoker.invoke(invocation, client=request.client)
        return _reply(invocation.id, outcome)

    def _alias(self, request: Request, route: Route, version: str) -> str:
        if not version:
            return alias_of(request.headers)
        if self._behind.routes.split(route.project, route.name, version) is not None:
            return version
        if (found := self._behind.routes.numbered(route, version)) is not None:
            return pinned(found.plan.revision)
        raise NotFound(f"Model version: {version} not found for model: {route.name}")


def _reply(invocation_id: str, outcome: Outcome) -> Reply:
    headers = outcome_headers(invocation_id, outcome)
    if outcome.status is Status.OK:
        if outcome.head is not None:
            headers.extend(told_by(outcome.head))
        headers.append(type_header(outcome.content_type))
        return Reply(status_of(outcome.head) if outcome.head else 200, headers, outcome.body)
    document = problem.of_outcome(outcome)
    if document.error_type == UNREADABLE:
        return _refused(400, document.detail, headers)
    status = FAILED if outcome.status is Status.FAILED and outcome.head is None else document.status
    said = f"{document.error_type}: {document.detail}" if document.error_type else document.detail
    return _refused(status, said, headers, kind="InternalServerException" if status >= 500 else "")


def _refused(status: int, message: str, headers: list[Header], *, kind: str = "") -> Reply:
    named = kind or KINDS.get(status) or ("InternalServerException" if status >= 500 else KINDS[400])
    return Reply(status, [JSON_HEADER, *headers], refusal(status, named, message))
