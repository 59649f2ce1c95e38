"""The queues that deployments are invoked for: started, changed and stopped as control says."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from lambent.bindings.queues import Queues
from lambent.clock import Clock
from lambent.core.sources import Source
from lambent.pool.reservations import Reservations
from lambent.pool.routes import Routes
from lambent.triggers.queue import Invoke, Poller, State

SETTLE_S_MAX: Final = 5.0


class Standing(msgspec.Struct, frozen=True):
    """How a source stands, and what was wrong with its last batch."""

    state: State = State.ENDED
    problem: str = ""


class Sources:
    """One poller for each source that is switched on."""

    def __init__(
        self,
        *,
        queues: Queues,
        routes: Routes,
        reservations: Reservations,
        invoke: Invoke,
        clock: Clock,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._queues: Final = queues
        self._routes: Final = routes
        self._reservations: Final = reservations
        self._invoke: Final = invoke
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._pollers: Final[dict[str, Poller]] = {}
        self._ending: Final[dict[str, list[Poller]]] = {}
        self._stopping = False

    def put(self, source: Source) -> None:
        """Serve a source from now on, in place of the one of the same id. Raises `BadPattern`."""
        if self._stopping:
            return
        poller = Poller(
            source,
            queues=self._queues,
            routes=self._routes,
            reservations=self._reservations,
            invoke=self._invoke,
            clock=self._clock,
            tasks=self._tasks,
            ended=lambda: self._forget(source.id),
        )
        self.remove(source.id)
        self._pollers[source.id] = poller

    def remove(self, source: str) -> None:
        """Serve it no more; what was taken runs to its end. Harmless where there is none."""
        poller = self._pollers.pop(source, None)
        if poller is not None:
            self._ending.setdefault(source, []).append(poller)
            poller.stop()

    def standing(self, source: str) -> Standing:
        """How it stands."""
        poller = self._pollers.get(source)
        if poller is not None:
            return Standing(poller.state, poller.problem)
        return Standing(State.ENDING if self._ending.get(source) else State.ENDED)

    def is_ending(self, source: str) -> bool:
        """Whether what it took still runs, although it takes nothing more."""
        return self.standing(source).state is State.ENDING

    def problem(self, source: str) -> str:
        """What was wrong with its last batch, in words."""
        return self.standing(source).problem

    def pause(self) -> None:
        """Take nothing more. For good: the server is about to stop."""
        self._stopping = True
        for source in [*self._pollers]:
            self.remove(source)

    async def settle(self) -> None:
        """Give what has run a moment to be written down, so that it does not run once more."""
        ending = [poller for some in self._ending.values() for poller in some]
        try:
            async with asyncio.timeout(SETTLE_S_MAX):
                for poller in ending:
                    await poller.settled()
        except TimeoutError:
            return

    def _forget(self, source: str) -> None:
        left = [poller for poller in self._ending.get(source, ()) if poller.state is not State.ENDED]
        if left:
            self._ending[source] = left
        else:
            self._ending.pop(source, None)
