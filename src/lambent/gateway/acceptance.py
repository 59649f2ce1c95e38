"""Asynchronous invocations at any door: on disk once, however often the client asks."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec

from lambent.core.deferral import Reach, Terms
from lambent.core.errors import CallerFault, NotFound
from lambent.core.invocation import Invocation, id_from
from lambent.pool.routes import Routes
from lambent.storage.tickets import Ticket

NO_TERMS: Final = Terms()


class KeyReused(CallerFault):
    """The same idempotency key came with another body."""

    code = "idempotency_key_reused"
    status = 422


class Queue(Protocol):
    """The durable queue."""

    async def accept(self, invocation: Invocation, terms: Terms, *, keyed: bool) -> Ticket:
        """Put it on disk and return its ticket. Raises `QueueFull`, `StorageFull`."""

    async def find(self, project: str, ticket: str) -> Ticket | None:
        """A ticket by its id, whatever its state."""

    async def ended(self, project: str, ticket: str, *, wait_s: float) -> Ticket | None:
        """The ticket once it is final, or as it is when `wait_s` have passed."""

    async def cancel(self, project: str, ticket: str) -> Ticket:
        """Let one that has not ended end now. Raises `NotFound`, and `Conflict` where it has ended."""


class Acceptance:
    """Puts invocations into the durable queue."""

    def __init__(self, queue: Queue, routes: Routes) -> None:
        self._queue: Final = queue
        self._routes: Final = routes
        self._under_way: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()

    async def accept(self, invocation: Invocation, *, key: str = "", terms: Terms = NO_TERMS) -> Ticket:
        """The ticket of an invocation, or, where `key` was used before, the ticket it got then.

        Raises `NotFound` and `CallerFault` where the deployment cannot be invoked, `KeyReused`, and what the
        queue raises.
        """
        target = self._routes.target(
            invocation.project, invocation.deployment, alias=invocation.alias, key=invocation.sticky
        )
        spec = target.spec
        if spec.webhook and not terms.webhook:
            terms = msgspec.structs.replace(terms, webhook=spec.webhook, reach=Reach.ANY)
        if not key:
            return await self._queue.accept(invocation, terms, keyed=False)
        named = msgspec.structs.replace(invocation, id=id_of(invocation, key))
        lock = self._under_way.setdefault(named.id, asyncio.Lock())
        async with lock:
            return await self._accept_once(named, terms)

    async def find(self, project: str, ticket: str, *, wait_s: float = 0.0) -> Ticket:
        """A ticket as it is, or once it has ended within `wait_s`. Raises `NotFound`."""
        if wait_s:
            found = await self._queue.ended(project, ticket, wait_s=wait_s)
        else:
            found = await self._queue.find(project, ticket)
        if found is None:
            raise NotFound(f"there is no asynchronous invocation {ticket!r}")
        return found

    async def cancel(self, project: str, ticket: str) -> Ticket:
        """Let one that has not ended end now. Raises `NotFound`, and `Conflict` where it has ended."""
        return await self._queue.cancel(project, ticket)

    async def _accept_once(self, invocation: Invocation, terms: Terms) -> Ticket:
        before = await self._queue.find(invocation.project, invocation.id)
        if before is None:
            return await self._queue.accept(invocation, terms, keyed=True)
        # What an older server stored has no hash, and still has its body.
        known = before.body_hash or hashlib.sha256(before.body).digest()
        if known != hashlib.sha256(invocation.body).digest():
            raise KeyReused("this idempotency key was used before, with another body")
        return before


def id_of(invocation: Invocation, key: str) -> str:
    """The id that an idempotency key stands for: the same for the same key at the same deployment."""
    named = f"{invocation.project}\n{invocation.deployment}\n{key}"
    return id_from(hashlib.sha256(named.encode()).digest())
