"""Runs are kept for a while after their end, with all that they left behind; then they are forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.core.errors import Conflict, PlatformFault
from lambent.core.slicing import FINAL
from lambent.storage.base import Run

EVERY_S: Final = 3600.0
PORTION: Final = 100

log = logging.getLogger(__name__)


class EndedRuns(Protocol):
    """The rows of runs. Blocks."""

    def ended_before(self, unix_ms: int, *, limit: int) -> Sequence[Run]:
        """Runs that ended before then."""

    def remove(self, run: str) -> None:
        """Forget the row."""


class Forgetting:
    """Removes runs. `left` are what removes what a run has left behind; each blocks and may be repeated."""

    def __init__(
        self, runs: EndedRuns, left: Sequence[Callable[[Run], object]], clock: Clock, *, keep_s: float
    ) -> None:
        """Runs are kept for `keep_s` after their end; 0: until somebody removes them."""
        self._runs: Final = runs
        self._left: Final = left
        self._clock: Final = clock
        self._keep_s: Final = keep_s

    async def forget(self, run: Run) -> None:
        """Remove a run and all that is kept of it. Raises `Conflict` where it has not ended."""
        if run.state not in FINAL:
            raise Conflict(f"run {run.id} is {run.state.value}: `lambent cancel {run.id}` ends it first")
        # The row last: what is not removed then is found again by it.
        for remove in self._left:
            await asyncio.to_thread(remove, run)
        await asyncio.to_thread(self._runs.remove, run.id)

    async def run(self) -> None:
        """Look every hour for what has been kept long enough."""
        while self._keep_s:
            await self.sweep()
            await asyncio.sleep(EVERY_S)

    async def sweep(self) -> None:
        """Remove all that has been kept long enough."""
        before_unix_ms = self._clock.unix_ms() - int(self._keep_s * 1000)
        try:
            while runs := await asyncio.to_thread(
                lambda: self._runs.ended_before(before_unix_ms, limit=PORTION)
            ):
                for run in runs:
                    await self.forget(run)
                log.info("runs_forgotten", extra={"count": len(runs)})
        except (PlatformFault, OSError) as error:
            log.warning("runs_not_forgotten", extra={"reason": str(error)})
