"""Invocations that a call asks for: run like any other, for the caller's project and within its time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.composing import ASKED_BYTES_MAX, ASKS_MAX
from lambent.core.errors import CallerFault, DeadlinePassed, LambentError, PlatformFault
from lambent.core.invocation import (
    JSON,
    FunctionError,
    Invocation,
    Outcome,
    Status,
    Trigger,
    cancelled_error,
    new_id,
)
from lambent.core.tracing import asked_by
from lambent.gateway.presence import ClientLeft, Presence
from lambent.wire.frames import Ask, Drop, FromCall, Told

log = logging.getLogger(__name__)

Tell = Callable[[Told, bytes], None]


class Invoke(Protocol):
    """How an invocation is run: the dispatcher's way."""

    def __call__(self, invocation: Invocation, *, client: Presence | None = None) -> Awaitable[Outcome]: ...


class Asking:
    """Runs what calls ask for."""

    def __init__(self, invoke: Invoke, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self.invoke: Final = invoke
        self.clock: Final = clock
        self.tasks: Final = tasks

    def by(self, callers: Sequence[Invocation], tell: Tell) -> Asks:
        """What one call asks for; `callers` are those who wait for it, several where it is a batch."""
        return Asks(self, _for_all(callers), tell)


class Asks:
    """What one call asks for. Once it has ended, nobody waits for the rest."""

    def __init__(self, asking: Asking, caller: Invocation, tell: Tell) -> None:
        self._asking: Final = asking
        self._caller: Final = caller
        self._tell: Final = tell
        self._open: Final[dict[int, Presence]] = {}
        self._bytes = 0  # of the bodies of those that are open

    def hear(self, said: FromCall, body: bytes) -> None:
        """The call asks for one more, or does not want one any more. All else is not for here."""
        if isinstance(said, Drop):
            if (presence := self._open.get(said.ask_id)) is not None:
                presence.leave()
        elif isinstance(said, Ask) and said.ask_id not in self._open:  # else it is being answered already
            refused = self._refusal(body)
            # Here, not in its task: what is said of it next may have come with it.
            presence = self._open[said.ask_id] = Presence()
            self._bytes += len(body)
            self._asking.tasks.create_task(
                self._answer(said, body, presence, refused), name=f"asked by {self._caller.deployment}"
            )

    def end(self) -> None:
        """The call is over."""
        for presence in tuple(self._open.values()):
            presence.leave()

    def _refusal(self, body: bytes) -> CallerFault | None:
        """Why one more is too much, if it is: a worker is the side that is not trusted."""
        if len(self._open) >= ASKS_MAX:
            return CallerFault(f"a call may have {ASKS_MAX} others under way")
        if self._open and self._bytes + len(body) > ASKED_BYTES_MAX:
            return CallerFault(f"the bodies that a call has under way may take {ASKED_BYTES_MAX} bytes")
        return None

    async def _answer(self, ask: Ask, body: bytes, presence: Presence, refused: CallerFault | None) -> None:
        """Tell what came of it, whatever it was: the worker counts what it has under way."""
        try:
            if refused is not None:
                raise refused
            outcome = await self._outcome(ask, body, presence)
            status, content_type, result = outcome.status, outcome.content_type, outcome.body
        except (ClientLeft, LambentError) as error:
            status, content_type, result = Status.FAILED, JSON, msgspec.json.encode(_said(error))
        except Exception:  # the top of a task: a fault of ours must not end the server
            log.exception("ask_crashed", extra={"deployment": ask.deployment})
            ours = PlatformFault("it could not be run")
            status, content_type, result = Status.FAILED, JSON, msgspec.json.encode(_said(ours))
        finally:
            del self._open[ask.ask_id]
            self._bytes -= len(body)
        self._tell(Told(ask.call_id, ask.ask_id, status, content_type), result)

    async def _outcome(self, ask: Ask, body: bytes, presence: Presence) -> Outcome:
        if presence.left:
            raise ClientLeft
        caller, clock = self._caller, self._asking.clock
        until_s = clock.now_s() + ask.timeout_ms / 1e3 if ask.timeout_ms > 0 else inf
        deadline_s = min(until_s, inf if caller.deadline_s is None else caller.deadline_s)
        invocation = Invocation(
            id=new_id(),
            project=caller.project,
            deployment=ask.deployment,
            body=body,
            content_type=ask.content_type,
            alias=ask.alias,
            sticky=caller.sticky,
            chain=(*caller.chain, caller.deployment),
            deadline_s=None if deadline_s == inf else deadline_s,
            trace=asked_by(caller.id, caller.trace),
            trigger=Trigger.OTHER,
        )
        given = (
            f"timeout_s={ask.timeout_ms / 1e3:g} of lambent.call"
            if deadline_s == until_s
            else f"deadline that {caller.deployment!r} itself was given"
        )
        try:
            outcome = await self._asking.invoke(invocation, client=presence)
        except DeadlinePassed as error:
            raise DeadlinePassed(f"{error.message} (the {given})") from error
        if outcome.status is Status.TIMED_OUT and deadline_s <= clock.now_s():
            raise DeadlinePassed(f"it had begun, and was not done within the {given}")
        return outcome


def _for_all(callers: Sequence[Invocation]) -> Invocation:
    """One that stands for all: as deep as the deepest, and with as much time as the last has."""
    if len(callers) == 1:
        return callers[0]
    deadlines = [one.deadline_s for one in callers]
    return msgspec.structs.replace(
        callers[0],
        chain=max((one.chain for one in callers), key=len),
        deadline_s=None if None in deadlines else max(filter(None, deadlines)),
    )


def _said(error: ClientLeft | LambentError) -> FunctionError:
    if isinstance(error, ClientLeft):
        return cancelled_error("")
    return FunctionError(error.message, f"Lambent.{type(error).__name__}")
