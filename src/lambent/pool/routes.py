"""Which revision answers under a name, now. Control writes, the gateway reads; no disk is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, NotFound
from lambent.core.spec import DeploymentSpec, Kind
from lambent.wire.process import RevisionPlan


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """An active deployment.

    `needs_model`: its revision has no model yet and `spec.train` names the job that makes it.
    """

    project: str
    name: str
    spec: DeploymentSpec
    plan: RevisionPlan
    needs_model: bool = False
    created_unix_ms: int = 0  # when the revision was made

    @property
    def invocable(self) -> bool:
        """A job is run, not invoked."""
        return self.spec.kind is not Kind.JOB


class Routes:
    """The table of routes. Subscribers hear of each change after it is made: the old route and the new."""

    def __init__(self) -> None:
        self._routes: Final[dict[tuple[str, str], Route]] = {}
        self._subscribers: Final[list[Callable[[Route | None, Route | None], None]]] = []

    def get(self, project: str, name: str) -> Route | None:
        """The route of a deployment, or None."""
        return self._routes.get((project, name))

    def invocable(self, project: str, name: str) -> Route:
        """The route of a deployment. Raises `NotFound`, and `CallerFault` for a job."""
        route = self._routes.get((project, name))
        if route is None:
            raise NotFound(f"there is no deployment {name!r}; `lambent ls` lists what there is")
        if not route.invocable:
            raise CallerFault(f"{name!r} is a job: start it with `lambent run {name}`")
        return route

    def all(self) -> Iterable[Route]:
        """Every route, in no order."""
        return tuple(self._routes.values())

    def put(self, route: Route) -> None:
        """Make `route` the one that answers under its name."""
        key = (route.project, route.name)
        before = self._routes.get(key)
        self._routes[key] = route
        self._tell(before, route)

    def remove(self, project: str, name: str) -> None:
        """Stop answering under a name. Harmless where there is none."""
        before = self._routes.pop((project, name), None)
        if before is not None:
            self._tell(before, None)

    def subscribe(self, listener: Callable[[Route | None, Route | None], None]) -> None:
        """Hear of every later change."""
        self._subscribers.append(listener)

    def _tell(self, before: Route | None, after: Route | None) -> None:
        for listener in self._subscribers:
            listener(before, after)
