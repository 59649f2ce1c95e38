"""Queues that deployments are invoked for, in virtual time over a real store: the function is a stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lambent.bindings.queues import Draft, Queues, Wish
from lambent.core.errors import QueueFull
from lambent.core.invocation import Invocation, Outcome
from lambent.core.messages import Message, Terms
from lambent.core.sources import Source
from lambent.core.spec import DeploymentSpec, Kind
from lambent.pool.reservations import Reservations
from lambent.pool.routes import Route, Routes
from lambent.storage.queues import Queue
from lambent.storage.sql import SqlStore
from lambent.triggers.queue import State
from lambent.triggers.sources import Sources
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import VirtualClock, run
from tests.unit.jobs.durable import BROKEN, PROJECT, here, outcome

Invoke = Callable[[Invocation], Awaitable[Outcome]]


class House:
    """What a test holds in its hand."""

    def __init__(self, queues: Queues, sources: Sources, routes: Routes) -> None:
        self.queues = queues
        self.sources = sources
        self.routes = routes

    def deploy(self) -> None:
        spec = DeploymentSpec(name="f", kind=Kind.FUNCTION, entrypoint="app:f", workers_max=3)
        plan = RevisionPlan(
            revision="f-1", deployment="f", project=PROJECT, number=1, runtime=Runtime.HANDLER,
            timeout_s=60, memory_bytes=1 << 28, concurrency=1,
        )  # fmt: skip
        self.routes.put(Route(project=PROJECT, name="f", spec=spec, plan=plan))

    async def send(self, *bodies: str) -> None:
        drafts = [Draft(Message(id=body, body=body, size_bytes=len(body))) for body in bodies]
        await self.queues.send(PROJECT, "q", drafts)

    async def left(self) -> int:
        share = await self.queues.share(PROJECT, "q")
        return share.count


@asynccontextmanager
async def house(store: SqlStore, invoke: Invoke, **terms: Any) -> AsyncIterator[House]:
    async with asyncio.TaskGroup() as tasks:
        clock, routes = VirtualClock(), Routes()
        queues = Queues(store.queues, clock, tasks, disk=here)
        await queues.restore()
        await queues.create(Queue(project=PROJECT, name="q", terms=Terms(**terms)))
        sources = Sources(
            queues=queues, routes=routes, reservations=Reservations(), invoke=invoke, clock=clock, tasks=tasks
        )
        made = House(queues, sources, routes)
        made.deploy()
        yield made
        sources.pause()
        queues.pause()
        await sources.settle()


def source(**changes: Any) -> Source:
    return Source(**{"id": "s", "project": PROJECT, "queue": "q", "deployment": "f", **changes})


def bodies(invocation: Invocation) -> list[str]:
    return [one["body"] for one in json.loads(invocation.body)["Records"]]


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Recorder:
    """A function that takes a while and answers as it is told."""

    def __init__(self, *answers: Outcome | Exception, takes_s: float = 1.0) -> None:
        self.calls: list[tuple[float, list[str]]] = []
        self.running = self.most = 0
        self._answers = [*answers]
        self._takes_s = takes_s

    async def __call__(self, invocation: Invocation) -> Outcome:
        self.calls.append((now_s(), bodies(invocation)))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self._takes_s)
        finally:
            self.running -= 1
        answer = self._answers.pop(0) if self._answers else outcome()
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_messages_are_gathered_for_a_window_and_no_longer(store: SqlStore) -> None:
    async def story() -> None:
        function = Recorder()
        async with house(store, function) as here_:
            here_.sources.put(source(batch_max=3, window_s=10))
            for body in "ab":
                await asyncio.sleep(4)
                await here_.send(body)
            await asyncio.sleep(20)
            await here_.send(*"cdef")
            await asyncio.sleep(20)
            assert await here_.left() == 0
        assert function.calls == [(14, ["a", "b"]), (28, ["c", "d", "e"]), (38, ["f"])]

    run(story())


@pytest.mark.parametrize(("running_max", "most"), [(0, 2), (1, 1)])
def test_no_more_batches_run_at_once_than_may(store: SqlStore, running_max: int, most: int) -> None:
    async def story() -> None:
        function = Recorder()
        async with house(store, function) as here_:
            here_.sources.put(source(batch_max=1, running_max=running_max))
            await here_.send(*"abcdef")
            await asyncio.sleep(30)
            assert await here_.left() == 0
        assert (function.most, len(function.calls)) == (most, 6)

    run(story())


def test_what_failed_comes_again_when_the_queues_timeout_is_over(store: SqlStore) -> None:
    async def story() -> None:
        function = Recorder(BROKEN, takes_s=12)
        async with house(store, function, visibility_s=30) as here_:
            here_.sources.put(source())
            await here_.send("a")
            await asyncio.sleep(50)
            assert await here_.left() == 0
        assert function.calls == [(0, ["a"]), (30, ["a"])]

    run(story())


def test_a_full_deployment_is_asked_less_often_and_no_message_counts_it(store: SqlStore) -> None:
    async def story() -> None:
        function = Recorder(*[QueueFull("full")] * 4, takes_s=0)
        async with house(store, function) as here_:
            here_.sources.put(source())
            await here_.send("a")
            await asyncio.sleep(0.5)
            assert here_.sources.problem("s") == "full"
            await asyncio.sleep(60)
            assert await here_.left() == 0
        times = [at for at, _ in function.calls]
        assert times == sorted(times)
        assert len(times) == 5
        assert times[-1] >= 15

    run(story())


def test_who_is_switched_off_ends_what_runs_and_takes_nothing_more(store: SqlStore) -> None:
    async def story() -> None:
        function = Recorder(takes_s=10)
        async with house(store, function) as here_:
            here_.sources.put(source())
            await here_.send("a")
            await asyncio.sleep(1)
            here_.sources.remove("s")
            assert here_.sources.is_ending("s")
            await here_.send("b")
            await asyncio.sleep(20)
            assert here_.sources.standing("s").state is State.ENDED
            [left] = await here_.queues.receive(PROJECT, "q", Wish(count=10))
            assert (left.body, left.receives) == ("b", 1)

    run(story())


def test_messages_wait_for_a_function_that_is_not_there_yet(store: SqlStore) -> None:
    async def story() -> None:
        function = Recorder()
        async with house(store, function) as here_:
            here_.routes.remove(PROJECT, "f")
            here_.sources.put(source())
            await here_.send("a")
            await asyncio.sleep(20)
            assert "does not exist" in here_.sources.problem("s")
            assert not function.calls
            here_.deploy()
            await asyncio.sleep(20)
            assert [some for _, some in function.calls] == [["a"]]

    run(story())
