"""A batch that is sent before the one that runs has ended, and what refusals leave behind."""

from __future__ import annotations

import asyncio
import gc
import weakref

import msgspec

from lambent.core.errors import TooLate
from lambent.core.invocation import PrintTail, Status
from tests.support.batches import Seen, awake, crowd, ended, outcomes, taught
from tests.support.node import Node, node
from tests.support.virtual_time import run


def test_a_worker_does_not_stand_idle_while_its_answer_is_on_its_way() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1, way_s=0.02)
        async with node(lambda _: seen.program()) as n:
            await awake(n, max_batch=4)
            await taught(n, seen, count=4)
            since_s = n.clock.now_s()
            results = outcomes(await ended(crowd(n, 40)))
            assert [result.body for result in results] == [b"<%04d>" % number for number in range(40)]
            batches = len(seen.sizes)
            # Each of them would take 0.02 s more if the next one waited for its answer.
            assert n.clock.now_s() - since_s < batches * 0.1 + 0.05
            assert max(seen.sizes) == 4

    run(story())


def test_who_arrives_before_the_next_batch_has_to_go_is_in_it() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1, way_s=0.02)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            tasks = [*crowd(n, 1)]
            for number in range(1, 8):
                await asyncio.sleep(0.012)  # the last of them 84 ms after the first
                tasks += crowd(n, 1, since=number)
            outcomes(await ended(tasks))
            assert seen.sizes == [1, 7]

    run(story())


def test_what_was_sent_behind_a_batch_that_ends_its_worker_runs_on_another() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1, way_s=0.02)
        async with node(lambda _: seen.program()) as n:
            await awake(n, max_batch=4, timeout_s=1)
            await taught(n, seen, count=4)
            seen.hangs.add(b"0003")
            results = outcomes(await ended(crowd(n, 12)))
            failed = [number for number, result in enumerate(results) if result.status is not Status.OK]
            assert 3 in failed
            assert len(failed) <= 4  # those of its batch, and nobody who was sent behind it
            ran = [number for number in range(12) if number not in failed]
            assert [results[number].body for number in ran] == [b"<%04d>" % number for number in ran]

    run(story())


def test_one_who_must_be_alone_gets_his_turn_however_many_others_come() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1, way_s=0.02)
        async with node(lambda _: seen.program()) as n:
            await awake(n, max_batch=4)
            await taught(n, seen, count=4)
            tasks = [*crowd(n, 6)]
            kept = msgspec.structs.replace(n.invocation(), print_tail=PrintTail.KEPT)
            alone = asyncio.create_task(n.dispatcher.invoke(kept))
            for number in range(6, 60):
                await asyncio.sleep(0.02)
                tasks += crowd(n, 1, since=number)
                if alone.done():
                    break
            assert (await alone).timing.total_ms < 1000
            outcomes(await ended(tasks))

    run(story())


def test_a_refusal_is_forgotten_as_soon_as_it_was_said() -> None:
    late: list[weakref.ref[TooLate]] = []

    async def ask(n: Node, body: bytes) -> None:
        try:
            await n.dispatcher.invoke(n.invocation(body=body))
        except TooLate as error:
            late.append(weakref.ref(error))

    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n, latency_target_ms=500, max_batch=2)
            await taught(n, seen, count=4)
            async with asyncio.TaskGroup() as callers:
                for number in range(100):
                    callers.create_task(ask(n, b"%04d" % number))
                    await asyncio.sleep(0.02)
            assert late
            assert not [error for error in late if error() is not None]

    gc.disable()  # what is in a cycle would wait for it
    try:
        run(story())
    finally:
        gc.enable()
