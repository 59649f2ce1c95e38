"""A worker that runs several calls at once, on a node in virtual time: how one of many ends."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.invocation import Outcome, Status
from lambent.core.lifecycle import State
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.pool.member import CANCEL_GRACE_S
from lambent.wire.process import RevisionPlan
from tests.support.node import Node, node
from tests.support.virtual_time import run


class Worked:
    """What the workers saw. A call's body says what it does."""

    def __init__(self, calls_max: int | None = None) -> None:
        self.begun: list[bytes] = []
        self.now = 0
        self.most = 0
        self._calls_max = calls_max

    def script(self, _: RevisionPlan) -> Program:
        async def work(body: bytes, __: Scene) -> bytes:
            self.begun.append(body)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self._do(body)
            finally:
                self.now -= 1
            return body

        return Program(run=work, calls_max=self._calls_max)

    async def _do(self, body: bytes) -> None:
        verb, _, argument = body.decode().partition(" ")
        if verb == "deaf":
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:  # what it is told; not that its process is killed
                await asyncio.sleep(1000)
        if verb == "die":
            raise Dies(3)
        await asyncio.sleep(float(argument))


def deploy(n: Node, concurrency: int, **settings: float) -> None:
    """A deployment of one worker with so many slots."""
    n.deploy(concurrency=concurrency, workers_max=1, **settings)


def ask(n: Node, *bodies: bytes) -> list[asyncio.Task[Outcome]]:
    return [asyncio.create_task(n.dispatcher.invoke(n.invocation(body=body))) for body in bodies]


def test_as_many_run_as_there_are_slots_and_in_the_order_of_their_arrival() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            deploy(n, 3)
            bodies = [b"sleep %d" % (1 + number % 3) for number in range(12)]
            ends = await asyncio.gather(*ask(n, *bodies))
            assert {end.status for end in ends} == {Status.OK}
            assert worked.begun == bodies
            assert worked.most == 3
            assert n.workers() == 1

    run(story())


def test_one_over_its_time_is_cancelled_and_its_neighbours_go_on() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            deploy(n, 2, timeout_s=10)
            slow, quick = ask(n, b"sleep 1000", b"sleep 9")
            last = asyncio.create_task(n.dispatcher.invoke(n.invocation(body=b"sleep 8")))
            assert (await quick).status is Status.OK
            over = await slow
            assert over.status is Status.TIMED_OUT
            assert over.error is not None
            assert "10.00 seconds" in over.error.error_message
            assert (await last).status is Status.OK
            assert n.workers() == 1
            assert [record.status for record in n.usage] == [Status.OK, Status.TIMED_OUT, Status.OK]

    run(story())


def test_one_that_does_not_heed_is_killed_after_its_grace_with_its_worker() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            deploy(n, 3, timeout_s=10)
            deaf, beside = ask(n, b"deaf", b"sleep 5")
            assert (await beside).status is Status.OK
            (later,) = ask(n, b"sleep 9")
            started_s = n.clock.now_s()
            assert (await deaf).status is Status.TIMED_OUT
            assert n.clock.now_s() - started_s == pytest.approx(5 + CANCEL_GRACE_S, abs=0.2)
            assert (await later).status is Status.EXITED  # nothing else could be done
            (again,) = ask(n, b"sleep 1")
            assert (await again).status is Status.OK

    run(story())


def test_a_worker_that_dies_takes_what_runs_and_what_waits_runs_elsewhere() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            deploy(n, 2)
            ends = await asyncio.gather(*ask(n, b"sleep 5", b"die", b"sleep 1", b"sleep 1"))
            assert [end.status for end in ends] == [Status.EXITED, Status.EXITED, Status.OK, Status.OK]
            assert sorted(worked.begun) == sorted([b"sleep 5", b"die", b"sleep 1", b"sleep 1"])

    run(story())


def test_one_that_retires_lets_what_runs_beside_it_finish() -> None:
    async def story() -> None:
        worked = Worked(calls_max=2)
        async with node(worked.script) as n:
            deploy(n, 2, timeout_s=100)
            long, short, waits = ask(n, b"sleep 60", b"sleep 1", b"sleep 2")
            assert (await short).status is Status.OK
            assert (await waits).status is Status.OK  # in a worker that takes calls
            assert (await long).status is Status.OK
            assert n.workers() <= 1
            crew = n.pool.crew("f-1")
            assert crew is not None
            assert all(member.state is not State.BUSY for member in crew.members)

    run(story())


def test_a_deploy_lets_all_that_runs_finish_and_starts_nothing_on_the_old_one() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            deploy(n, 2)
            tasks = ask(n, b"sleep 5", b"sleep 6", b"sleep 1")
            await asyncio.sleep(1)
            n.deploy(revision="f-2")
            ends = await asyncio.gather(*tasks)
            assert [end.status for end in ends] == [Status.OK] * 3
            assert [end.revision for end in ends] == ["f-1", "f-1", "f-2"]
            await asyncio.sleep(20)
            assert n.workers("f-1") == 0

    run(story())


def test_a_drain_finishes_all_that_runs() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            deploy(n, 4)
            tasks = ask(n, *(b"sleep %d" % number for number in (1, 2, 3, 4)))
            await asyncio.sleep(0.5)
            await n.dispatcher.drain(30)
            assert [task.result().status for task in tasks] == [Status.OK] * 4

    run(story())


def test_a_wake_is_told_to_the_first_call_though_slots_were_given_back_before() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy(workers_min=1, concurrency=2)
            await asyncio.sleep(5)
            for lease in (n.pool.lease("f-1"), n.pool.lease("f-1")):
                assert lease is not None
                lease.give_back()
            first = n.pool.lease("f-1")
            assert first is not None
            assert first.wake is not None
            first.give_back()

    run(story())
