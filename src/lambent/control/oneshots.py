"""Questions that a process of its own answers once: what does this code declare, can this model be served?"""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

import msgspec

from lambent.core.errors import LoadFailed
from lambent.core.invocation import Status, new_id
from lambent.engines.base import Engine, Worker, WorkerGone
from lambent.engines.endings import ended, load_failed
from lambent.wire.frames import Answer, Call, read_error
from lambent.wire.process import RevisionPlan
from lambent.wire.typed import from_json

T = TypeVar("T")


class OneShots:
    """Starts a worker for one call, and sees it off."""

    def __init__(self, engine: Engine, *, timeout_s: float) -> None:
        self._engine: Final = engine
        self._timeout_s: Final = timeout_s

    async def ask(self, plan: RevisionPlan, question: msgspec.Struct, answer: type[T]) -> T:
        """The answer. Raises `LoadFailed` with what the user's code did instead."""
        try:
            async with asyncio.timeout(self._timeout_s):
                worker = await self._engine.start(plan)
                try:
                    head, body = await self._call(worker, question)
                finally:
                    worker.kill()
        except TimeoutError:
            message = f"{plan.entrypoint or 'it'} was not imported within {self._timeout_s:g} s"
            raise LoadFailed(message, kind="Sandbox.Timedout") from None
        return _read(head, body, answer)

    async def _call(self, worker: Worker, question: msgspec.Struct) -> tuple[Answer, bytes]:
        call = Call(1, new_id(), self._timeout_s * 1e3)
        try:
            return await worker.call(call, msgspec.json.encode(question))
        except WorkerGone as gone:
            message = f"the process that imported this {ended(gone.exit, worker.printed())}"
            raise LoadFailed(message, kind="Runtime.ExitError") from None


def _read(head: Answer, body: bytes, answer: type[T]) -> T:
    if head.status is not Status.OK:
        raise load_failed(read_error(body))
    try:
        return from_json(body, answer)
    except msgspec.DecodeError as error:
        raise LoadFailed(f"what the worker answered cannot be read: {error}") from error
