"""Workers that are forked ahead of their need, so that a wake need not wait for a fork: one a revision.

A parked worker has done all that does not depend on when it is needed. It has not restored, so it has neither
random numbers nor anything else that must be its own, and no call has been made to it. Beside a worker that
lives there is none: what is awake needs no wake, and its memory serves another revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from lambent.core.errors import PlatformFault
from lambent.engines.flights import Flights
from lambent.engines.local_worker import LocalWorker
from lambent.engines.template import TemplateGone
from lambent.wire.process import RevisionPlan

# From the priming until the fork: what wakes at once has a worker of its own by then, and needs none parked.
PARK_AFTER_S: Final = 0.2
# From the end of the last worker until the fork: a template that is let go has gone by then.
PARK_AGAIN_S: Final = 0.05


class Parked:
    """Keeps one worker parked for each revision that asks for it.

    `fork` makes one from the revision's template; `awake` says whether a worker of it lives or is starting.
    One that ends unused is not replaced until the revision is asked about again.
    """

    def __init__(
        self,
        fork: Callable[[RevisionPlan], Coroutine[Any, Any, LocalWorker]],
        *,
        awake: Callable[[str], bool],
    ) -> None:
        self._fork: Final = fork
        self._awake: Final = awake
        self._waiting: Final[dict[str, LocalWorker]] = {}
        self._timers: Final[dict[str, asyncio.TimerHandle]] = {}
        self._flights: Final[Flights[str, None]] = Flights()

    def keep(self, plan: RevisionPlan, *, after_s: float = PARK_AFTER_S) -> None:
        """Have a worker of this revision soon, unless there is one or the revision is awake by then."""
        revision = plan.revision
        if revision not in self._waiting and revision not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[revision] = loop.call_later(after_s, self._begin, plan)

    def take(self, revision: str) -> LocalWorker | None:
        """The worker, which is the caller's from now on."""
        return self._waiting.pop(revision, None)

    def drop(self, revision: str) -> None:
        """End it, and have no other."""
        if (timer := self._timers.pop(revision, None)) is not None:
            timer.cancel()
        if (worker := self._waiting.get(revision)) is not None:
            worker.kill()

    def all(self) -> Sequence[LocalWorker]:
        """Every parked worker."""
        return tuple(self._waiting.values())

    async def close(self) -> None:
        """End all of them and wait for it."""
        await self._flights.close()
        for revision in (*self._timers, *self._waiting):
            self.drop(revision)
        for worker in self.all():
            await worker.exited()

    def _begin(self, plan: RevisionPlan) -> None:
        del self._timers[plan.revision]
        if not self._awake(plan.revision):
            self._flights.begin(plan.revision, lambda: self._park(plan))

    async def _park(self, plan: RevisionPlan) -> None:
        try:
            worker = await self._fork(plan)
        except (TemplateGone, PlatformFault, OSError):
            return  # nobody waits for it; whoever needs a worker will be told
        self._waiting[plan.revision] = worker
        worker.on_exit(lambda: self._forget(worker))

    def _forget(self, worker: LocalWorker) -> None:
        if self._waiting.get(worker.plan.revision) is worker:
            del self._waiting[worker.plan.revision]
