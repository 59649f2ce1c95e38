"""A clock that is set while the server runs moves nothing that waits."""

from __future__ import annotations

import pytest

from lambent.clock import SteadyClock, SystemClock
from tests.support.virtual_time import ManualClock, VirtualClock, run

HOUR_MS = 3_600_000


@pytest.mark.parametrize("by_s", [-86_400.0 * 400, -3600.0, 3600.0, 86_400.0 * 400])
def test_a_steady_clock_counts_on_through_a_jump(by_s: float) -> None:
    async def story() -> tuple[int, int, int, int]:
        clock = VirtualClock()
        steady = SteadyClock(clock)
        before = clock.unix_ms(), steady.unix_ms()
        clock.set_wall(by_s)
        return *before, clock.unix_ms(), steady.unix_ms()

    wall, steady, wall_after, steady_after = run(story())
    assert steady == steady_after == wall
    assert wall_after == wall + by_s * 1000


def test_a_steady_clock_goes_on_as_time_does() -> None:
    clock = ManualClock()
    clock.advance(1000.0004)
    steady = SteadyClock(clock)
    clock.advance(3600)
    assert steady.unix_ms() == clock.unix_ms()
    assert steady.now_s() == clock.now_s()


def test_it_shows_the_machine_s_time() -> None:
    clock = SystemClock()
    assert abs(SteadyClock(clock).unix_ms() - clock.unix_ms()) < HOUR_MS
