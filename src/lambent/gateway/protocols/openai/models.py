"""`GET /v1/models` and `GET /v1/models/{model}`, which OpenAI, Anthropic and KServe's first protocol share.

One answer has the keys of all: each client reads its own and leaves the others.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from lambent.core.errors import LambentError, NotFound
from lambent.core.invocation import Principal, Role
from lambent.core.naming import name_and_alias
from lambent.core.spec import Kind
from lambent.gateway.protocols.speaking import request_id
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, headers_of, json_reply
from lambent.pool.routes import Route, Routes
from lambent.wire.anthropic import plain as anthropic
from lambent.wire.skills import Json
from lambent.wire.speech import trouble_of

MODELS: Final = "/v1/models"
ANTHROPIC: Final = b"anthropic-version"


class Models:
    """The models of a project, which are there whether they are awake or not."""

    def __init__(self, routes: Routes) -> None:
        self._routes: Final = routes

    def answer(self, request: Request, principal: Principal, path: str) -> Reply:
        """The list, or one of it. Raises `Forbidden`, `NotFound`."""
        principal.require(Role.READ)
        wanted = path[len(MODELS) + 1 :]
        if wanted:
            route = self._one(principal.project, wanted)
            found = _anthropic(route, wanted) if self.is_anthropic(request) else _model(route, wanted)
            return json_reply(200, found, request_id(request))
        routes = sorted(self._all(principal.project), key=lambda route: route.name)
        if self.is_anthropic(request):
            page = anthropic.page([_anthropic(route, route.name) for route in routes], request.query)
            return json_reply(200, page, request_id(request))
        names = [route.name for route in routes]
        listed = {"object": "list", "data": [_model(route, route.name) for route in routes], "models": names}
        return json_reply(200, listed, request_id(request))

    def is_anthropic(self, request: Request) -> bool:
        """Whether one of Anthropic's clients asks."""
        return ANTHROPIC in request.headers

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """In Anthropic's shape."""
        trouble = trouble_of(error)
        body = anthropic.error_body(trouble, request.invocation_id)
        return json_reply(trouble.status, body, [*request_id(request), *headers_of(error)])

    def _all(self, project: str) -> list[Route]:
        return [
            route
            for route in self._routes.all()
            if route.project == project and route.spec.kind is Kind.MODEL
        ]

    def _one(self, project: str, wanted: str) -> Route:
        name, alias = name_and_alias(wanted)
        route = self._routes.get(project, name)
        known = not alias or self._routes.split(project, name, alias) is not None
        if route is None or not route.invocable or not known:
            raise NotFound(f"The model `{wanted}` does not exist or you do not have access to it.")
        return route


def _model(route: Route, name: str) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": route.created_unix_ms // 1000,
        "owned_by": route.project,
        "name": name,
        "ready": True,  # it answers whoever asks: from cold, it is woken
        "model_version_status": [
            {
                "version": route.plan.version or str(route.plan.number),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ],
    }


def _anthropic(route: Route, name: str) -> Json:
    made = datetime.fromtimestamp(route.created_unix_ms // 1000, UTC)
    return anthropic.model(name, made.strftime("%Y-%m-%dT%H:%M:%SZ"))
