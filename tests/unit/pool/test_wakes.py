"""What is remembered of wakes, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.errors import NotFound
from lambent.core.spec import Temperature
from lambent.engines.memory_worker import MemoryWorker, Program, Scene
from lambent.pool.wakes import WAKES_KEPT_MAX, WakeLog
from lambent.wire.api import WakeView
from lambent.wire.process import RevisionPlan
from tests.support.node import PROJECT, node
from tests.support.virtual_time import run


async def _slow(body: bytes, _: Scene) -> bytes:
    await asyncio.sleep(2.0)
    return body


SLOW = Program(run=_slow)


def wake(total_ms: float, temperature: Temperature = Temperature.PRIMED) -> WakeView:
    return WakeView(at_unix_ms=1, temperature=temperature, total_ms=total_ms, parts_ms={})


def test_the_last_are_kept_in_full_and_all_are_counted() -> None:
    log = WakeLog()
    for took_ms in range(1, WAKES_KEPT_MAX + 11):
        log.add(wake(float(took_ms)))
    assert [one.total_ms for one in log.recent()] == [float(n) for n in range(11, WAKES_KEPT_MAX + 11)]
    assert log.statistics().total.count == WAKES_KEPT_MAX + 10
    assert sum(bucket.count for bucket in log.statistics().buckets) == WAKES_KEPT_MAX + 10


def test_wakes_are_told_apart_by_where_they_came_from_coldest_first() -> None:
    log = WakeLog()
    for one in (wake(3.0), wake(2000.0, Temperature.COLD), wake(5.0)):
        log.add(one)
    told = log.statistics()
    assert [*told.by_temperature] == ["cold", "primed"]
    assert told.by_temperature["cold"].p50_ms == 2000.0
    assert (told.by_temperature["primed"].min_ms, told.by_temperature["primed"].max_ms) == (3.0, 5.0)
    assert (told.total.count, told.total.max_ms) == (3, 2000.0)


def test_a_first_call_that_ends_after_its_wake_has_left_the_list_is_not_missed() -> None:
    log, first = WakeLog(), wake(1.0)
    log.add(first)
    for _ in range(WAKES_KEPT_MAX):
        log.add(wake(2.0))
    log.complete(first, {"queue": 1.0})
    assert all(not one.parts_ms for one in log.recent())


def test_a_cold_start_is_told_in_all_its_parts() -> None:
    async def story() -> None:
        async with node(lambda _: SLOW) as n:
            n.deploy()
            await n.dispatcher.invoke(n.invocation())
            [told] = n.pool.wakes.of(PROJECT, "f").recent()
            assert told.temperature is Temperature.COLD
            assert told.number == 1
            assert {*told.parts_ms} == {
                "queue", "exec", "import", "fork", "load", "restore", "other", "first_run",
            }  # fmt: skip
            assert (told.parts_ms["queue"], told.parts_ms["first_run"]) == pytest.approx((0.0, 2000.0))
            of_the_wake = sum(
                took for part, took in told.parts_ms.items() if part not in ("queue", "first_run")
            )
            assert of_the_wake == pytest.approx(told.total_ms)

    run(story())


def test_what_waited_for_another_worker_first_has_queued() -> None:
    async def story() -> None:
        async with node(lambda _: SLOW) as n:
            n.deploy(workers_max=2)
            await n.dispatcher.invoke(n.invocation())
            await asyncio.gather(*(n.dispatcher.invoke(n.invocation()) for _ in range(2)))
            _, second = n.pool.wakes.of(PROJECT, "f").recent()
            assert second.temperature is Temperature.PRIMED
            assert 0.0 < second.parts_ms["queue"] <= 2000.0

    run(story())


def test_a_worker_that_nobody_has_called_has_no_first_call_yet() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy(workers_min=1)
            await asyncio.sleep(10)
            log = n.pool.wakes.of(PROJECT, "f")
            assert "first_run" not in log.recent()[-1].parts_ms
            await asyncio.sleep(100)
            await n.dispatcher.invoke(n.invocation())
            assert log.recent()[-1].parts_ms["queue"] == pytest.approx(0.0)
            assert "first_run" in log.recent()[-1].parts_ms

    run(story())


def test_wakes_outlive_a_deploy_and_go_with_their_deployment() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy(revision="f-1")
            await n.dispatcher.invoke(n.invocation())
            n.deploy(revision="f-2")
            await n.dispatcher.invoke(n.invocation())
            assert n.pool.wakes.of(PROJECT, "f").statistics().total.count == 2
            n.routes.remove(PROJECT, "f")
            assert n.pool.wakes.of(PROJECT, "f").last() is None

    run(story())


def test_a_deployment_that_is_removed_while_it_wakes_leaves_nothing_behind() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy()
            waiting = asyncio.create_task(n.dispatcher.invoke(n.invocation()))
            await asyncio.sleep(0.1)
            n.routes.remove(PROJECT, "f")
            with pytest.raises(NotFound):
                await waiting
            await asyncio.sleep(10)
            assert n.pool.wakes.of(PROJECT, "f").last() is None

    run(story())


def test_parts_that_a_worker_invents_are_not_told() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy()
            start = n.engine.start

            async def lying(plan: RevisionPlan) -> MemoryWorker:
                worker = await start(plan)
                worker.parts_ms["a\r\nb"] = 1.0
                return worker

            n.engine.start = lying  # type: ignore[method-assign]  # a worker that says what ours never do
            outcome = await n.dispatcher.invoke(n.invocation())
            assert "a\r\nb" not in outcome.timing.wake_ms
            assert "a\r\nb" not in n.pool.wakes.of(PROJECT, "f").recent()[-1].parts_ms

    run(story())
