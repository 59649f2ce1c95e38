"""Calls of a model that run together: who goes with whom, and what each is told and billed."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.core.errors import TooLate
from lambent.core.invocation import Outcome, PrintTail, Status
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.batching import HEAD_BYTES, Batching
from lambent.wire.frames import HEADER_BYTES_MAX, Call
from tests.support.batches import Seen, awake, crowd, ended, outcomes, stream, taught
from tests.support.node import node
from tests.support.virtual_time import run


def test_who_finds_a_worker_idle_does_not_wait_for_company() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n, latency_target_ms=5000)
            for _ in range(3):
                outcome = await n.dispatcher.invoke(n.invocation())
                assert outcome.timing.queue_ms == 0
                assert outcome.timing.total_ms == pytest.approx(100)
                await asyncio.sleep(1)
            assert seen.sizes == [1] * 4

    run(story())


def test_who_comes_while_a_worker_is_busy_runs_with_the_others_in_the_order_of_arrival() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            results = outcomes(await ended(crowd(n, 8)))
            assert [result.body for result in results] == [b"<%04d>" % number for number in range(8)]
            assert seen.sizes == [1, 7]
            assert seen.bodies == [b"%04d" % number for number in range(8)]

    run(story())


@settings(max_examples=25, deadline=None)
@given(
    max_batch=st.integers(2, 9),
    arrivals=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    workers=st.integers(1, 3),
)
def test_everybody_runs_once_in_order_and_no_batch_is_larger_than_its_maximum(
    max_batch: int, arrivals: list[int], workers: int
) -> None:
    async def story() -> None:
        seen = Seen(first_s=0.02, row_s=0.001)
        async with node(lambda _: seen.program()) as n:
            n.deploy(max_batch=max_batch, workers_max=workers, keep_alive_s=600.0)
            tasks: list[asyncio.Task[Outcome]] = []
            for many in arrivals:
                tasks += crowd(n, many, since=len(tasks))
                await asyncio.sleep(0.01)
            results = outcomes(await ended(tasks))
            assert [result.body for result in results] == [b"<%04d>" % number for number in range(len(tasks))]
            assert seen.bodies == sorted(seen.bodies) if workers == 1 else len(seen.bodies) == len(tasks)
            assert max(seen.sizes, default=1) <= max_batch
            assert all(batch == sorted(batch) for batch in seen.batches)
            assert len(n.usage) == len(tasks)

    run(story(), tick_s=0.01)


def test_the_shares_of_a_batch_add_up_to_its_run() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1, row_s=0.0000003)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            await ended(crowd(n, 8))
            alone, *together = n.usage
            assert len(together) == 7
            assert sum(record.run_us for record in together) == pytest.approx(100_002, abs=1)
            assert sum(record.cpu_us for record in together) == sum(record.run_us for record in together)
            assert max(r.run_us for r in together) - min(r.run_us for r in together) <= 1
            assert {record.billed_ms for record in together} == {15}
            assert {record.started_unix_ms for record in together} == {alone.started_unix_ms + 100}

    run(story())


def test_what_was_said_to_a_batch_is_the_callers_own_and_the_bad_one_fails_alone() -> None:
    def refuse(body: bytes) -> None:
        if body == b"0003":
            raise ValueError("three is bad")

    async def story() -> None:
        seen = Seen(first_s=0.1, on=refuse)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            results = outcomes(await ended(crowd(n, 6)))
            assert seen.sizes == [1, 5]
            assert [result.status for result in results] == [
                Status.FAILED if number == 3 else Status.OK for number in range(6)
            ]
            assert results[3].error is not None
            assert results[3].error.error_message == "three is bad"
            assert sorted(record.status for record in n.usage) == [Status.FAILED, *[Status.OK] * 5]

    run(story())


def test_who_cannot_be_in_time_is_told_so_and_when_to_come_back_and_is_not_billed() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n, latency_target_ms=500, max_batch=2)
            await taught(n, seen, count=4)
            results = await stream(n, 200, every_s=0.02)  # two and a half times what it can do
            late = [result for result in results if isinstance(result, TooLate)]
            served = [result for result in results if isinstance(result, Outcome)]
            assert len(late) + len(served) == 200
            assert late[0].retry_after_s == 1.0
            assert (late[0].code, late[0].status) == ("too_late", 503)
            assert "latency_target_ms=500" in late[0].message
            assert max(result.timing.total_ms for result in served[:-2]) <= 500  # of the last, all are late
            assert len(served) >= 76
            assert len(n.usage) == len(served)

    run(story())


def test_no_batch_is_made_that_would_run_into_the_timeout() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1, row_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n, timeout_s=1, hold_s=600)
            for _ in range(10):
                assert {result.status for result in outcomes(await ended(crowd(n, 40)))} == {Status.OK}
            assert max(seen.sizes) <= 5

    run(story())


def test_one_that_wants_its_prints_runs_alone_and_gets_no_others() -> None:
    async def story() -> None:
        async def talk(body: bytes, scene: Scene) -> bytes:
            scene.print(b"I am " + body + b"\n")
            await asyncio.sleep(0.1)
            return body

        async with node(lambda _: Program(run=talk)) as n:
            await awake(n)
            for _ in range(8):
                await ended(crowd(n, 6))
            tasks = [*crowd(n, 3)]
            wanted = msgspec.structs.replace(n.invocation(body=b"nosy"), print_tail=PrintTail.KEPT)
            tasks.append(asyncio.create_task(n.dispatcher.invoke(wanted)))
            tasks += crowd(n, 3, since=3)
            results = outcomes(await ended(tasks))
            assert [result.log_tail for result in results] == [b"", b"", b"", b"I am nosy\n", b"", b"", b""]

    run(story())


def test_any_number_of_them_leaves_what_was_learnt_of_the_others_alone() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.01)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            for _ in range(80):
                wanted = msgspec.structs.replace(n.invocation(body=b"nosy"), print_tail=PrintTail.KEPT)
                await n.dispatcher.invoke(wanted)
            seen.by_frame.clear()
            outcomes(await ended(crowd(n, 8)))
            assert seen.sizes == [1, 7]

    run(story())


def test_what_the_autoscaler_reads_of_a_batch_is_each_calls_share_of_it() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            for _ in range(40):
                await ended(crowd(n, 20))
            traffic = n.pool.traffic("default", "f")
            assert 0.1 / 19 <= traffic.run_s < 0.05  # 20 calls in two runs of 100 ms
            assert traffic.cpu_share == pytest.approx(1.0, rel=0.01)
            assert traffic.work == pytest.approx(1.0, rel=0.1)  # it was busy all the time, and once

    run(story())


@settings(max_examples=30, deadline=None)
@given(
    bodies=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    contexts=st.lists(st.integers(0, 40_000), min_size=1, max_size=30),
)
def test_what_goes_together_fits_into_one_frame(bodies: list[int], contexts: list[int]) -> None:
    async def story() -> None:
        async with node() as n:
            spec = n.deploy(max_batch=4096, memory_bytes=160 * 2**20).spec
            batching = Batching(spec)
            asked = [
                msgspec.structs.replace(n.invocation(body=bytes(body * 2**20)), client_context="ä" * context)
                for body, context in zip(bodies, contexts, strict=False)
            ]
            count = batching.fitting(asked)
            assert 1 <= count <= len(asked)
            heads = [Call(2**31, one.id, 6e8, one.content_type, one.client_context) for one in asked[:count]]
            if count > 1:
                assert sum(len(one.body) for one in asked[:count]) <= 20 * 2**20
                assert len(msgspec.msgpack.encode(heads)) <= HEADER_BYTES_MAX
            if count < len(asked):
                assert (
                    sum(len(one.body) for one in asked[: count + 1]) > 20 * 2**20
                    or sum(4 * len(one.client_context) + HEAD_BYTES for one in asked[: count + 1])
                    > HEADER_BYTES_MAX / 2
                )

    run(story())


def test_a_callers_deadline_sizes_the_batches_and_who_cannot_make_it_is_told_that_it_was_that() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n, max_batch=2)
            await taught(n, seen, count=4)
            tasks = []
            for number in range(100):
                deadline_s = n.clock.now_s() + 0.4
                asked = msgspec.structs.replace(n.invocation(body=b"%04d" % number), deadline_s=deadline_s)
                tasks.append(asyncio.create_task(n.dispatcher.invoke(asked)))
                await asyncio.sleep(0.02)
            results = await ended(tasks)
            served = [result for result in results if isinstance(result, Outcome)]
            late = [result for result in results if isinstance(result, TooLate)]
            assert max(result.timing.total_ms for result in served) <= 400
            assert len(served) >= 36
            assert "before the caller's deadline" in late[0].message
            assert len(n.usage) == len(served)

    run(story())
