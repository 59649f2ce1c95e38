"""Batches that do not end well, on a node without processes and in virtual time."""

from __future__ import annotations

import asyncio
import signal

import pytest

from lambent.core.errors import HoldExpired
from lambent.core.invocation import Outcome, Status
from lambent.engines.base import Hears, Worker
from lambent.engines.memory_worker import Dies
from lambent.gateway.presence import ClientLeft, Presence
from lambent.wire.frames import Batch, Call
from tests.support.batches import Seen, awake, crowd, ended, outcomes, taught
from tests.support.node import node
from tests.support.virtual_time import run


def test_one_whose_time_to_wait_is_over_leaves_the_queue_and_the_others_run() -> None:
    async def story() -> None:
        seen = Seen(first_s=3)
        async with node(lambda _: seen.program()) as n:
            await awake(n, hold_s=2)
            first = crowd(n, 1)
            await asyncio.sleep(0.5)
            early = crowd(n, 2, since=1)
            await asyncio.sleep(1)
            late = crowd(n, 1, since=3)
            assert all(isinstance(result, HoldExpired) for result in await ended(early))
            outcomes(await ended([*first, *late]))
            assert seen.bodies[1:] == [b"0000", b"0003"]
            assert n.dispatcher.queued("default", "f") == 0

    run(story())


def test_who_leaves_the_queue_is_not_run_and_who_leaves_its_seat_disturbs_nobody() -> None:
    async def story() -> None:
        seen = Seen(first_s=1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            staying = [*crowd(n, 3)]
            waiting, seated = Presence(lambda: None), Presence(lambda: None)
            gone = crowd(n, 1, since=3, client=waiting)
            kept = crowd(n, 1, since=4, client=seated)
            await asyncio.sleep(0.5)
            waiting.leave()
            assert isinstance((await ended(gone))[0], ClientLeft)
            await asyncio.sleep(1)
            seated.leave()
            outcomes(await ended([*staying, *kept]))
            assert seen.batches == [[b"0000"], [b"0001", b"0002", b"0004"]]
            assert len(n.usage) == 4

    run(story())


def test_a_caller_that_is_cancelled_in_the_tick_of_its_promotion_is_not_run() -> None:
    async def story() -> None:
        seen = Seen(first_s=1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            tasks = crowd(n, 4)
            await asyncio.sleep(1)  # in this very tick the first ends and the others are promoted
            tasks[2].cancel()
            results = await ended(tasks)
            assert isinstance(results[2], asyncio.CancelledError)
            assert seen.batches in ([[b"0000"], [b"0001", b"0003"]], [[b"0000"], [b"0001", b"0002", b"0003"]])
            assert await n.dispatcher.invoke(n.invocation())

    run(story(), tick_s=0.5)


def test_a_batch_whose_callers_all_left_in_one_tick_gives_its_worker_back() -> None:
    async def story() -> None:
        seen = Seen(first_s=1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            tasks = crowd(n, 3)
            await asyncio.sleep(0.999)
            for task in tasks[1:]:
                asyncio.get_running_loop().call_at(asyncio.get_running_loop().time() + 0.001, task.cancel)
            await ended(tasks)
            outcome = await asyncio.wait_for(n.dispatcher.invoke(n.invocation()), 5)
            assert outcome.status is Status.OK

    run(story())


def test_a_worker_that_dies_in_the_middle_of_a_batch_leaves_each_its_own_error_and_bill() -> None:
    deadly: set[bytes] = set()

    def die(body: bytes) -> None:
        if body in deadly:
            raise Dies(-signal.SIGKILL)

    async def story() -> None:
        seen = Seen(first_s=0.1, on=die)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            deadly.add(b"0002")
            results = outcomes(await ended(crowd(n, 4)))
            assert [result.status for result in results] == [Status.OK, *[Status.EXITED] * 3]
            errors = [result.error for result in results[1:] if result.error]
            ids = [record.invocation for record in n.usage[1:]]
            assert [error.error_type for error in errors] == ["Runtime.ExitError"] * 3
            assert [error.request_id for error in errors] == ids
            for error, own in zip(errors, ids, strict=True):
                assert error.error_message.startswith(f"RequestId: {own} ")
            assert sum(record.run_us for record in n.usage[1:]) == 100_000
            after = await n.dispatcher.invoke(n.invocation(body=b"0009"))
            assert (after.status, after.body) == (Status.OK, b"<0009>")

    run(story())


def test_a_batch_whose_worker_ended_before_it_read_it_waits_again_as_a_whole() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            lost: list[Batch] = []

            class Deaf:
                """Takes the batch, and is killed before it reads it."""

                def __init__(self, worker: Worker) -> None:
                    self._worker = worker

                def __getattr__(self, name: str) -> object:
                    return getattr(self._worker, name)

                def call(self, call: Call | Batch, body: bytes, hears: Hears | None = None) -> object:
                    if isinstance(call, Batch):
                        lost.append(call)
                        self._worker.kill()
                    return self._worker.call(call, body, hears)

            crew = n.pool.crew("f-1")
            assert crew is not None
            (member,) = crew.members
            member.worker = Deaf(member.worker)
            results = outcomes(await ended(crowd(n, 5)))
            assert [len(batch.calls) for batch in lost] == [4]
            assert [result.body for result in results] == [b"<%04d>" % number for number in range(5)]
            assert sorted(seen.bodies) == [b"%04d" % number for number in range(5)]
            assert len(n.usage) == 5

    run(story())


def test_a_batch_over_its_timeout_ends_with_its_worker_and_each_hears_it() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n, timeout_s=2)
            await taught(n, seen)
            seen.hangs.add(b"0001")
            results = outcomes(await ended(crowd(n, 3)))
            assert [result.status for result in results] == [Status.OK, Status.TIMED_OUT, Status.TIMED_OUT]
            for result, record in zip(results[1:], n.usage[1:], strict=True):
                assert result.error is not None
                assert result.error.error_message == (
                    f"RequestId: {record.invocation} Error: Task timed out after 2.00 seconds"
                )
            assert sum(record.run_us for record in n.usage[1:]) == 2_000_000
            assert (await n.dispatcher.invoke(n.invocation())).status is Status.OK

    run(story())


def test_a_drain_answers_the_batch_that_runs_and_those_that_wait() -> None:
    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            tasks = crowd(n, 20)
            await asyncio.sleep(0.05)
            await n.dispatcher.drain(10)
            assert all(task.done() for task in tasks)
            assert {result.status for result in outcomes(await ended(tasks))} == {Status.OK}

    run(story())


def test_a_drain_that_is_out_of_patience_cuts_a_batch_off_and_bills_it() -> None:
    async def story() -> None:
        seen = Seen(first_s=30)
        async with node(lambda _: seen.program()) as n:
            await awake(n, hold_s=600, timeout_s=600)
            await taught(n, seen)
            tasks = crowd(n, 4)
            await asyncio.sleep(31)
            await n.dispatcher.drain(1)
            results = outcomes(await ended(tasks))
            assert [result.status for result in results] == [Status.OK, *[Status.EXITED] * 3]
            assert len(n.usage) == 4

    run(story())


def test_a_fault_of_ours_in_a_batch_is_told_and_does_not_end_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    async def story() -> None:
        seen = Seen(first_s=0.1)
        async with node(lambda _: seen.program()) as n:
            await awake(n)
            await taught(n, seen)
            with monkeypatch.context() as patch:
                patch.setattr("lambent.gateway.running._shares", broken)
                results = await ended(crowd(n, 4))
            assert isinstance(results[0], Outcome)
            assert all("could not be run" in str(result) for result in results[1:])
            assert (await n.dispatcher.invoke(n.invocation())).status is Status.OK

    run(story())
