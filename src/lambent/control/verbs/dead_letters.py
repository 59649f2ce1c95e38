"""Dead letters: asynchronous invocations that could not be done, to look at, to redrive or to purge."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from lambent.control.operations import Asked, Operation, Parameter
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.pool.routes import Routes
from lambent.storage.tickets import DeadLetters, Ticket, TicketState
from lambent.wire.api import DeadLetterDetail, DeadLetterReply, DeadLetterRequest, DeadLetterView

PAGE: Final = 100
PAGE_MAX: Final = 1000
PATH: Final = "/deployments/{name}/dead-letters"


class Queue(Protocol):
    """The durable queue."""

    async def find(self, project: str, ticket: str) -> Ticket | None:
        """A ticket by its id, whatever its state."""

    def dead(self, project: str) -> Mapping[str, int]:
        """How many dead letters each deployment of a project has, where it has any."""

    async def redrive(self, project: str, deployment: str, ticket: str = "") -> int:
        """Try a dead letter, or all of a deployment's, as if just accepted; returns how many."""

    async def purge(self, project: str, deployment: str, ticket: str = "") -> int:
        """Forget a dead letter, or all of a deployment's; returns how many."""


class DeadLetterVerbs:
    """Everything under /deployments/{name}/dead-letters. They outlive their deployment."""

    def __init__(self, queue: Queue, letters: DeadLetters, routes: Routes) -> None:
        self._queue: Final = queue
        self._letters: Final = letters
        self._routes: Final = routes

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="countDeadLetters",
                method="GET",
                path="/dead-letters",
                role=Role.READ,
                summary="How many dead letters each deployment has, where it has any",
                run=self._count,
                reply=dict[str, int],
            ),
            Operation(
                name="listDeadLetters",
                method="GET",
                path=PATH,
                role=Role.READ,
                summary="What could not be done, oldest first",
                run=self._list,
                query=(
                    Parameter("after", "the id of the last one that is known already"),
                    Parameter("limit", f"how many at the most, {PAGE} unless told", "integer"),
                ),
                reply=tuple[DeadLetterView, ...],
            ),
            Operation(
                name="showDeadLetter",
                method="GET",
                path=PATH + "/{id}",
                role=Role.READ,
                summary="One dead letter with its event and its error",
                run=self._show,
                reply=DeadLetterDetail,
            ),
            Operation(
                name="redriveDeadLetters",
                method="POST",
                path=PATH + "/redrive",
                role=Role.INVOKE,
                summary="Try one, or all, as if just accepted",
                run=self._redrive,
                body=DeadLetterRequest,
                reply=DeadLetterReply,
            ),
            Operation(
                name="purgeDeadLetters",
                method="POST",
                path=PATH + "/purge",
                role=Role.DEPLOY,
                summary="Forget one, or all",
                run=self._purge,
                body=DeadLetterRequest,
                reply=DeadLetterReply,
            ),
        )

    async def _count(self, asked: Asked) -> dict[str, int]:
        return dict(self._queue.dead(asked.project))

    async def _list(self, asked: Asked) -> tuple[DeadLetterView, ...]:
        limit = asked.number("limit", PAGE, low=1, high=PAGE_MAX)
        page = await asyncio.to_thread(
            lambda: self._letters.page(
                asked.project, asked.path["name"], after=asked.text("after"), limit=limit
            )
        )
        if not page:
            self._check_known(asked)
        return tuple(map(_view, page))

    def _check_known(self, asked: Asked) -> None:
        """Raise `NotFound` where there is no such deployment, nor a dead letter that it left."""
        name = asked.path["name"]
        if name not in self._queue.dead(asked.project) and self._routes.get(asked.project, name) is None:
            raise NotFound(f"there is no deployment {name!r}, and no dead letter of one")

    async def _show(self, asked: Asked) -> DeadLetterDetail:
        found = await self._queue.find(asked.project, asked.path["id"])
        if found is None or found.state is not TicketState.DEAD or found.deployment != asked.path["name"]:
            raise _missing(asked, asked.path["id"])
        event, event_base64 = _legible(found.body)
        error, error_base64 = _legible(found.result)
        return DeadLetterDetail(
            letter=_view(found),
            content_type=found.content_type,
            event=event,
            event_base64=event_base64,
            error=error,
            error_base64=error_base64,
        )

    async def _redrive(self, asked: Asked) -> DeadLetterReply:
        return _counted(asked, await self._queue.redrive(asked.project, asked.path["name"], asked.body.id))

    async def _purge(self, asked: Asked) -> DeadLetterReply:
        return _counted(asked, await self._queue.purge(asked.project, asked.path["name"], asked.body.id))


def _counted(asked: Asked, count: int) -> DeadLetterReply:
    if asked.body.id and not count:
        raise _missing(asked, asked.body.id)
    return DeadLetterReply(count)


def _missing(asked: Asked, ticket: str) -> NotFound:
    name = asked.path["name"]
    return NotFound(f"{name!r} has no dead letter {ticket!r}; `lambent dlq ls {name}` lists what there is")


def _view(ticket: Ticket) -> DeadLetterView:
    return DeadLetterView(
        id=ticket.id,
        deployment=ticket.deployment,
        cause=ticket.error,
        attempts=ticket.attempts,
        order_key=ticket.order_key,
        created_unix_ms=ticket.created_unix_ms,
        ended_unix_ms=ticket.ended_unix_ms,
        forget_unix_ms=ticket.forget_unix_ms,
    )


def _legible(content: bytes) -> tuple[str, str]:
    """As text, or else as base64; the other one is empty."""
    try:
        return content.decode(), ""
    except UnicodeDecodeError:
        return "", base64.b64encode(content).decode()
