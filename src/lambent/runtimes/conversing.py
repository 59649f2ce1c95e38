"""A model whose worker answers several calls at once: on its event loop, or each in a thread."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, Protocol, cast

from lambent.runtimes.base import AsyncLine, Line, Reply, Request
from lambent.wire.process import RevisionPlan

if TYPE_CHECKING:
    from lambent.runtimes.threaded import Threads


class Answering(Protocol):
    """A loaded model, as it answers one call alone, or beside others."""

    def __call__(self, request: Request, line: Line, /) -> Reply: ...

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """See `base.Concurrent`."""

    def practise(self, request: Request, line: Line, /) -> Reply:
        """See `base.Practising`."""

    def rehearse(self) -> None:
        """See `worker.rehearsal`."""


class Conversing:
    """See `runtimes.base.Concurrent`. What is sync and not in threads holds up the calls beside it."""

    def __init__(self, model: Answering, plan: RevisionPlan) -> None:
        import asyncio  # noqa: F401 - once in the template rather than in each worker

        self._model: Final = model
        self._plan: Final = plan
        self._threads: Threads | None = None

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """Run it once."""
        return self._model(request, line)

    def practise(self, request: Request, line: Line, /) -> Reply:
        """As the model."""
        return self._model.practise(request, line)

    def rehearse(self) -> None:
        """As the model."""
        self._model.rehearse()

    @property
    def is_concurrent(self) -> bool:
        """It is made for nothing else."""
        return True

    async def start(self) -> None:
        """The threads, where it wants some."""
        if self._plan.threaded:
            from lambent.runtimes.threaded import Threads

            self._threads = Threads(self._plan.concurrency)

    async def stop(self) -> None:
        """What still runs in a thread is not waited for: nobody waits for its answer."""
        if self._threads is not None:
            self._threads.stop()

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """Run it once, beside others."""
        if self._threads is None:
            return await self._model.converse(request, line)
        return cast(Reply, await self._threads.run(functools.partial(self._model, request), line))
