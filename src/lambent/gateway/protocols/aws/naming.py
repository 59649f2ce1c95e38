"""What a function's name and qualifier stand for."""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.core.invocation import Called
from lambent.core.routing import OWN
from lambent.gateway.protocols.aws.asked import Asked
from lambent.pool.routes import Route, Routes
from lambent.wire.aws.faults import not_found
from lambent.wire.aws.names import LATEST, FunctionName, Place, read_name

KNOWN_MAX: Final = 1000
QUERY_BYTES_MAX: Final = 200  # of one that is remembered


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A function as it was asked for: its route, where an alias is split one of two.

    Its invocations go under `alias`. `version` is empty for an alias, which stands for one.
    """

    function: FunctionName
    route: Route
    alias: str
    is_split: bool
    called: Called

    @property
    def version(self) -> str:
        """Empty where that depends on who answers."""
        return self.called.version


class Naming:
    """Finds functions, and remembers those that were found until a route changes."""

    def __init__(self, routes: Routes) -> None:
        self._routes: Final = routes
        self._known: Final[dict[tuple[str, Place, str, bytes], Named]] = {}
        routes.subscribe(self._changed)

    def named(self, asked: Asked) -> Named:
        """The function that the path and the query name. Raises `Fault`, and `CallerFault` for a job."""
        query: bytes = asked.request.scope["query_string"]
        key = (asked.principal.project, asked.place, asked.labels[0], query)
        known = self._known.get(key)
        if known is not None:
            return known
        found = self._find(asked)
        if len(query) <= QUERY_BYTES_MAX:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[key] = found
        return found

    def _find(self, asked: Asked) -> Named:
        function = read_name(asked.labels[0], asked.request.query.get("Qualifier", ""), place=asked.place)
        project = asked.principal.project
        route = self._route(project, asked.place, function)
        alias = self._alias(project, function)
        qualifier = function.qualifier or LATEST
        is_version = qualifier == LATEST or qualifier.isdecimal()
        arn = asked.place.function_arn(function.name, function.qualifier)
        return Named(
            function=function,
            route=route,
            alias=alias,
            is_split=self._routes.split(project, function.name, alias) is not None,
            called=Called(arn, qualifier if is_version else ""),
        )

    def _route(self, project: str, place: Place, function: FunctionName) -> Route:
        """Of the numbered versions only the active one answers."""
        arn = place.function_arn(function.name, function.qualifier)
        if self._routes.get(project, function.name) is None:
            raise not_found(place.function_arn(function.name, function.qualifier or LATEST))
        route = self._routes.invocable(project, function.name)
        # What AWS's operations made has versions that were published; anything else is known by its number.
        own = route.spec.version or str(route.plan.number)
        if function.qualifier in ("", LATEST, own):
            return route
        if self._routes.split(project, function.name, function.qualifier) is None:
            raise not_found(arn)
        return self._routes.target(project, function.name, alias=function.qualifier, key="")

    def _alias(self, project: str, function: FunctionName) -> str:
        """The active revision's number is its own name's, too."""
        qualifier = function.qualifier
        if qualifier in ("", LATEST):
            return OWN
        is_kept = not qualifier.isdecimal() or self._routes.split(project, function.name, qualifier)
        return qualifier if is_kept else OWN

    def _changed(self, before: Route | None, after: Route | None) -> None:
        self._known.clear()
