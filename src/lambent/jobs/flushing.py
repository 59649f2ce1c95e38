"""While a slice runs, what it commits is brought to disk at an interval that loses the least."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lambent.core.checkpointing import flush_interval_s
from lambent.core.errors import StorageBroken, StorageFull
from lambent.jobs.arenas import Flushed


async def flush_along(
    flush: Callable[[], Awaitable[Flushed | None]],
    *,
    between_failures_s: Callable[[], float],
    trouble: Callable[[str], None],
) -> None:
    """Flush until this is cancelled. The interval follows from what the last flush took.

    A disk that is full, or a state that cannot be read, is told as `trouble`, once for each message until a
    flush succeeds; the next one tries again. An empty message takes it back.
    """
    took_s, told = 0.0, ""
    while True:
        await asyncio.sleep(flush_interval_s(took_s, between_failures_s()))
        try:
            flushed = await flush()
        except (StorageBroken, StorageFull) as error:
            said = error.message
        else:
            took_s, said = (flushed.took_s, "") if flushed else (took_s, told)
        if said != told:
            trouble(said)
            told = said
