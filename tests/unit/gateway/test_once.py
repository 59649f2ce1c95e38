"""Work under a name is done once, and what is remembered is bounded."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lambent.gateway.once import Bounds, Once
from tests.support.virtual_time import ManualClock, run


def answering(value: bytes, counts: list[bytes]) -> Callable[[], Awaitable[bytes]]:
    async def work() -> bytes:
        counts.append(value)
        await asyncio.sleep(1)
        return value

    return work


def once(clock: ManualClock | None = None, **bounds: float) -> Once[bytes]:
    limits = Bounds(**bounds)  # type: ignore[arg-type]  # the numbers of a row
    return Once(clock or ManualClock(), size_bytes=len, bounds=limits)


def test_who_asks_meanwhile_waits_along_and_who_asks_later_is_told() -> None:
    async def story() -> None:
        table, done = once(), list[bytes]()
        both = await asyncio.gather(*(table.run("a", answering(b"1", done)) for _ in range(2)))
        later = await table.run("a", answering(b"2", done))
        assert ([*both, later], done) == ([b"1"] * 3, [b"1"])
        assert await table.run("b", answering(b"3", done)) == b"3"

    run(story())


def test_a_failure_is_told_to_those_who_wait_and_forgotten() -> None:
    async def story() -> None:
        async def failing() -> bytes:
            await asyncio.sleep(1)
            raise ValueError("no")

        table = once()
        both = await asyncio.gather(*(table.run("a", failing) for _ in range(2)), return_exceptions=True)
        assert [type(one) for one in both] == [ValueError, ValueError]
        assert await table.run("a", answering(b"1", [])) == b"1"

    run(story())


def test_who_waits_along_may_leave_without_ending_the_work() -> None:
    async def story() -> None:
        table = once()
        first = asyncio.create_task(table.run("a", answering(b"1", [])))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(table.run("a", answering(b"2", [])))
        await asyncio.sleep(0.1)
        second.cancel()
        assert await first == b"1"

    run(story())


@pytest.mark.parametrize("leave", [1, 2])
def test_who_waits_along_does_the_work_where_the_first_asker_is_cancelled(leave: int) -> None:
    async def story() -> None:
        table, done = once(), list[bytes]()
        askers = [asyncio.create_task(table.run("a", answering(b"%d" % n, done))) for n in range(4)]
        await asyncio.sleep(0.5)
        for asker in askers[:leave]:
            asker.cancel()
        told = await asyncio.gather(*askers, return_exceptions=True)
        assert [type(one) for one in told[:leave]] == [asyncio.CancelledError] * leave
        assert (told[leave:], done) == ([b"%d" % leave] * (4 - leave), [b"0", b"%d" % leave])

    run(story())


def test_an_answer_is_kept_for_its_time_and_not_longer() -> None:
    async def story() -> None:
        clock, done = ManualClock(), list[bytes]()
        table = once(clock, keep_s=10.0)
        await table.run("a", answering(b"1", done))
        clock.advance(9.9)
        await table.run("a", answering(b"2", done))
        clock.advance(0.2)
        await table.run("a", answering(b"3", done))
        assert done == [b"1", b"3"]

    run(story())


@pytest.mark.parametrize("bounds", [{"entries_max": 2}, {"size_bytes_max": 2}])
def test_the_oldest_answers_are_forgotten_first(bounds: dict[str, float]) -> None:
    async def story() -> None:
        table, done = once(**bounds), list[bytes]()
        for name in (b"a", b"b", b"c", b"c", b"b", b"a"):
            await table.run(name, answering(name, done))
        assert done == [b"a", b"b", b"c", b"a"]

    run(story())
