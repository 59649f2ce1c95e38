"""Whether the server takes new work now, and why not: what `/readyz` answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from lambent.clock import Clock
from lambent.core.errors import LambentError

KEPT_S: Final = 1.0  # anybody may ask, as often as they like: the store is not asked for each
ANSWER_S_MAX: Final = 2.0


class Readiness:
    """The server is ready unless it drains or its store cannot be read.

    A store without room stops nobody, since what is deployed can be invoked: that is the doctor's business.
    `ping_store` reads something; it blocks, and raises a `LambentError`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        accepts: Callable[[], bool],
        ping_store: Callable[[], object],
        answer_s_max: float = ANSWER_S_MAX,
    ) -> None:
        self._clock: Final = clock
        self._accepts: Final = accepts
        self._ping: Final = ping_store
        self._answer_s_max: Final = answer_s_max
        self._asking: asyncio.Task[str] | None = None
        self._found = ""
        self._found_s: float | None = None

    async def trouble(self) -> str:
        """What is in the way, as one word or a sentence; empty where nothing is."""
        if not self._accepts():
            return "draining"
        if self._found_s is None or self._clock.now_s() - self._found_s >= KEPT_S:
            if self._asking is None:  # one at a time: a store that hangs takes one thread and no more
                self._asking = asyncio.create_task(self._look(), name="readiness")
            done, _ = await asyncio.wait([self._asking], timeout=self._answer_s_max)
            if not done:
                return f"the store has not answered for {self._answer_s_max:g} s"
        return self._found

    async def _look(self) -> str:
        try:
            await asyncio.to_thread(self._ping)
            self._found = ""
        except LambentError as error:
            self._found = error.message
        finally:
            self._found_s, self._asking = self._clock.now_s(), None
        return self._found
