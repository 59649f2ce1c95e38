"""A caller says how long it waits: for a slot and for the answer together."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from lambent.core.errors import CallerFault, DeadlinePassed
from lambent.core.invocation import Outcome, Status
from lambent.core.spec import Temperature
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.deadline import deadline_of
from tests.support.batches import awake, crowd
from tests.support.node import Node, node
from tests.support.virtual_time import run
from tests.unit.gateway.asgi import House


class Seen:
    """What the programs were told, and how many of them began. A batch takes as long as one."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.remaining_ms: list[float] = []
        self.frames: set[int] = set()

    def program(self) -> Program:
        async def slow(body: bytes, scene: Scene) -> bytes:
            self.remaining_ms.append(scene.call.remaining_ms)
            if scene.call.call_id not in self.frames:
                self.frames.add(scene.call.call_id)
                await asyncio.sleep(self.takes_s)
            return body

        return Program(run=slow)


async def within(n: Node, seconds: float) -> Outcome:
    made = n.invocation()
    return await n.dispatcher.invoke(
        type(made)(
            id=made.id,
            project=made.project,
            deployment=made.deployment,
            body=b"{  }",  # of the size of those in a crowd
            deadline_s=n.clock.now_s() + seconds,
        )
    )


def test_what_is_left_after_the_wait_is_told_to_the_worker() -> None:
    async def story() -> None:
        seen = Seen(2.0)
        async with node(lambda _: seen.program()) as n:
            n.deploy(workers_max=1)
            first = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(0.5)
            second = asyncio.create_task(within(n, 10.0))
            await asyncio.gather(first, second)
            assert seen.remaining_ms[0] == 60_000
            assert 7_500 <= seen.remaining_ms[1] <= 8_600

    run(story())


def test_what_expires_in_the_queue_never_begins_and_is_told_so() -> None:
    async def story() -> None:
        seen = Seen(5.0)
        async with node(lambda _: seen.program()) as n:
            n.deploy(workers_max=1)
            first = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(0.5)
            asked_s = n.clock.now_s()
            with pytest.raises(DeadlinePassed) as told:
                await within(n, 1.0)
            assert n.clock.now_s() - asked_s == pytest.approx(1.0, abs=0.01)
            assert (told.value.status, told.value.code) == (504, "deadline_passed")
            assert n.dispatcher.queued("default", "f") == 0
            await first
            await asyncio.sleep(10)
            assert len(seen.remaining_ms) == 1
            assert len(n.usage) == 1

    run(story())


def test_a_deadline_ends_a_run_and_its_worker_lives() -> None:
    async def story() -> None:
        seen = Seen(5.0)
        async with node(lambda _: seen.program()) as n:
            n.deploy()
            await n.dispatcher.invoke(n.invocation())
            asked_s = n.clock.now_s()
            outcome = await within(n, 1.0)
            assert outcome.status is Status.TIMED_OUT
            assert n.clock.now_s() - asked_s == pytest.approx(1.0, abs=0.1)
            assert n.workers() == 1
            again = await n.dispatcher.invoke(n.invocation())
            assert (again.status, again.temperature) == (Status.OK, Temperature.HOT)
            assert [record.status for record in n.usage] == [Status.OK, Status.TIMED_OUT, Status.OK]

    run(story())


def test_a_deadline_later_than_the_timeout_changes_nothing() -> None:
    async def story() -> None:
        seen = Seen(5.0)
        async with node(lambda _: seen.program()) as n:
            n.deploy(timeout_s=2.0)
            outcome = await within(n, 100.0)
            assert outcome.status is Status.TIMED_OUT
            assert seen.remaining_ms == [2000.0]
            assert n.workers() == 0

    run(story())


def test_one_of_a_batch_hears_at_its_deadline_and_the_others_get_their_answers() -> None:
    async def story() -> None:
        seen = Seen(0.01)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            for _ in range(12):
                await asyncio.gather(*crowd(n, 8))
            others = crowd(n, 1)
            await asyncio.sleep(0.005)
            seen.takes_s = 2.0  # from here on longer than it has learnt
            others = [*others, *crowd(n, 3)]
            asked_s = n.clock.now_s()
            with pytest.raises(DeadlinePassed, match="had begun"):
                await within(n, 1.0)
            assert n.clock.now_s() - asked_s == pytest.approx(1.0, abs=0.01)
            assert {outcome.status for outcome in await asyncio.gather(*others)} == {Status.OK}

    run(story())


def test_many_short_calls_with_and_without_deadlines_are_each_answered_once() -> None:
    async def story() -> None:
        seen = Seen(0.0005)
        async with node(lambda _: seen.program()) as n:
            n.deploy(workers_max=2)
            calls = [
                asyncio.create_task(within(n, 30.0) if turn % 2 else n.dispatcher.invoke(n.invocation()))
                for turn in range(400)
            ]
            outcomes = await asyncio.gather(*calls)
            assert Counter(outcome.status for outcome in outcomes) == {Status.OK: 400}
            assert len(n.usage) == len(seen.remaining_ms) == 400

    run(story())


@pytest.mark.parametrize("said", [b"", b"0", b"-5", b"soon", b"nan", b"inf", b"86400001"])
def test_what_is_no_time_is_refused(said: bytes) -> None:
    with pytest.raises(CallerFault, match="Lambent-Timeout-Ms"):
        deadline_of({b"lambent-timeout-ms": said}, 5.0)


def test_a_deadline_counts_from_the_head_of_the_request() -> None:
    assert deadline_of({b"lambent-timeout-ms": b"1500"}, 5.0) == 6.5
    assert deadline_of({}, 5.0) is None


@pytest.mark.parametrize("path", ["/invoke/hello", "/2015-03-31/functions/hello/invocations"])
def test_each_door_reads_it(house: House, path: str) -> None:
    async def story() -> None:
        said = await house.call("POST", path, b"{}", lambent_timeout_ms="250")
        assert said.status == 200
        assert house.invoker.asked[0].deadline_s == house.clock.now_s() + 0.25

    asyncio.run(story())


def test_what_is_done_later_has_no_caller_who_waits(house: House) -> None:
    async def story() -> None:
        said = await house.call(
            "POST", "/invoke/hello", b"{}", prefer="respond-async", lambent_timeout_ms="250"
        )
        assert said.status == 400
        assert "async_age_max_s" in said.json()["detail"]
        assert not house.queue.tickets

    asyncio.run(story())
