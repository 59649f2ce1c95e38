"""The durable queue of asynchronous invocations: on disk before the caller hears yes, run at least once.

A ticket is stored queued, marked running while it is tried, and ends as succeeded or dead. At start, what was
running is queued again: the server stopped before it knew the outcome.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError, QueueFull
from lambent.core.invocation import Invocation, Outcome, Status
from lambent.core.retrying import Dead, RetryPolicy, next_try
from lambent.jobs.storing import stored
from lambent.storage.base import Ticket, Tickets, TicketState

OPEN_MAX: Final = 100_000
IDLE_S: Final = 1.0
KEPT_S: Final = 24 * 3600.0  # how long an outcome can be asked for
FORGET_EVERY_S: Final = 600.0
# AWS Lambda's own: two retries, six hours. Its waits of one and two minutes are shorter here.
RETRY: Final = RetryPolicy(attempts_max=3, first_s=2.0, factor=4.0, cap_s=120.0, age_max_s=6 * 3600.0)

log = logging.getLogger(__name__)


class AsyncQueue:
    """Accepts invocations for later and runs them, at most `running_max` at once."""

    def __init__(
        self,
        tickets: Tickets,
        invoke: Callable[[Invocation], Awaitable[Outcome]],
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        running_max: int,
        retry: RetryPolicy = RETRY,
    ) -> None:
        self._tickets = tickets
        self._invoke = invoke
        self._clock = clock
        self._tasks = tasks
        self._running_max = running_max
        self._retry = retry
        self._running: Final[set[str]] = set()
        self._open = 0
        self._forget_at_s = clock.now_s()
        self._poke = asyncio.Event()

    async def accept(self, invocation: Invocation) -> Ticket:
        """Put it on disk and return its ticket. Raises `QueueFull`, `StorageFull`."""
        if self._open >= OPEN_MAX:
            raise QueueFull(f"{self._open} asynchronous invocations wait, the maximum", retry_after_s=IDLE_S)
        now_unix_ms = self._clock.unix_ms()
        ticket = Ticket(
            id=invocation.id,
            project=invocation.project,
            deployment=invocation.deployment,
            body=invocation.body,
            content_type=invocation.content_type,
            state=TicketState.QUEUED,
            due_unix_ms=now_unix_ms,
            created_unix_ms=now_unix_ms,
        )
        self._open += 1
        try:
            await asyncio.to_thread(self._tickets.put, ticket)
        except BaseException:
            self._open -= 1
            raise
        self._poke.set()
        return ticket

    async def find(self, project: str, ticket: str) -> Ticket | None:
        """A ticket by its id, whatever its state."""
        return await asyncio.to_thread(self._tickets.find, project, ticket)

    async def restore(self) -> None:
        """Take up what an earlier server left; before anything is accepted."""
        again = await asyncio.to_thread(self._tickets.requeue_running)
        if again:
            log.info("tickets_requeued", extra={"count": again})
        self._open = await asyncio.to_thread(self._tickets.unfinished)

    async def run(self) -> None:
        """Work until cancelled. A store that cannot be used now is tried again."""
        while True:
            self._poke.clear()
            try:
                await self._forget()
                started = await self._start_due()
            except LambentError as error:
                log.warning("queue_stands", extra={"reason": error.message})
                started = 0
            if not started:
                await self._rest()

    async def _forget(self) -> None:
        now_s = self._clock.now_s()
        if now_s >= self._forget_at_s:
            self._forget_at_s = now_s + FORGET_EVERY_S
            before_unix_ms = self._clock.unix_ms() - int(KEPT_S * 1e3)
            await asyncio.to_thread(lambda: self._tickets.forget_final(before_unix_ms=before_unix_ms))

    async def _start_due(self) -> int:
        room = self._running_max - len(self._running)
        if room <= 0:
            return 0
        due = await asyncio.to_thread(
            lambda: self._tickets.due(self._clock.unix_ms(), limit=self._running_max * 2)
        )
        fresh = [ticket for ticket in due if ticket.id not in self._running][:room]
        for ticket in fresh:
            self._running.add(ticket.id)
            self._tasks.create_task(self._try(ticket), name=f"ticket {ticket.id}")
        return len(fresh)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(IDLE_S):
                await self._poke.wait()
        except TimeoutError:
            return

    async def _try(self, ticket: Ticket) -> None:
        ticket = msgspec.structs.replace(ticket, state=TicketState.RUNNING, attempts=ticket.attempts + 1)
        try:
            if await self._stored(ticket):  # else it is still queued, and due again
                after = self._after(ticket, await self._attempt(ticket))
                # It has run: what came of it waits for the store as long as the server lives, in the place
                # of one that runs, so that at most `running_max` outcomes are held in memory.
                while not await self._stored(after):
                    pass
                self._open -= after.state is not TicketState.QUEUED
        finally:
            self._running.discard(ticket.id)
            self._poke.set()

    async def _stored(self, ticket: Ticket) -> bool:
        return await stored(self._tickets.put, ticket, name=f"ticket {ticket.id}")

    async def _attempt(self, ticket: Ticket) -> Outcome | LambentError:
        invocation = Invocation(
            id=ticket.id,
            project=ticket.project,
            deployment=ticket.deployment,
            body=ticket.body,
            content_type=ticket.content_type,
        )
        try:
            return await self._invoke(invocation)
        except LambentError as error:
            return error

    def _after(self, ticket: Ticket, outcome: Outcome | LambentError) -> Ticket:
        replace = msgspec.structs.replace
        if isinstance(outcome, Outcome) and outcome.status is Status.OK:
            return replace(
                ticket,
                state=TicketState.SUCCEEDED,
                result=outcome.body,
                result_type=outcome.content_type,
                error="",
            )
        cause, body, kind = _failure(outcome)
        ticket = replace(ticket, attempts=ticket.attempts - _refused(outcome))
        now_unix_ms = self._clock.unix_ms()
        age_s = (now_unix_ms - ticket.created_unix_ms) / 1e3
        verdict = next_try(self._retry, ticket.attempts, age_s=age_s, jitter=random.random())
        if isinstance(verdict, Dead):
            return replace(
                ticket,
                state=TicketState.DEAD,
                error=f"{cause} ({verdict.reason})",
                result=body,
                result_type=kind,
            )
        due = now_unix_ms + int(verdict.after_s * 1e3)
        return replace(ticket, state=TicketState.QUEUED, error=cause, due_unix_ms=due)


def _refused(outcome: Outcome | LambentError) -> bool:
    """Whether we had no room for it, or were about to stop: a try that never was. Only its age ends those."""
    return isinstance(outcome, LambentError) and outcome.retryable


def _failure(outcome: Outcome | LambentError) -> tuple[str, bytes, str]:
    """The cause in words, and the error's body with its type where user code made one."""
    if isinstance(outcome, LambentError):
        return f"{outcome.code}: {outcome.message}", b"", ""
    error = outcome.error
    cause = f"{error.error_type}: {error.error_message}" if error else outcome.status.value
    return cause, outcome.body, outcome.content_type
