"""The trace of an asynchronous invocation: the same at each try, and after the server was started again."""

from __future__ import annotations

import msgspec

from lambent.core.deferral import Terms
from lambent.core.invocation import Invocation, Outcome, new_id
from lambent.core.tracing import Trace
from lambent.storage.sql import SqlStore
from tests.support.virtual_time import run
from tests.unit.jobs.durable import BROKEN, PROJECT, outcome, working

TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "01", "a=1", "Root=x")


def test_each_try_belongs_to_the_trace_that_asked_for_it(store: SqlStore) -> None:
    seen: list[Trace | None] = []

    async def invoke(one: Invocation) -> Outcome:
        seen.append(one.trace)
        return BROKEN if len(seen) == 1 else outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            plain = Invocation(id=new_id(), project=PROJECT, deployment="f", body=b"{}")
            traced = msgspec.structs.replace(plain, trace=TRACE)
            await house.ended(await house.queue.accept(traced, Terms(), keyed=False))
            bare = msgspec.structs.replace(plain, id=new_id())
            await house.ended(await house.queue.accept(bare, Terms(), keyed=False))
        assert seen == [TRACE, TRACE, None]

    run(story())
