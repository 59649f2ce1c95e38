"""Batches on a node without processes: programs that note who ran together, and callers in a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from lambent.core.invocation import Outcome
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.presence import Presence
from tests.support.node import Node

Ended = Outcome | BaseException

MODEL: Final[Mapping[str, float]] = MappingProxyType(
    {"max_batch": 64, "workers_max": 1, "keep_alive_s": 600.0}
)


class Seen:
    """A program that notes each batch that it runs: the bodies, by the number of the frame they came in.

    Each batch takes `first_s`, and `row_s` for every row beyond its first. Its answer is on its
    way for `way_s`.
    """

    def __init__(
        self,
        *,
        first_s: float,
        row_s: float = 0.0,
        way_s: float = 0.0,
        on: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        self._first_s, self._row_s, self._way_s, self._on = first_s, row_s, way_s, on
        self.by_frame: dict[int, list[bytes]] = {}
        self.hangs: set[bytes] = set()  # the bodies that never end

    @property
    def batches(self) -> list[list[bytes]]:
        """What ran, in its order."""
        return [*self.by_frame.values()]

    @property
    def sizes(self) -> list[int]:
        """How many ran together, each time."""
        return [*map(len, self.batches)]

    @property
    def bodies(self) -> list[bytes]:
        """Everybody, in the order in which they ran."""
        return [body for batch in self.batches for body in batch]

    def program(self) -> Program:
        """The program itself."""

        async def run(body: bytes, scene: Scene) -> bytes:
            batch = self.by_frame.setdefault(scene.call.call_id, [])
            batch.append(body)
            await asyncio.sleep(self._first_s if len(batch) == 1 else self._row_s)
            if body in self.hangs:
                await asyncio.Event().wait()
            self._on(body)
            return b"<" + body + b">"

        return Program(run=run, cpu_share=1.0, way_s=self._way_s)


def crowd(
    n: Node, count: int, *, since: int = 0, client: Presence | None = None
) -> Sequence[asyncio.Task[Outcome]]:
    """So many callers at once; each sends its number."""
    return [
        asyncio.create_task(n.dispatcher.invoke(n.invocation(body=b"%04d" % number), client=client))
        for number in range(since, since + count)
    ]


async def ended(tasks: Sequence[asyncio.Task[Outcome]]) -> list[Ended]:
    """How each of them ended."""
    return await asyncio.gather(*tasks, return_exceptions=True)


async def stream(n: Node, count: int, *, every_s: float) -> list[Ended]:
    """So many callers, one after another; how each of them ended."""
    tasks: list[asyncio.Task[Outcome]] = []
    for number in range(count):
        tasks += crowd(n, 1, since=number)
        await asyncio.sleep(every_s)
    return await ended(tasks)


async def taught(n: Node, seen: Seen, *, rounds: int = 12, count: int = 8) -> None:
    """Let it learn what batches take, then forget that they ran."""
    for _ in range(rounds):
        await asyncio.gather(*crowd(n, count))
    seen.by_frame.clear()
    n.usage.clear()


def outcomes(results: Sequence[Ended]) -> list[Outcome]:
    """All of them, none of which may be an exception."""
    found = [result for result in results if isinstance(result, Outcome)]
    assert len(found) == len(results), results
    return found


async def awake(n: Node, **spec: Any) -> None:
    """A model that batches, with its one worker."""
    n.deploy(**{**MODEL, **spec})
    await n.dispatcher.invoke(n.invocation())
