"""Virtual time: it jumps, it is repeatable, and a story that hangs says where."""

import asyncio
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.clock import Clock, SystemClock
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import ManualClock, VirtualClock, VirtualTimeError, run


def test_hours_pass_without_waiting() -> None:
    async def story() -> float:
        await asyncio.sleep(6 * 3600)
        return VirtualClock().now_s()

    started_s = time.monotonic()
    assert run(story()) == 6 * 3600
    assert time.monotonic() - started_s < PATIENT_S


def test_timers_fire_in_the_order_of_their_deadlines_and_at_them() -> None:
    fired: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append((name, VirtualClock().now_s()))

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            for name, seconds in [("late", 3.0), ("early", 0.25), ("middle", 1.5)]:
                group.create_task(wait(name, seconds))

    run(story())
    assert fired == [("early", 0.25), ("middle", 1.5), ("late", 3.0)]


def test_asyncio_timeouts_obey_virtual_time() -> None:
    async def story() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(90):
                await asyncio.Event().wait()
        return VirtualClock().now_s()

    assert run(story()) == 90


def test_work_that_is_ready_runs_before_time_moves() -> None:
    async def story() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return VirtualClock().now_s()

    assert run(story()) == 0


def test_ticks_bring_events_that_are_a_hair_apart_together() -> None:
    async def at(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return VirtualClock().now_s()

    async def story() -> list[float]:
        return await asyncio.gather(at(0.011), at(0.012), at(0.1), at(0.101))

    assert run(story(), tick_s=0.1) == [0.1, 0.1, 0.1, 0.2]


@given(
    st.lists(st.floats(min_value=0, max_value=50), min_size=1, max_size=10), st.sampled_from([0.1, 0.25, 1])
)
def test_in_ticks_each_moment_is_whole_and_nobody_wakes_early(sleeps_s: list[float], tick_s: float) -> None:
    async def story() -> None:
        for seconds in sleeps_s:
            due_s = VirtualClock().now_s() + seconds
            await asyncio.sleep(seconds)
            now_s = VirtualClock().now_s()
            assert now_s >= due_s - 1e-6
            assert now_s / tick_s == pytest.approx(round(now_s / tick_s))

    run(story(), tick_s=tick_s)


def test_a_story_that_waits_for_nothing_fails_and_names_task_and_line() -> None:
    async def wait_for_godot() -> None:
        await asyncio.Event().wait()

    async def story() -> None:
        await asyncio.sleep(2)
        await asyncio.create_task(wait_for_godot(), name="estragon")

    with pytest.raises(VirtualTimeError, match=r"nothing is left to happen at 2 s") as failure:
        run(story())
    assert "estragon: " in str(failure.value)
    assert "test_virtual_time.py" in str(failure.value)
    assert "in wait_for_godot" in str(failure.value)


def test_a_story_that_never_ends_fails_at_the_limit_of_virtual_seconds() -> None:
    async def story() -> None:
        while True:  # noqa: ASYNC110 - the endless loop is the subject
            await asyncio.sleep(60)

    with pytest.raises(VirtualTimeError, match=r"longer than 600 virtual seconds"):
        run(story(), seconds_max=600)


def test_a_story_that_spins_fails_at_the_limit_of_iterations() -> None:
    async def story() -> None:
        while True:  # noqa: ASYNC110 - the endless loop is the subject
            await asyncio.sleep(0)

    with pytest.raises(VirtualTimeError, match=r"turned 500 times at 0 s"):
        run(story(), iterations_max=500)


def test_a_story_that_spins_and_ignores_cancellation_fails_all_the_same() -> None:
    async def story() -> None:
        while True:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                continue

    with pytest.raises(VirtualTimeError, match=r"the loop turned"):
        run(story(), iterations_max=500)


def test_what_hangs_is_cancelled_so_that_its_cleanup_runs() -> None:
    cleaned: list[bool] = []

    async def story() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            cleaned.append(True)

    with pytest.raises(VirtualTimeError):
        run(story())
    assert cleaned == [True]


def test_a_failure_that_nobody_awaited_fails_the_story() -> None:
    async def story() -> None:
        asyncio.get_running_loop().call_later(1, lambda: 1 / 0)
        await asyncio.sleep(2)

    with pytest.raises(ExceptionGroup) as failure:
        run(story())
    assert failure.group_contains(ZeroDivisionError)


def test_a_hang_that_an_unseen_failure_explains_shows_that_failure() -> None:
    async def story() -> None:
        asyncio.get_running_loop().call_later(1, lambda: 1 / 0)
        await asyncio.Event().wait()

    with pytest.raises(VirtualTimeError) as failure:
        run(story())
    assert isinstance(failure.value.__cause__, ExceptionGroup)


def test_a_failure_of_the_story_is_raised_as_it_is() -> None:
    async def story() -> None:
        await asyncio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(story())


def test_threads_are_refused() -> None:
    async def story() -> None:
        await asyncio.to_thread(threading.get_ident)

    with pytest.raises(RuntimeError, match="no threads"):
        run(story())


def test_sockets_are_refused() -> None:
    ours, theirs = socket.socketpair()

    async def story() -> None:
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_recv(ours, 1)

    with ours, theirs, pytest.raises(RuntimeError, match="no sockets"):
        run(story())


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["system", "manual"])
def test_clocks_count_up_in_seconds_and_milliseconds(clock: Clock) -> None:
    before_s, before_ms = clock.now_s(), clock.unix_ms()
    assert clock.now_s() >= before_s
    assert clock.unix_ms() >= before_ms > 1_600_000_000_000


def test_wall_time_and_monotonic_time_move_together() -> None:
    async def story() -> int:
        before_ms = VirtualClock().unix_ms()
        await asyncio.sleep(1.5)
        return VirtualClock().unix_ms() - before_ms

    assert run(story()) == 1500


def test_a_manual_clock_moves_when_told_and_never_back() -> None:
    clock = ManualClock()
    before_ms = clock.unix_ms()
    clock.advance(2.5)
    assert clock.now_s() == 2.5
    assert clock.unix_ms() - before_ms == 2500
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
