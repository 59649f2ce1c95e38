"""From arrival to outcome, on a node without processes and in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from lambent.core.errors import (
    CallerFault,
    Draining,
    HoldExpired,
    LoadFailed,
    NotFound,
    QueueFull,
    StillLoading,
)
from lambent.core.invocation import Outcome, Status
from lambent.core.spec import Temperature
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.gateway.presence import ClientLeft, Presence
from lambent.wire.process import RevisionPlan
from tests.support.node import Node, node
from tests.support.virtual_time import run


def takes(seconds: float) -> Program:
    async def slow(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(seconds)
        return body

    return Program(run=slow)


async def failing(*tasks: asyncio.Task[Outcome]) -> list[BaseException | Outcome]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_the_first_invocation_wakes_a_worker_without_waiting_for_a_tick() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy()
            outcome = await n.dispatcher.invoke(n.invocation(body=b'{"x": 1}'))
            assert (outcome.status, outcome.body, outcome.temperature) == (
                Status.OK,
                b'{"x": 1}',
                Temperature.COLD,
            )
            assert {"fork"} <= set(outcome.timing.wake_ms)
            again = await n.dispatcher.invoke(n.invocation())
            assert (again.temperature, again.timing.wake_ms) == (Temperature.HOT, {})
            assert [record.temperature for record in n.usage] == [Temperature.COLD, Temperature.HOT]

    run(story())


def test_the_last_worker_goes_after_the_keep_alive_and_the_template_after_its_own() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy(keep_alive_s=5, template_keep_s=20)
            await n.dispatcher.invoke(n.invocation())
            await asyncio.sleep(4.5)
            assert n.workers() == 1
            await asyncio.sleep(1.5)
            assert n.workers() == 0
            assert n.pool.temperature("f-1") is Temperature.PRIMED
            await asyncio.sleep(21)
            assert n.pool.temperature("f-1") is Temperature.WARM
            assert (await n.dispatcher.invoke(n.invocation())).temperature is Temperature.WARM

    run(story())


def test_a_burst_brings_a_second_worker_that_goes_again() -> None:
    async def story() -> None:
        async with node(lambda _: takes(0.2)) as n:
            n.deploy(keep_alive_s=3)
            outcomes = await asyncio.gather(*(n.dispatcher.invoke(n.invocation()) for _ in range(30)))
            assert {outcome.status for outcome in outcomes} == {Status.OK}
            assert n.workers() >= 2
            for _ in range(100):
                await n.dispatcher.invoke(n.invocation())
            assert n.workers() == 1

    run(story())


def test_a_full_queue_sheds_and_says_when_to_come_back() -> None:
    async def story() -> None:
        async with node(lambda _: takes(1)) as n:
            n.deploy(queue_depth_max=2, workers_max=1)
            tasks = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(3)]
            results = await failing(*tasks)
            shed = [result for result in results if isinstance(result, QueueFull)]
            assert len(shed) == 1
            assert shed[0].retry_after_s is not None
            assert shed[0].retry_after_s > 0

    run(story())


def test_a_held_invocation_hears_at_its_deadline_and_leaves_no_trace() -> None:
    async def story() -> None:
        async with node(lambda _: takes(10)) as n:
            n.deploy(hold_s=2, workers_max=1)
            first = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(1)
            with pytest.raises(HoldExpired):
                await n.dispatcher.invoke(n.invocation())
            assert n.dispatcher.queued("default", "f") == 0
            assert (await first).status is Status.OK

    run(story())


def test_who_waited_for_a_load_that_takes_too_long_is_told_so() -> None:
    async def slow() -> None:
        await asyncio.sleep(10)

    async def story() -> None:
        async with node(lambda _: Program(load=slow)) as n:
            n.deploy(hold_s=2)
            with pytest.raises(StillLoading, match="was not ready within 2 s"):
                await n.dispatcher.invoke(n.invocation())

    run(story())


def test_a_client_that_leaves_while_it_waits_gives_up_its_place() -> None:
    async def story() -> None:
        async with node(lambda _: takes(3)) as n:
            n.deploy(workers_max=1)
            first = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(1.5)
            client = Presence(lambda: None)
            asyncio.get_running_loop().call_later(0.1, client.leave)
            with pytest.raises(ClientLeft):
                await n.dispatcher.invoke(n.invocation(), client=client)
            assert n.dispatcher.queued("default", "f") == 0
            await first
            assert len(n.usage) == 1

    run(story())


def test_a_waiter_that_is_cancelled_in_the_tick_of_its_promotion_hands_the_slot_on() -> None:
    async def story() -> None:
        async with node(lambda _: takes(1)) as n:
            n.deploy(workers_max=1)
            await n.dispatcher.invoke(n.invocation())
            tasks = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(3)]
            await asyncio.sleep(1)  # in this very tick the first ends and the second is promoted
            tasks[1].cancel()
            results = await failing(*tasks)
            assert isinstance(results[1], asyncio.CancelledError)
            assert [isinstance(result, Outcome) for result in results] == [True, False, True]

    run(story(), tick_s=0.5)


def test_a_call_over_its_timeout_is_killed_answered_and_replaced() -> None:
    async def forever(body: bytes, _: Scene) -> bytes:
        if body == b"hang":
            await asyncio.Event().wait()
        return body

    async def story() -> None:
        async with node(lambda _: Program(run=forever)) as n:
            n.deploy(timeout_s=2, workers_max=1)
            outcome = await n.dispatcher.invoke(n.invocation(body=b"hang"))
            assert outcome.status is Status.TIMED_OUT
            assert outcome.error is not None
            assert outcome.error.error_type == "Sandbox.Timedout"
            assert outcome.error.error_message.endswith("Error: Task timed out after 2.00 seconds")
            assert 2000 <= outcome.billed_ms <= 2300
            assert (await n.dispatcher.invoke(n.invocation(body=b"fine"))).body == b"fine"

    run(story())


def test_a_worker_that_dies_in_the_middle_fails_its_invocation_alone() -> None:
    async def sometimes(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(0.1)
        if body == b"die":
            raise Dies(-9)
        return body

    async def story() -> None:
        async with node(lambda _: Program(run=sometimes)) as n:
            n.deploy(workers_max=1)
            bodies = [b"1", b"die", b"2", b"3"]
            outcomes = await asyncio.gather(
                *(n.dispatcher.invoke(n.invocation(body=body)) for body in bodies)
            )
            assert [outcome.status for outcome in outcomes] == [
                Status.OK,
                Status.EXITED,
                Status.OK,
                Status.OK,
            ]
            assert outcomes[1].error is not None
            assert outcomes[1].error.error_type == "Runtime.ExitError"
            assert len(n.usage) == 4

    run(story())


def test_a_load_that_fails_is_told_to_everybody_who_waits() -> None:
    def broken() -> None:
        raise RuntimeError("no such file")

    async def story() -> None:
        async with node(lambda _: Program(load=broken)) as n:
            n.deploy()
            results = await failing(
                *(asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(5))
            )
            assert [type(result) for result in results] == [LoadFailed] * 5
            crew = n.pool.crew("f-1")
            assert crew is not None
            assert "no such file" in crew.last_error

    run(story())


def test_those_who_wait_go_to_the_revision_that_is_active_when_their_turn_comes() -> None:
    def script(plan: RevisionPlan) -> Program:
        async def name(_: bytes, __: Scene) -> bytes:
            await asyncio.sleep(1)
            return plan.revision.encode()

        return Program(run=name)

    async def story() -> None:
        async with node(script) as n:
            n.deploy(workers_max=1, revision="old")
            await n.dispatcher.invoke(n.invocation())
            tasks = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(4)]
            await asyncio.sleep(0.5)
            n.deploy(workers_max=1, revision="new")
            bodies = [(await task).body for task in tasks]
            assert bodies == [b"old", b"new", b"new", b"new"]
            await asyncio.sleep(1)
            assert n.workers("old") == 0
            assert n.pool.temperature("old") is Temperature.PRIMED  # kept for a rollback

    run(story())


def test_a_removed_deployment_tells_those_who_wait() -> None:
    async def story() -> None:
        async with node(lambda _: takes(5)) as n:
            n.deploy(workers_max=1)
            tasks = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(2)]
            await asyncio.sleep(2)
            n.routes.remove("default", "f")
            results = await failing(*tasks)
            assert isinstance(results[0], Outcome)
            assert isinstance(results[1], NotFound)
            with pytest.raises(NotFound):
                await n.dispatcher.invoke(n.invocation())

    run(story())


def test_without_a_model_the_invocation_is_held_and_one_training_is_asked_for() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy(needs_model=True)
            tasks = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(3)]
            await asyncio.sleep(100)  # longer than hold_s: training may take its time
            assert set(n.training.asked) == {"f"}
            n.deploy(revision="f-2")
            assert [(await task).revision for task in tasks] == ["f-2"] * 3

    run(story())


def test_a_draining_dispatcher_finishes_what_it_accepted_and_takes_nothing_new() -> None:
    async def story() -> None:
        async with node(lambda _: takes(2)) as n:
            n.deploy()
            first = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(1)
            drained = asyncio.create_task(n.dispatcher.drain(30))
            await asyncio.sleep(0)
            with pytest.raises(Draining):
                await n.dispatcher.invoke(n.invocation())
            assert (await first).status is Status.OK
            await drained

    run(story())


def test_an_unknown_deployment_is_named() -> None:
    async def story() -> None:
        async with node() as n:
            with pytest.raises(CallerFault, match="'g'"):
                await n.dispatcher.invoke(n.invocation("g"))

    run(story())


@pytest.mark.parametrize("seed", range(20))
def test_no_arrival_is_lost_while_the_last_worker_stops_or_a_deploy_replaces_the_revision(seed: int) -> None:
    """Arrivals on whole ticks, at and around the end of the keep-alive; each is answered exactly once."""
    dice = random.Random(seed)

    async def one(n: Node, at_s: float) -> Outcome:
        await asyncio.sleep(at_s)
        return await n.dispatcher.invoke(n.invocation())

    async def story() -> None:
        async with node(lambda _: takes(0.25)) as n:
            n.deploy(keep_alive_s=1, template_keep_s=2, workers_max=2)
            arrivals = [one(n, dice.randrange(0, 400) * 0.25) for _ in range(50)]
            tasks = [asyncio.create_task(arrival) for arrival in arrivals]
            for number in range(8):
                await asyncio.sleep(dice.randrange(1, 40) * 0.25)
                n.deploy(keep_alive_s=1, template_keep_s=2, workers_max=2, revision=f"r{number % 3}")
            outcomes = await asyncio.gather(*tasks)
            assert {outcome.status for outcome in outcomes} == {Status.OK}
            assert len(n.usage) == len(outcomes)
            ran = sorted(outcome.revision for outcome in outcomes)
            assert sorted(record.revision for record in n.usage) == ran

    run(story(), tick_s=0.25)


def test_what_outlives_the_grace_of_a_drain_is_cut_off_answered_and_metered() -> None:
    async def story() -> None:
        async with node(lambda _: takes(50)) as n:
            n.deploy(workers_max=1, hold_s=60)
            runs = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(1)
            waits = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(1)
            await n.dispatcher.drain(10)
            assert n.clock.now_s() < 20
            outcome, refusal = await failing(runs, waits)
            assert isinstance(outcome, Outcome)
            assert outcome.status is Status.EXITED
            assert isinstance(refusal, Draining)
            assert [(record.status, record.run_us > 9_000_000) for record in n.usage] == [
                (Status.EXITED, True)
            ]

    run(story())


def test_a_worker_that_dies_takes_its_own_call_along_and_no_other() -> None:
    """Calls that were sent ahead of their turn are run by the next worker, each once."""
    begun: Counter[bytes] = Counter()

    async def mortal(body: bytes, _: Scene) -> bytes:
        begun[body] += 1
        await asyncio.sleep(0.0002)  # so short that calls are sent ahead
        if body.endswith(b"7"):
            raise Dies(1)
        return body

    async def story() -> None:
        async with node(lambda _: Program(run=mortal)) as n:
            n.deploy(workers_max=1)
            ended: dict[bytes, Status] = {}

            async def client(number: int) -> None:
                for at in range(40):
                    body = b"%d %d" % (number, at)
                    ended[body] = (await n.dispatcher.invoke(n.invocation(body=body))).status

            await asyncio.gather(*(client(number) for number in range(12)))
            assert set(begun.values()) == {1}
            died = {body for body, status in ended.items() if status is Status.EXITED}
            assert died == {body for body in ended if body.endswith(b"7")}
            assert len(n.usage) == len(ended) == 480
            assert n.dispatcher.queued("default", "f") == 0

    run(story())
