"""A batch that is sent before the one that runs has ended, and what refusals leave behind."""

from __future__ import annotations

import asyncio
import gc
import weakref

from lambent.core.errors import TooLate
from tests.support.batches import Seen, awake, taught
from tests.support.node import Node, node
from tests.support.virtual_time import run


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
