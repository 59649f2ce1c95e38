"""The revision before the active one, kept loaded for a while after a deploy: going back is then no load.

It is kept as anything is that nobody calls: as long as memory is free, and it is the first to go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from lambent.pool.routes import Route
from lambent.wire.process import RevisionPlan

KEPT_S: Final = 900.0  # who goes back does so soon


class Former:
    """One for each deployment that was deployed again."""

    def __init__(self) -> None:
        self._routes: Final[dict[tuple[str, str], Route]] = {}

    def all(self) -> Iterable[Route]:
        """All that are kept, each as one that would be live beside the active revision."""
        return tuple(self._routes.values())

    def has(self, plan: RevisionPlan) -> bool:
        """Whether this revision is kept."""
        route = self._routes.get((plan.project, plan.deployment))
        return route is not None and route.plan.revision == plan.revision

    def replace(self, route: Route, *, keeps: bool) -> Route | None:
        """Keep this one in the place of the one before, or none; that one, if there was any."""
        key = (route.project, route.name)
        before = self._routes.pop(key, None)
        if keeps and route.invocable and not route.needs_model:
            self._routes[key] = msgspec.structs.replace(route, beside=True)
        return before

    def drop(self, plan: RevisionPlan) -> Route | None:
        """Keep this revision no longer; its route where it was kept."""
        return self._routes.pop((plan.project, plan.deployment)) if self.has(plan) else None
