"""Messages that do not say how long they are come in by turns, so that all of them together are bounded."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from lambent.core.errors import QueueFull, ServerFull
from lambent.gateway.protocols.open_inference.arriving import ARRIVE_S, Arriving, CallsAtOnce
from tests.support.virtual_time import VirtualClock, run


def arriving() -> Arriving:
    """Alone a project has two messages of 100 at once."""
    return Arriving(bytes_max=400, message_bytes_max=100)


def test_however_many_messages_one_project_has_under_way_another_finds_room() -> None:
    async def story() -> None:
        doors, go_on, entered = arriving(), asyncio.Event(), []

        async def arrive(project: str) -> None:
            async with doors.turn(project):
                entered.append(project)
                await go_on.wait()

        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(arrive("flood"))
            await asyncio.sleep(1)
            assert entered == ["flood"] * 2
            group.create_task(arrive("quiet"))
            await asyncio.sleep(1)
            assert entered == ["flood"] * 2 + ["quiet"]
            go_on.set()
        assert entered.count("flood") == 50

    run(story())


def test_who_waited_for_too_long_is_told_and_the_next_has_its_turn() -> None:
    async def story() -> None:
        doors = arriving()
        async with doors.turn("a"), doors.turn("a"):
            with pytest.raises(ServerFull, match="2 messages of this project's"):
                async with doors.turn("a"):
                    pass
            assert VirtualClock().now_s() == ARRIVE_S
        async with doors.turn("a"), doors.turn("a"):
            pass

    run(story())


@pytest.mark.parametrize("when", ["before", "after"], ids=["that waits", "in the moment of its turn"])
def test_who_leaves_takes_no_turn_along(when: str) -> None:
    async def story() -> None:
        doors = arriving()

        async def arrive() -> None:
            async with doors.turn("a"):
                pass

        async with doors.turn("a"):
            async with doors.turn("a"):
                waiting = asyncio.create_task(arrive())
                await asyncio.sleep(1)
                if when == "before":
                    waiting.cancel()
            if when == "after":
                waiting.cancel()
            await asyncio.wait((waiting,))
            assert waiting.cancelled()
            async with doors.turn("a"):
                pass

    run(story())


def test_a_small_room_has_turns_of_a_quarter() -> None:
    async def story() -> None:
        doors = Arriving(bytes_max=10, message_bytes_max=1000)
        async with doors.turn("a"), doors.turn("b"):
            pass

    run(story())


def test_a_project_has_half_of_all_calls_open_and_others_find_some() -> None:
    calls = CallsAtOnce(calls_max=8)
    with ExitStack() as opened:
        for _ in range(4):
            opened.enter_context(calls.one("flood"))
        with pytest.raises(QueueFull, match="4 calls over gRPC open, of 8"), calls.one("flood"):
            pass
        for _ in range(2):
            opened.enter_context(calls.one("quiet"))
    with ExitStack() as opened:
        for _ in range(4):
            opened.enter_context(calls.one("quiet"))
