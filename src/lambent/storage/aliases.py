"""The record of an alias, and its store. As in `base`, what a method returns from is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from lambent.storage.base import Revision


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name for a revision, or a split of two; by revision ids. An empty name is the deployment's own.

    `percent` of the traffic goes to the `candidate`, if there is one, and the rest of the fields says on
    what terms: see `core.routing.Split` and `core.canary.Guard`. `note` is how the last trial ended.
    """

    project: str
    deployment: str
    name: str
    revision: str
    candidate: str = ""
    percent: float = 0.0
    sticky_header: str = ""
    max_error_rate: float | None = None
    max_p95_ms: float | None = None
    promote_after_s: float | None = None
    note: str = ""
    changed_unix_ms: int


class Aliases(Protocol):
    """Aliases of deployments. They go with their deployment; its own with each change of what is active."""

    def put(self, alias: Alias) -> None:
        """Insert or replace. Raises `NotFound` where the deployment or one of the revisions is not there."""

    def keep(self, wanted: Revision, alias: Alias) -> Revision:
        """Store a revision without making it active, and an alias that names it, in one transaction.

        Content equal to an existing revision's gives that one. Raises `NotFound` where the deployment is not
        there.
        """

    def try_out(self, wanted: Revision, alias: Alias) -> Revision:
        """Store a revision without making it active, and the alias that tries it, in one transaction.

        `alias.revision` must be active; else, or where it is gone, `Conflict` is raised. Content equal to an
        existing revision's gives that one.
        """

    def end_trial(self, alias: Alias, *, expects: str) -> bool:
        """Replace the alias if its candidate is still the revision `expects`. Whether it was."""

    def of(self, project: str, deployment: str) -> Sequence[Alias]:
        """By name."""

    def remove(self, project: str, deployment: str, name: str) -> None:
        """Raises `NotFound`."""
