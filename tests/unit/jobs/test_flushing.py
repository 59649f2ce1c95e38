"""What a slice commits comes to disk while it runs, as often as is worth its cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from lambent.core.checkpointing import FLUSH_EVERY_S_MIN, flush_interval_s
from lambent.core.errors import StorageFull
from lambent.jobs.arenas import Flushed
from lambent.jobs.flushing import flush_along
from tests.support.virtual_time import VirtualClock, run

HOUR_S = 3600.0


class Disk:
    """Flushes that take as long as they are told to, or find no room."""

    def __init__(self, *outcomes: float | str | None) -> None:
        self.outcomes = list(outcomes)
        self.at_s: list[float] = []
        self.told: list[str] = []

    async def flush(self) -> Flushed | None:
        self.at_s.append(VirtualClock().now_s())
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, str):
            raise StorageFull(outcome)
        if outcome is None:
            return None
        await asyncio.sleep(outcome)
        return Flushed(step=1, size_bytes=1, took_s=outcome)


def seen_in(disk: Disk, seconds: float) -> Sequence[float]:
    async def story() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await flush_along(disk.flush, between_failures_s=lambda: 2 * HOUR_S, trouble=disk.told.append)

    run(story())
    return disk.at_s


def test_the_second_flush_comes_as_late_as_the_first_was_dear() -> None:
    first_s, second_s = seen_in(Disk(0.5), 200)[:2]
    assert first_s == FLUSH_EVERY_S_MIN
    assert second_s == pytest.approx(first_s + 0.5 + flush_interval_s(0.5, 2 * HOUR_S))


def test_where_nothing_is_new_it_is_looked_for_again() -> None:
    assert seen_in(Disk(None, None, None), 16) == [5, 10, 15]


def test_a_disk_that_is_full_is_told_once_and_taken_back_when_there_is_room() -> None:
    disk = Disk("no room", "no room", None, "no room", 0.0, "no room")
    seen_in(disk, 31)
    assert disk.told == ["no room", "", "no room"]
