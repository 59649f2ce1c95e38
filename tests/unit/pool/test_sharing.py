"""Projects beside each other on one node: who gets memory, who gets the cores, and when to come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lambent.core.errors import HoldExpired, ProjectQueueFull, QueueFull
from lambent.core.invocation import Invocation, Outcome, Status, new_id
from lambent.core.spec import DeploymentSpec, Kind
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.dispatcher import Dispatcher
from lambent.pool.routes import Route
from lambent.pool.sharing import Weigher
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.node import PROJECT, Node, node
from tests.support.virtual_time import run
from tests.unit.pool.test_thermostat import ENVIRONMENT, TEMPLATE, WORKER, takes


def deploy(n: Node, project: str, name: str = "f", **settings: Any) -> str:
    """Route it; returns the revision."""
    spec = DeploymentSpec(name=name, kind=Kind.FUNCTION, entrypoint="app:f", **settings)
    revision = f"{project}-{name}"
    plan = RevisionPlan(
        revision=revision,
        deployment=name,
        project=project,
        number=1,
        runtime=Runtime.HANDLER,
        timeout_s=spec.timeout_s,
        concurrency=spec.concurrency,
    )
    n.routes.put(Route(project=project, name=name, spec=spec, plan=plan))
    return revision


def ask(n: Node, project: str, name: str = "f") -> asyncio.Task[Outcome]:
    made = Invocation(id=new_id(), project=project, deployment=name, body=b"{}")
    return asyncio.create_task(n.dispatcher.invoke(made))


def test_a_project_that_comes_late_gets_its_part_of_the_memory_from_one_that_floods() -> None:
    async def story() -> None:
        room_for = ENVIRONMENT + 2 * TEMPLATE + 8 * WORKER
        async with node(lambda _: takes(0.5), budget_bytes=room_for) as n:
            flood = deploy(n, "flood", workers_max=16, hold_s=600)
            quiet = deploy(n, "quiet", workers_max=16, hold_s=600)
            calls = [ask(n, "flood") for _ in range(600)]
            await asyncio.sleep(10)
            held = n.workers(flood)
            assert held >= 5
            mine = [ask(n, "quiet") for _ in range(60)]
            await asyncio.sleep(8)
            assert n.workers(quiet) >= 3
            assert n.workers(flood) <= held - 2
            assert {one.status for one in await asyncio.gather(*mine)} == {Status.OK}
            assert not all(call.done() for call in calls)
            assert {one.status for one in await asyncio.gather(*calls)} == {Status.OK}

    run(story())


def test_the_more_workers_a_project_has_at_work_the_nicer_they_are() -> None:
    async def story() -> None:
        told: dict[str, int] = {}

        def weigh(worker: str, nice: int) -> bool:
            told[worker] = nice
            return True

        async with node(lambda _: takes(3.0)) as n:
            flood = deploy(n, "flood", workers_max=8, workers_min=8)
            deploy(n, "quiet", workers_max=8)
            weigher = Weigher(n.pool, n.routes, n.clock, weigh=weigh)
            calls = [ask(n, "flood") for _ in range(64)]
            await asyncio.sleep(4)
            weigher.tick()
            assert set(told.values()) <= {0}  # alone it has nobody to be nice to
            calls.append(ask(n, "quiet"))
            await asyncio.sleep(2.5)
            weigher.tick()
            crew = n.pool.crew(flood)
            assert crew is not None
            assert {told[member.worker.worker_id] for member in crew.members} == {9}
            await asyncio.gather(*calls)

    run(story())


def test_a_project_has_a_bounded_queue_and_the_refusal_names_it() -> None:
    async def story() -> None:
        async with node(lambda _: takes(1.0)) as n:
            dispatcher = Dispatcher(
                n.pool, n.routes, n.clock, models=n.training, meter=n.usage.append,
                training_hold_s=9, project_queue_depth_max=10, witness=n.trials, tasks=n.tasks,
            )  # fmt: skip
            n.pool.listen(dispatcher)
            n.dispatcher = dispatcher
            for name in "abc":
                deploy(n, "flood", name, workers_max=1, queue_depth_max=6)
            deploy(n, "quiet", workers_max=1)
            calls = [ask(n, "flood", "abc"[turn % 3]) for turn in range(30)]
            quiet = ask(n, "quiet")
            ended = await asyncio.gather(*calls, return_exceptions=True)
            refused = [one for one in ended if isinstance(one, QueueFull)]
            assert len(refused) in range(17, 21)
            assert {type(one) for one in refused} == {ProjectQueueFull}
            assert "'flood'" in refused[0].message
            assert (await quiet).status is Status.OK

    run(story())


@pytest.mark.parametrize(
    ("run_s", "settings", "budget"),
    [
        pytest.param(0.5, {"workers_max": 4}, 100, id="four workers"),
        pytest.param(2.0, {"workers_max": 1}, 100, id="one worker"),
        pytest.param(2.0, {"workers_max": 2, "concurrency": 5}, 100, id="slots in workers"),
        pytest.param(1.0, {"workers_max": 16}, 3, id="memory for three of sixteen"),
    ],
)
def test_who_is_refused_is_told_when_those_who_wait_now_will_have_been_served(
    run_s: float, settings: dict[str, Any], budget: int
) -> None:
    async def story() -> None:
        room_for = ENVIRONMENT + TEMPLATE + budget * WORKER
        async with node(lambda _: takes(run_s), budget_bytes=room_for) as n:
            n.deploy(queue_depth_max=60, hold_s=600, **settings)
            await n.dispatcher.invoke(n.invocation())
            await asyncio.sleep(3)
            before = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(60)]
            await asyncio.sleep(4 * run_s)
            while n.dispatcher.queued(PROJECT, "f") < 60:
                before.append(asyncio.create_task(n.dispatcher.invoke(n.invocation())))
                await asyncio.sleep(0)
            asked_s = n.clock.now_s()
            with pytest.raises(QueueFull) as told:
                await n.dispatcher.invoke(n.invocation())
            await asyncio.gather(*before)
            took_s = n.clock.now_s() - asked_s
            assert told.value.retry_after_s is not None
            assert took_s / 2 <= told.value.retry_after_s <= took_s * 1.5

    run(story())


def test_who_waited_in_vain_is_told_the_same() -> None:
    async def slow(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(20)
        return body

    async def story() -> None:
        async with node(lambda _: Program(run=slow)) as n:
            n.deploy(workers_max=1, hold_s=5)
            calls = [asyncio.create_task(n.dispatcher.invoke(n.invocation())) for _ in range(4)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
            late = [one for one in ended if isinstance(one, HoldExpired)]
            assert len(late) == 3
            assert late[0].retry_after_s is not None
            assert late[0].retry_after_s >= 5

    run(story())


def test_many_refusals_of_one_project_are_paced_and_another_hears_its_own_at_once() -> None:
    async def story() -> None:
        async with node(lambda _: takes(60.0)) as n:
            for project in ("flood", "quiet"):
                deploy(n, project, workers_max=1, queue_depth_max=1)
            held = [ask(n, project) for project in ("flood", "quiet")]
            await asyncio.sleep(1)
            held += [ask(n, project) for project in ("flood", "quiet")]
            await asyncio.sleep(1)
            began_s, waits = n.clock.now_s(), []

            async def insist() -> None:
                while n.clock.now_s() < began_s + 4:
                    with pytest.raises(QueueFull):
                        await ask(n, "flood")
                    waits.append(n.clock.now_s())

            async with asyncio.TaskGroup() as tasks:
                for _ in range(64):
                    tasks.create_task(insist())
                await asyncio.sleep(2)
                asked_s = n.clock.now_s()
                with pytest.raises(QueueFull):
                    await ask(n, "quiet")
                assert n.clock.now_s() == asked_s
            assert 1_600 <= len(waits) <= 2_300  # 500 in a second, and those that are said at once
            for task in held:
                task.cancel()

    run(story())
