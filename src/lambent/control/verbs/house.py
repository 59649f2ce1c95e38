"""The house: keys, usage, processes, and what is wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.control.doctor import Doctor
from lambent.control.operations import Asked, Operation, Parameter
from lambent.control.views import Views, server_process
from lambent.core.errors import CallerFault
from lambent.core.invocation import Role
from lambent.pool.routes import Routes
from lambent.wire.api import CheckView, ProcessView, UsageView
from lambent.wire.keys import KeyReply, KeyRequest, KeyView

DAY_MS: Final = 86_400_000
PERIOD_DAYS: Final = 30
UNIX_MS_MAX: Final = 10**15


class Keys(Protocol):
    """Who makes keys."""

    async def create(self, project: str, name: str, role: Role) -> KeyReply:
        """A new key; its secret is told once."""

    async def all(self, project: str) -> Sequence[KeyView]:
        """The keys of a project, without their secrets."""

    async def remove(self, project: str, key_id: str) -> None:
        """Forget a key. Raises `NotFound`."""


class Statements(Protocol):
    """Who adds up what was used. Blocks."""

    def end_unix_ms(self, project: str) -> int:
        """When the last hour ends in which a project used anything; 0 if it never did."""

    def usage(self, project: str, *, since_unix_ms: int, until_unix_ms: int) -> UsageView:
        """What a project used in a period."""


class HouseVerbs:
    """Everything under /usage, /processes, /doctor and /keys."""

    def __init__(
        self,
        *,
        keys: Keys,
        statements: Statements,
        views: Views,
        routes: Routes,
        doctor: Doctor,
        clock: Clock,
    ) -> None:
        self._keys: Final = keys
        self._statements: Final = statements
        self._views: Final = views
        self._routes: Final = routes
        self._doctor: Final = doctor
        self._clock: Final = clock

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="readUsage",
                method="GET",
                path="/usage",
                role=Role.READ,
                summary="What was used in a period and what it would cost",
                run=self._usage,
                query=(
                    Parameter(
                        "since_unix_ms", f"start; {PERIOD_DAYS} days before the end unless told", "integer"
                    ),
                    Parameter("until_unix_ms", "end; all until now unless told", "integer"),
                ),
                reply=UsageView,
            ),
            Operation(
                name="listProcesses",
                method="GET",
                path="/processes",
                role=Role.READ,
                summary="The server's processes and their memory",
                run=self._processes,
                reply=tuple[ProcessView, ...],
            ),
            Operation(
                name="examine",
                method="GET",
                path="/doctor",
                role=Role.READ,
                summary="What the server finds when it looks at itself",
                run=self._examine,
                reply=tuple[CheckView, ...],
            ),
            *self._of_keys(),
        )

    def _of_keys(self) -> Sequence[Operation]:
        return (
            Operation(
                name="listKeys",
                method="GET",
                path="/keys",
                role=Role.ADMIN,
                summary="The project's keys, without their secrets",
                run=self._list_keys,
                reply=tuple[KeyView, ...],
            ),
            Operation(
                name="createKey",
                method="POST",
                path="/keys",
                role=Role.ADMIN,
                summary="Make a key; its secret is in this answer and nowhere else",
                run=self._create_key,
                body=KeyRequest,
                reply=KeyReply,
                status=201,
            ),
            Operation(
                name="removeKey",
                method="DELETE",
                path="/keys/{key_id}",
                role=Role.ADMIN,
                summary="Make a key useless from now on",
                run=self._remove_key,
                status=204,
            ),
        )

    async def _usage(self, asked: Asked) -> UsageView:
        now_unix_ms = self._clock.unix_ms()
        until = asked.number("until_unix_ms", now_unix_ms, low=0, high=UNIX_MS_MAX)
        start = max(0, until - PERIOD_DAYS * DAY_MS)
        if not asked.text("until_unix_ms"):
            # What was used before the clock was set back lies ahead, and was used all the same.
            end_unix_ms = await asyncio.to_thread(self._statements.end_unix_ms, asked.project)
            until = max(now_unix_ms, end_unix_ms)
        since = asked.number("since_unix_ms", start, low=0, high=UNIX_MS_MAX)
        if since > until:
            raise CallerFault(f"since_unix_ms={since} is after until_unix_ms={until}")
        return await asyncio.to_thread(
            lambda: self._statements.usage(asked.project, since_unix_ms=since, until_unix_ms=until)
        )

    async def _processes(self, asked: Asked) -> tuple[ProcessView, ...]:
        routes = (route for route in self._routes.all() if route.project == asked.project)
        jobs = {route.plan.revision: route.name for route in routes if not route.invocable}
        server = await asyncio.to_thread(server_process, os.getpid())
        return (server, *await self._views.processes(asked.project, jobs))

    async def _examine(self, asked: Asked) -> tuple[CheckView, ...]:
        return await self._doctor.examine(asked.project)

    async def _list_keys(self, asked: Asked) -> tuple[KeyView, ...]:
        return tuple(await self._keys.all(asked.project))

    async def _create_key(self, asked: Asked) -> KeyReply:
        request: KeyRequest = asked.body
        if not 1 <= len(request.name) <= 100:
            raise CallerFault("a key's name has 1 to 100 characters: say what it is for")
        return await self._keys.create(asked.project, request.name, request.role)

    async def _remove_key(self, asked: Asked) -> None:
        await self._keys.remove(asked.project, asked.path["key_id"])
