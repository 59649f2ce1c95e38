"""Invocations that a call asks for: run like any other, for the caller's project and within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol

import msgspec

from lambent.core.errors import CallerFault, LambentError
from lambent.core.invocation import JSON, FunctionError, Invocation, Outcome, Status, new_id
from lambent.gateway.presence import ClientLeft, Presence
from lambent.pool.member import Lease
from lambent.wire.frames import Ask, Told

ASKS_MAX: Final = 100  # that one call may have under way


class Invoke(Protocol):
    """How an invocation is run: the dispatcher's way."""

    def __call__(self, invocation: Invocation, *, client: Presence | None = None) -> Awaitable[Outcome]: ...


class Asking:
    """Runs what calls ask for."""

    def __init__(self, invoke: Invoke, tasks: asyncio.TaskGroup) -> None:
        self._invoke: Final = invoke
        self._tasks: Final = tasks

    def by(self, caller: Invocation, lease: Lease) -> Asks:
        """What one call asks for."""
        return Asks(self._invoke, self._tasks, caller, lease)


class Asks:
    """What one call asks for. Once it has ended, nobody waits for the rest."""

    def __init__(self, invoke: Invoke, tasks: asyncio.TaskGroup, caller: Invocation, lease: Lease) -> None:
        self._invoke: Final = invoke
        self._tasks: Final = tasks
        self._caller: Final = caller
        self._lease: Final = lease
        self._open: Final[set[Presence]] = set()

    def hear(self, ask: Ask, body: bytes) -> None:
        """It asks for one more."""
        self._tasks.create_task(self._answer(ask, body), name=f"asked by {self._caller.deployment}")

    def end(self) -> None:
        """The call is over."""
        for presence in tuple(self._open):
            presence.leave()

    async def _answer(self, ask: Ask, body: bytes) -> None:
        presence = Presence(_nothing)
        self._open.add(presence)
        try:
            outcome = await self._outcome(ask, body, presence)
            told, result = Told(ask.call_id, ask.ask_id, outcome.status, outcome.content_type), outcome.body
        except ClientLeft:
            return
        except LambentError as error:
            told = Told(ask.call_id, ask.ask_id, Status.FAILED, JSON)
            result = msgspec.json.encode(FunctionError(error.message, f"Lambent.{type(error).__name__}"))
        finally:
            self._open.discard(presence)
        self._lease.tell(told, result)

    async def _outcome(self, ask: Ask, body: bytes, presence: Presence) -> Outcome:
        if len(self._open) > ASKS_MAX:
            raise CallerFault(f"a call may have {ASKS_MAX} others under way")
        invocation = Invocation(
            id=new_id(),
            project=self._caller.project,
            deployment=ask.deployment,
            body=body,
            content_type=ask.content_type,
            chain=(*self._caller.chain, self._caller.deployment),
        )
        if not ask.timeout_ms:
            return await self._invoke(invocation, client=presence)
        try:
            async with asyncio.timeout(ask.timeout_ms / 1e3):
                return await self._invoke(invocation, client=presence)
        except TimeoutError:
            raise CallerFault(f"it was not answered within {ask.timeout_ms:g} ms") from None


def _nothing() -> None:
    """There is no connection to drop."""
