"""Which revision answers under a name, now. Control writes, the gateway reads; no disk is touched.

A deployment's active revision answers under its own name. Beside it those revisions are live that an alias
names, or that are on trial; each has a crew, a lane and a traffic of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, NotFound
from lambent.core.routing import OWN, PIN, Split, pick
from lambent.core.spec import DeploymentSpec, Kind
from lambent.wire.process import RevisionPlan

Listener = Callable[["Route | None", "Route | None"], None]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A live revision of a deployment.

    `needs_model`: its revision has no model yet and `spec.train` names the job that makes it. `beside`: it is
    live beside the active revision.
    """

    project: str
    name: str
    spec: DeploymentSpec
    plan: RevisionPlan
    needs_model: bool = False
    created_unix_ms: int = 0  # when the revision was made
    beside: bool = False

    @property
    def invocable(self) -> bool:
        """A job is run, not invoked."""
        return self.spec.kind is not Kind.JOB

    @property
    def lane(self) -> tuple[str, str]:
        """What its queue and its traffic are known by: the active revision's pass from one to the next."""
        return self.project, f"{self.name}@{self.plan.revision}" if self.beside else self.name


class Arrangement(msgspec.Struct, frozen=True):
    """Who answers for a deployment: the active revision, those beside it, and who gets what, by alias."""

    route: Route
    beside: tuple[Route, ...] = ()
    splits: Mapping[str, Split] = {}

    def pruned(self) -> Arrangement:
        """Without what no split names, and without the splits that name what is not there."""
        own = self.route.plan.revision
        there = {own, *(one.plan.revision for one in self.beside)}
        splits = {alias: one for alias, one in self.splits.items() if _named(one) <= there}
        named = {revision for one in splits.values() for revision in _named(one)} - {own}
        beside = tuple(one for one in self.beside if one.plan.revision in named)
        return Arrangement(self.route, beside, splits)


class Routes:
    """The table of routes. Subscribers hear of each change after it is made: the old route and the new."""

    def __init__(self) -> None:
        self._active: Final[dict[tuple[str, str], Route]] = {}
        self._others: Final[dict[tuple[str, str], Arrangement]] = {}  # where there is more than the active
        self._live: Final[dict[str, Route]] = {}  # by revision
        self._subscribers: Final[list[Listener]] = []

    def get(self, project: str, name: str) -> Route | None:
        """The route of a deployment's active revision, or None."""
        return self._active.get((project, name))

    def invocable(self, project: str, name: str) -> Route:
        """The same. Raises `NotFound`, and `CallerFault` for a job."""
        route = self._active.get((project, name))
        if route is None:
            raise NotFound(f"there is no deployment {name!r}; `lambent ls` lists what there is")
        if not route.invocable:
            raise CallerFault(f"{name!r} is a job: start it with `lambent run {name}`")
        return route

    def target(self, project: str, name: str, *, alias: str, key: str) -> Route:
        """Who answers an invocation under an alias; `key` as in `routing.pick`. Raises as `invocable`."""
        route = self.invocable(project, name)
        others = self._others.get((project, name))
        split = others.splits.get(alias) if others else None
        if split is None:
            return route if alias == OWN else self._pinned(route, alias)
        return self._live[pick(split, key)]

    def _pinned(self, route: Route, alias: str) -> Route:
        found = self._live.get(alias.removeprefix(PIN)) if alias.startswith(PIN) else None
        if found is None or found.name != route.name or found.project != route.project:
            name = route.name
            raise NotFound(f"{name!r} has no alias {alias!r}; `lambent alias {name} ls` lists them")
        return found

    def split(self, project: str, name: str, alias: str) -> Split | None:
        """The split of an alias, where there is one."""
        others = self._others.get((project, name))
        return others.splits.get(alias) if others else None

    def all(self) -> Iterable[Route]:
        """The active revision of every deployment, in no order."""
        return tuple(self._active.values())

    def live(self) -> Iterable[Route]:
        """Every live revision, in no order."""
        return tuple(self._live.values())

    def of_revision(self, revision: str) -> Route | None:
        """The route of a live revision."""
        return self._live.get(revision)

    def arrangement(self, project: str, name: str) -> Arrangement | None:
        """All that answers for a deployment."""
        route = self._active.get((project, name))
        return self._others.get((project, name)) or (Arrangement(route) if route else None)

    def numbered(self, route: Route, number: str) -> Route | None:
        """The live revision of a deployment that has this number."""
        others = self._others.get((route.project, route.name))
        live = (others.route, *others.beside) if others else (route,)
        return next((one for one in live if str(one.plan.number) == number), None)

    def put(self, route: Route) -> None:
        """Make `route` the one that answers under its own name, whatever the aliases say."""
        others = self._others.get((route.project, route.name))
        self.arrange(Arrangement(route, others.beside, others.splits) if others else Arrangement(route))

    def arrange(self, wanted: Arrangement) -> None:
        """Let all of this answer for its deployment, and nothing else, from one moment to the next."""
        new, route = wanted.pruned(), wanted.route
        key = (route.project, route.name)
        before, was_beside = self._taken_out(key)
        self._active[key] = route
        if new.splits:
            self._others[key] = new
        for one in (route, *new.beside):
            self._live[one.plan.revision] = one
        now_beside = {one.plan.revision: one for one in new.beside}
        for revision in was_beside.keys() - now_beside.keys():
            self._tell(was_beside[revision], None)
        self._tell(before, route)
        for revision, one in now_beside.items():
            self._tell(was_beside.get(revision), one)

    def remove(self, project: str, name: str) -> None:
        """Stop answering under a name. Harmless where there is none."""
        before, beside = self._taken_out((project, name))
        for one in beside.values():
            self._tell(one, None)
        if before is not None:
            self._tell(before, None)

    def subscribe(self, listener: Listener) -> None:
        """Hear of every later change."""
        self._subscribers.append(listener)

    def _taken_out(self, key: tuple[str, str]) -> tuple[Route | None, dict[str, Route]]:
        """What answered for a deployment until now: actively, and beside that by revision."""
        before, others = self._active.pop(key, None), self._others.pop(key, None)
        beside = {one.plan.revision: one for one in others.beside} if others else {}
        for revision in (*beside, *([before.plan.revision] if before else ())):
            self._live.pop(revision, None)
        return before, beside

    def _tell(self, before: Route | None, after: Route | None) -> None:
        for listener in self._subscribers:
            listener(before, after)


def _named(split: Split) -> set[str]:
    return {split.revision, split.candidate} - {""}
