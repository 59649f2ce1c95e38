"""What a function's name and qualifier stand for."""

from __future__ import annotations

from lambent.core.routing import OWN
from lambent.gateway.protocols.aws.asked import Asked
from lambent.pool.routes import Route, Routes
from lambent.wire.aws.faults import not_found
from lambent.wire.aws.names import LATEST, FunctionName


def route_of(routes: Routes, asked: Asked, function: FunctionName) -> Route:
    """The route that a name stands for. Of the numbered versions only the active one answers.

    Where an alias is split, that is one of two.
    """
    arn = asked.place.function_arn(function.name, function.qualifier)
    if routes.get(asked.principal.project, function.name) is None:
        raise not_found(arn)
    route = routes.invocable(asked.principal.project, function.name)
    # What AWS's operations made has versions that were published; anything else is known by its number.
    own = route.spec.version or str(route.plan.number)
    if function.qualifier in ("", LATEST, own):
        return route
    if routes.split(route.project, route.name, function.qualifier) is None:
        raise not_found(arn)
    return routes.target(route.project, route.name, alias=function.qualifier, key="")


def alias_of(routes: Routes, project: str, function: FunctionName) -> str:
    """The alias under which a qualifier's invocations go; the active revision's is its number's, too."""
    qualifier = function.qualifier
    if qualifier in ("", LATEST):
        return OWN
    is_kept = not qualifier.isdecimal() or routes.split(project, function.name, qualifier) is not None
    return qualifier if is_kept else OWN
