"""A durable queue over a real store, in virtual time: only what runs the invocations is a stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from lambent.core.deferral import Handling, Terms
from lambent.core.errors import LambentError
from lambent.core.invocation import FunctionError, Invocation, Outcome, Status, Timing, new_id
from lambent.core.settings import with_settings
from lambent.core.spec import DeploymentSpec, Kind, Setting, Temperature
from lambent.jobs.queue import AsyncQueue
from lambent.pool.handlings import Handlings
from lambent.pool.routes import Route, Routes
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import OPEN, Ticket
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import ManualClock, VirtualClock

T = TypeVar("T")
Invoke = Callable[[Invocation], Awaitable[Outcome]]
PROJECT = "default"


async def here(work: Callable[[], T], /) -> T:
    """What blocks is done at once: virtual time has no threads. Others get a turn, as with a thread."""
    await asyncio.sleep(0)
    return work()


def outcome(status: Status = Status.OK, body: bytes = b"1") -> Outcome:
    return Outcome(
        status=status,
        body=body,
        content_type="application/json",
        revision="r",
        temperature=Temperature.HOT,
        timing=Timing(),
        billed_ms=1,
        error=None if status is Status.OK else FunctionError("it broke", "ValueError"),
    )


BROKEN = outcome(Status.FAILED, b'{"errorMessage": "it broke"}')


def answers(*given: Outcome | LambentError) -> Invoke:
    """An invoker that gives these in turn, the last one for ever."""
    left = [*given]

    async def invoke(_: Invocation) -> Outcome:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, LambentError):
            raise answer
        return answer

    return invoke


def sleeper(seconds: float) -> Invoke:
    async def invoke(_: Invocation) -> Outcome:
        await asyncio.sleep(seconds)
        return outcome()

    return invoke


CANCELLED = outcome(Status.CANCELLED, b'{"errorMessage": "cancelled"}')


class Heeding:
    """Runs an invoker as a server does: what is cancelled meanwhile is told so, and ends."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    async def __call__(self, invocation: Invocation, cancelled: asyncio.Future[None], /) -> Outcome:
        work = asyncio.ensure_future(self._invoke(invocation))
        cancelled.add_done_callback(lambda _: work.cancel())
        try:
            return await work
        except asyncio.CancelledError:
            if cancelled.done():
                return CANCELLED
            raise


class Outbox:
    """Counts what it is told of."""

    def __init__(self) -> None:
        self.waiting = 0
        self.refusal: Exception | None = None

    def admit(self) -> None:
        if self.refusal:
            raise self.refusal

    def enter(self) -> None:
        self.waiting += 1


class House:
    """A queue that works, and the words for a story about it."""

    def __init__(self, store: SqlStore, invoke: Invoke, tasks: asyncio.TaskGroup, running_max: int) -> None:
        self.store = store
        self.routes = Routes()
        self.outbox = Outbox()
        self.handlings = Handlings(Handling(retries=2, async_age_max_s=3600.0))
        self.clock = VirtualClock()
        self.queue = AsyncQueue(
            store.tickets, store.dead_letters, Heeding(invoke), self.routes, self.clock, tasks,
            running_max=running_max, outbox=self.outbox, handlings=self.handlings, disk=here,
        )  # fmt: skip

    def deploy(self, name: str = "f", *, project: str = PROJECT, **settings: Setting) -> None:
        spec = with_settings(DeploymentSpec(name=name, kind=Kind.FUNCTION), settings)
        plan = RevisionPlan(
            revision=f"{project}-{name}",
            project=project,
            deployment=name,
            number=1,
            runtime=Runtime.HANDLER,
        )
        self.routes.put(Route(project=project, name=name, spec=spec, plan=plan))

    async def accept(
        self,
        name: str = "f",
        body: bytes = b"{}",
        *,
        project: str = PROJECT,
        keyed: bool = False,
        **terms: object,
    ) -> Ticket:
        invocation = Invocation(id=new_id(), project=project, deployment=name, body=body)
        return await self.queue.accept(invocation, msgspec.convert(terms, Terms), keyed=keyed)

    async def find(self, ticket: Ticket) -> Ticket:
        found = await self.queue.find(PROJECT, ticket.id)
        assert found is not None
        return found

    async def ended(self, *tickets: Ticket) -> list[Ticket]:
        """The tickets once they are final."""
        ended = []
        for ticket in tickets:
            while (
                found := await self.queue.ended(ticket.project, ticket.id, wait_s=60)
            ) and found.state in OPEN:
                pass
            assert found is not None
            ended.append(found)
        return ended


@asynccontextmanager
async def working(store: SqlStore, invoke: Invoke, *, running_max: int = 16) -> AsyncIterator[House]:
    """A queue that is restored and runs, with a deployment `f`."""
    async with asyncio.TaskGroup() as tasks:
        house = House(store, invoke, tasks, running_max)
        house.deploy(workers_max=8)
        await house.queue.restore()
        loop = tasks.create_task(house.queue.run())
        try:
            yield house
        finally:
            house.queue.pause()
            loop.cancel()


def open_store(folder: Path) -> SqlStore:
    """A store whose stamps do not matter."""
    return SqlStore.open(folder / "lambent.db", ManualClock())
