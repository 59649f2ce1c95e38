"""Who hears how each invocation ended: the trials of revisions always, the export of spans where it is on."""

from __future__ import annotations

from typing import Final, Protocol

from lambent.core.errors import LambentError
from lambent.core.invocation import Invocation, Outcome


class Witness(Protocol):
    """It is told on the request path, so it may only note."""

    def answered(self, invocation: Invocation, outcome: Outcome) -> None:
        """It ran, and ended just now."""

    def refused(self, invocation: Invocation, revision: str, error: LambentError, *, since_s: float) -> None:
        """It came at `since_s` (monotonic), was not run, and hears so now."""


class Both:
    """Two of them in a row."""

    def __init__(self, first: Witness, second: Witness) -> None:
        self._first: Final = first
        self._second: Final = second

    def answered(self, invocation: Invocation, outcome: Outcome) -> None:
        """Tell both."""
        self._first.answered(invocation, outcome)
        self._second.answered(invocation, outcome)

    def refused(self, invocation: Invocation, revision: str, error: LambentError, *, since_s: float) -> None:
        """Tell both."""
        self._first.refused(invocation, revision, error, since_s=since_s)
        self._second.refused(invocation, revision, error, since_s=since_s)
