"""What is deployed, as AWS's clients read it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Final

from lambent.core.invocation import Role
from lambent.gateway.protocols.aws.asked import Asked, Operation, json_of
from lambent.gateway.protocols.aws.naming import route_of
from lambent.gateway.responses import Reply
from lambent.pool.routes import Route, Routes
from lambent.wire.aws import functions
from lambent.wire.aws.functions import FunctionConfiguration
from lambent.wire.aws.names import LATEST, read_name

PAGE_MAX: Final = 50
FUNCTIONS: Final = "/2015-03-31/functions"


class Reading:
    """ListFunctions, GetFunction, GetFunctionConfiguration."""

    def __init__(self, routes: Routes) -> None:
        self._routes: Final = routes

    def operations(self) -> Iterator[tuple[str, str, Operation]]:
        """By method and path."""
        yield "GET", FUNCTIONS, Operation(name="ListFunctions", run=self._list)
        one = f"{FUNCTIONS}/{{FunctionName}}"
        yield "GET", one, Operation(name="GetFunction", run=self._get)
        configuration = Operation(name="GetFunctionConfiguration", run=self._get_configuration)
        yield "GET", f"{one}/configuration", configuration

    async def _list(self, asked: Asked) -> Reply:
        asked.principal.require(Role.READ)
        query = asked.request.query
        most = query.get("MaxItems", "")
        size = min(PAGE_MAX, int(most)) if most.isdecimal() and 0 < len(most) < 6 else PAGE_MAX
        routes = sorted(
            (
                route
                for route in self._routes.all()
                if route.project == asked.principal.project
                and route.invocable
                and route.name > query.get("Marker", "")
            ),
            key=lambda route: route.name,
        )
        page: dict[str, object] = {
            "Functions": [_configuration(asked, route, LATEST) for route in routes[:size]]
        }
        if len(routes) > size:
            page["NextMarker"] = routes[size - 1].name
        return json_of(asked, page)

    async def _get(self, asked: Asked) -> Reply:
        configuration = self._described(asked)
        code = {"RepositoryType": "S3", "Location": ""}
        return json_of(asked, {"Configuration": configuration, "Code": code, "Tags": {}})

    async def _get_configuration(self, asked: Asked) -> Reply:
        return json_of(asked, self._described(asked))

    def _described(self, asked: Asked) -> FunctionConfiguration:
        asked.principal.require(Role.READ)
        function = read_name(asked.labels[0], asked.request.query.get("Qualifier", ""))
        return _configuration(asked, route_of(self._routes, asked, function), function.qualifier or LATEST)


def _configuration(asked: Asked, route: Route, version: str) -> FunctionConfiguration:
    major, minor, _ = platform.python_version_tuple()
    return functions.configuration(
        route.spec,
        place=asked.place,
        revision=route.plan.revision,
        version=version,
        modified_unix_ms=route.created_unix_ms,
        runtime=f"python{major}.{minor}",
    )
