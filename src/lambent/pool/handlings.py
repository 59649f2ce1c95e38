"""How asynchronous invocations are handled that come under an alias or a version with terms of its own.

AWS's event invoke configuration. Control writes, the durable queue asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from lambent.core.deferral import Handling

LATEST: Final = "$LATEST"


class Handlings:
    """Those of each deployment that has any, by qualifier."""

    def __init__(self, usual: Handling) -> None:
        """`usual`: what holds for a qualifier without terms, where the deployment itself was given some."""
        self._usual: Final = usual
        self._of: Final[dict[tuple[str, str], Mapping[str, Handling]]] = {}

    def put(self, project: str, name: str, handlings: Mapping[str, Handling]) -> None:
        """All of a deployment's. Those of `LATEST` are in its specification, and matter by being there."""
        if handlings:
            self._of[project, name] = {**handlings}
        else:
            self._of.pop((project, name), None)

    def find(self, project: str, name: str, qualifier: str) -> Handling | None:
        """What holds for an invocation under a qualifier; None for what the specification says.

        As on AWS, what was said of the deployment itself does not hold for its aliases and versions.
        """
        there = self._of.get((project, name))
        if there is None or qualifier in ("", LATEST):
            return None
        found = there.get(qualifier)
        return found if found is not None else self._usual if LATEST in there else None

    def keep(self, project: str, name: str, is_there: Callable[[str], bool]) -> None:
        """Forget those of the qualifiers that are not there."""
        there = self._of.get((project, name))
        if there is not None:
            self.put(project, name, {one: handling for one, handling in there.items() if is_there(one)})
