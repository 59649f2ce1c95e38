"""How a slice is made to end: asked by a word in its arena when its time has come, killed after its grace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.core.slicing import Asked, Limits
from lambent.jobs.arenas import Flushed
from lambent.wire.arena import Commit

LOOK_S: Final = 0.25  # how soon a new checkpoint is seen

# Who asks for more outranks who asked before.
WEIGHT: Final = (
    Asked.NOT, Asked.SLICE, Asked.PREEMPTED, Asked.TIME, Asked.BUDGET, Asked.STOP, Asked.END
)  # fmt: skip


class Arena(Protocol):
    """Where the worker of a run commits its state. Nothing here takes long."""

    @property
    def folder(self) -> Path:
        """The folder that the worker is told."""

    def ask_to_yield(self) -> None:
        """The worker is to commit its state at the next place where it may, and to leave."""

    def committed(self) -> Commit | None:
        """The newest state that is whole."""


class Arenas(Protocol):
    """Who keeps the arenas of runs, and what is on disk of them. All of it blocks."""

    def restore(self, run: str) -> Arena:
        """The arena for the next slice: with the newest state that there is, and nobody asked to yield."""

    def flush(self, run: str) -> Flushed | None:
        """Bring the newest state to disk. Raises `StorageFull`, `StorageBroken`."""

    def close(self, run: str) -> None:
        """Give the memory back. What was flushed stays."""

    def sweep(self, live: Collection[str]) -> object:
        """Give back the memory of all runs but these, whoever began them."""


class Leave:
    """By which a slice is asked to leave: also before it has begun, and again for a weightier reason."""

    def __init__(self) -> None:
        self.why = Asked.NOT
        self.changed: Final = asyncio.Event()
        self.asked: Final = asyncio.Event()  # for whatever reason, and for good

    def ask(self, why: Asked) -> None:
        """Let it leave as soon as it can. Never takes anything back."""
        if WEIGHT.index(why) > WEIGHT.index(self.why):
            self.why = why
            self.changed.set()
            self.asked.set()


class Watch:
    """Watches over one slice: when it must be asked, when killed, and what it commits meanwhile."""

    def __init__(
        self,
        arena: Arena,
        leave: Leave,
        clock: Clock,
        *,
        limits: Callable[[], Limits],
        grace_s: Callable[[Asked], float],
        look: Callable[[Commit | None, float], None],
    ) -> None:
        """`limits` are asked for at each look; `look` is told the newest state and the slice's seconds."""
        self._arena: Final = arena
        self._leave: Final = leave
        self._clock: Final = clock
        self._limits: Final = limits
        self._grace_s: Final = grace_s
        self._look: Final = look
        self._began_s: Final = clock.now_s()
        self._kill_at_s = float("inf")
        self._told = Asked.NOT

    @property
    def lasted_s(self) -> float:
        """How long the slice has been running."""
        return self._clock.now_s() - self._began_s

    async def run(self, kill: Callable[[], None]) -> None:
        """Until the slice is killed, or this is cancelled."""
        while True:
            self.look()
            left_s = self._next_s()
            if left_s <= 0:
                kill()
                return
            self._leave.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, LOOK_S)):
                    await self._leave.changed.wait()

    def look(self) -> None:
        """See what has been committed."""
        self._look(self._arena.committed(), self.lasted_s)

    def _next_s(self) -> float:
        """Seconds until something is to be done; 0 where the slice is to be killed."""
        limits = self._limits()
        if self._leave.why is Asked.NOT and self.lasted_s >= limits.ask_s:
            self._leave.ask(limits.why)
        why = self._leave.why
        if why is Asked.NOT:
            return max(limits.ask_s - self.lasted_s, 1e-3)
        if why is not self._told:
            self._told = why
            self._arena.ask_to_yield()
            grace_s = limits.grace_s if why is limits.why else self._grace_s(why)
            self._kill_at_s = min(self._kill_at_s, self.lasted_s + grace_s)
        return self._kill_at_s - self.lasted_s
