"""The autoscaler at work on a node without processes: bursts, looks out of turn, schedules, cores."""

import asyncio
from datetime import UTC, datetime

import msgspec

from lambent.core.invocation import Status
from lambent.core.spec import Keep
from lambent.engines.memory_worker import Program, Scene
from lambent.pool.autoscaler import REACTION_S, Autoscaler
from lambent.pool.crew import Crew
from tests.support.node import PROJECT, TICK_S, Node, node
from tests.support.virtual_time import run


def takes(seconds: float) -> Program:
    async def answer(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(seconds)
        return body

    return Program(run=answer)


def calls(n: Node, count: int) -> list[asyncio.Task[Status]]:
    async def one() -> Status:
        return (await n.dispatcher.invoke(n.invocation())).status

    return [asyncio.create_task(one()) for _ in range(count)]


def test_who_waits_beside_busy_workers_gets_more_of_them_before_the_next_tick() -> None:
    async def story() -> None:
        async with node(lambda _: takes(5.0)) as n:
            n.deploy(workers_max=8)
            await n.dispatcher.invoke(n.invocation())
            await asyncio.sleep(TICK_S / 2)
            burst = calls(n, 4)
            await asyncio.sleep(TICK_S / 4)
            assert n.workers() == 4
            assert {await call for call in burst} == {Status.OK}

    run(story())


def test_a_burst_of_short_calls_needs_no_second_worker() -> None:
    async def story() -> None:
        async with node(lambda _: takes(0.001)) as n:
            n.deploy(workers_max=8)
            await n.dispatcher.invoke(n.invocation())
            burst, most = calls(n, 30), 0
            while not all(call.done() for call in burst):
                most = max(most, n.workers())
                await asyncio.sleep(0.001)
            assert most == 1

    run(story())


def test_callers_who_wait_for_each_answer_get_a_worker_each_and_keep_it() -> None:
    async def story() -> None:
        async with node(lambda _: takes(0.01)) as n:
            n.deploy(workers_max=8)

            async def caller() -> None:
                while n.clock.now_s() < end_s:
                    await n.dispatcher.invoke(n.invocation())

            end_s = n.clock.now_s() + 20
            callers = [asyncio.create_task(caller()) for _ in range(4)]
            await asyncio.sleep(5)
            seen = set()
            while not all(one.done() for one in callers):
                seen.add(n.workers())
                await asyncio.sleep(0.1)
            assert seen == {4}

    run(story())


def test_a_burst_comes_and_its_workers_go_but_the_last() -> None:
    async def story() -> None:
        async with node(lambda _: takes(1.0)) as n:
            n.deploy(workers_max=4, keep_alive_s=60.0)
            assert {await call for call in calls(n, 20)} == {Status.OK}
            assert n.workers() == 4
            await asyncio.sleep(59)
            assert n.workers() == 1
            await asyncio.sleep(2)
            assert n.workers() == 0

    run(story())


def test_a_call_that_runs_is_never_ended_because_fewer_workers_are_needed() -> None:
    async def story() -> None:
        async with node(lambda _: takes(30.0)) as n:
            n.deploy(workers_max=4, keep_alive_s=0.0)
            running = calls(n, 4)
            await asyncio.sleep(10)
            crew = n.pool.crew("f-1")
            assert crew is not None
            n.pool.resize(crew, 0)
            assert {await call for call in running} == {Status.OK}

    run(story())


def test_a_crew_is_looked_at_once_for_all_who_wait() -> None:
    async def story() -> None:
        async with node(lambda _: takes(5.0)) as n:
            n.deploy(workers_max=3)
            await n.dispatcher.invoke(n.invocation())
            told: list[Crew] = []
            n.pool.on_pressure(told.append)
            burst = calls(n, 100)
            await asyncio.sleep(TICK_S / 2)
            assert [crew.plan.revision for crew in told] == ["f-1"]
            for call in burst:
                call.cancel()
            await asyncio.gather(*burst, return_exceptions=True)

    run(story())


def test_a_deployment_that_goes_while_somebody_waits_for_more_workers_is_let_go() -> None:
    async def story() -> None:
        async with node(lambda _: takes(5.0)) as n:
            n.deploy(workers_max=8)
            await n.dispatcher.invoke(n.invocation())
            burst = calls(n, 3)
            await asyncio.sleep(REACTION_S / 2)
            n.routes.remove(PROJECT, "f")
            await asyncio.gather(*burst, return_exceptions=True)
            await asyncio.sleep(60)
            assert n.pool.crew("f-1") is None

    run(story())


def test_a_scheduled_minimum_comes_and_goes_with_its_minute() -> None:
    async def story() -> None:
        async with node() as n:
            soon = datetime.fromtimestamp(n.clock.unix_ms() / 1000 + 120, UTC)
            schedule = f"{soon.minute} {soon.hour} * * *=3"
            n.deploy(workers_max=4, keep_alive_s=5.0, workers_min_schedule=schedule)
            seen = set()
            for _ in range(240):
                await asyncio.sleep(1)
                now = datetime.fromtimestamp(n.clock.unix_ms() / 1000, UTC)
                seen.add((now.minute == soon.minute, n.workers()))
            assert (True, 3) in seen
            assert (False, 0) in seen
            assert n.workers() == 0

    run(story())


def test_one_call_that_computed_does_not_hold_up_those_that_wait_for_something_else() -> None:
    async def story() -> None:
        async with node(lambda _: takes(2.5)) as n:
            scaler = Autoscaler(n.pool, n.routes, n.clock, room=n.thermostat, tick_s=TICK_S, cores=2)
            n.autoscaler.tick = scaler.tick  # type: ignore[method-assign]  it knows how many cores there are
            n.deploy(workers_max=50, keep=Keep.HOT)
            n.pool.traffic(PROJECT, "f").took(0.2, 0.2)
            began_s, burst = n.clock.now_s(), calls(n, 60)
            await asyncio.gather(*burst)
            assert n.clock.now_s() - began_s < 4 * 2.5  # two rounds, after one of few workers
            assert n.workers() >= 20

    run(story())


def test_what_computes_gets_no_more_workers_than_there_are_cores() -> None:
    async def story() -> None:
        computes = msgspec.structs.replace(takes(1.0), cpu_share=1.0)
        async with node(lambda _: computes) as n:
            scaler = Autoscaler(n.pool, n.routes, n.clock, room=n.thermostat, tick_s=TICK_S, cores=2)
            n.autoscaler.tick = scaler.tick  # type: ignore[method-assign]  it knows how many cores there are
            n.deploy(workers_max=8, keep=Keep.HOT)
            n.pool.traffic(PROJECT, "f").took(1.0, 1.0)
            burst, most = calls(n, 20), 0
            while not all(call.done() for call in burst):
                most = max(most, n.workers())
                await asyncio.sleep(0.25)
            assert most == 2

    run(story())
