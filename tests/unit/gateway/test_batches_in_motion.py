"""Batches while their deployment changes: deploys, training, wakes."""

from __future__ import annotations

import asyncio

import msgspec

from lambent.core.errors import TooLate
from lambent.core.invocation import Status
from tests.support.batches import MODEL, Seen, awake, crowd, ended, outcomes, stream, taught
from tests.support.node import node
from tests.support.virtual_time import run


def test_a_deploy_turns_batches_off_and_on_for_those_who_wait_already() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            before = crowd(n, 6)
            await asyncio.sleep(0.05)
            n.deploy(**{**MODEL, "max_batch": 1}, revision="f-2")
            outcomes(await ended(before))
            assert set(seen.sizes) == {1}
            seen.by_frame.clear()
            between = crowd(n, 6)
            await asyncio.sleep(0.05)
            n.deploy(**MODEL, revision="f-3")
            outcomes(await ended(between))
            await taught(n, seen)
            outcomes(await ended(crowd(n, 6)))
            assert seen.sizes == [1, 5]

    run(story())


def test_a_deploy_keeps_what_was_learnt_where_the_wishes_are_the_same() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            n.deploy(**MODEL, revision="f-2")
            outcomes(await ended(crowd(n, 8)))
            assert seen.sizes[-1] > 1 or seen.sizes[-2] > 1

    run(story())


def test_those_who_wait_for_a_model_that_is_being_trained_run_together_once_it_is_there() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            n.deploy(**MODEL, latency_target_ms=500, needs_model=True)
            tasks = crowd(n, 20)
            await asyncio.sleep(60)
            assert n.training.asked[0] == "f"
            assert not seen.batches
            n.deploy(**MODEL, latency_target_ms=500, revision="f-2")
            results = outcomes(await ended(tasks))
            assert {result.status for result in results} == {Status.OK}
            assert len(seen.batches) < 20

    run(story())


def test_nobody_is_late_because_of_the_wake_that_it_waited_for() -> None:
    async def load() -> None:
        await asyncio.sleep(5)

    async def story() -> None:
        seen = Seen(first_s=0.1, row_s=0.001)
        async with node(lambda _: msgspec.structs.replace(seen.program(), load=load)) as n:
            await awake(n, latency_target_ms=1000, keep_alive_s=1, template_keep_s=1)
            await taught(n, seen)
            await asyncio.sleep(60)
            assert n.workers() == 0
            tasks = [*crowd(n, 5)]
            await asyncio.sleep(3)
            tasks += crowd(n, 5, since=5)
            results = outcomes(await ended(tasks))
            assert {result.status for result in results} == {Status.OK}
            assert results[0].timing.total_ms > 5000
            # Against those who come now, the target counts from the end of the wake.
            assert len(seen.batches) <= 3

    run(story())


def test_who_comes_after_the_wake_is_held_to_the_target_again() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n, latency_target_ms=500, max_batch=2)
            await taught(n, seen, count=4)
            await asyncio.sleep(1)
            assert any(isinstance(result, TooLate) for result in await stream(n, 200, every_s=0.02))

    run(story())
