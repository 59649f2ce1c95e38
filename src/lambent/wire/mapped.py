"""Runs of a map as who started them holds them: in the job that did, and in a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from lambent.core.errors import CallFailed
from lambent.core.mapping import MapEnd, values_of
from lambent.wire.fanning import AWAITED_MAX, RunEnd

# How the first of some runs ended, up to one that is not over. Waits; may come back with none.
EndsOf = Callable[[tuple[str, ...]], Sequence[RunEnd]]


class Mapped:
    """The runs of a map, which are under way. Going over it waits for each end, in the order of the items."""

    def __init__(self, job: str, runs: Sequence[str], ends_of: EndsOf) -> None:
        self.runs: Final = tuple(runs)
        self._job: Final = job
        self._ends_of: Final = ends_of
        self._ended: Final[list[MapEnd]] = []

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[MapEnd]:
        for at in range(len(self.runs)):
            while at >= len(self._ended):
                self._wait()
            yield self._ended[at]

    def values(self) -> list[Any]:
        """What each returned, once all are over. Raises `lambent.MapFailed` where one has failed."""
        return values_of(tuple(self))

    def _wait(self) -> None:
        first = len(self._ended)
        for end in self._ends_of(self.runs[first : first + AWAITED_MAX]):
            error = CallFailed(self._job, end.kind, end.message) if end.kind else None
            self._ended.append(MapEnd(run=end.run, index=len(self._ended), error=error, returned=end.value))
