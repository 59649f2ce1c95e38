"""Timers: what invokes a deployment by the clock."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from lambent.control.operations import Asked, Operation
from lambent.core.invocation import Role
from lambent.core.timers import Timer
from lambent.pool.routes import Routes
from lambent.wire.timers import TimersReply, TimersRequest, TimerView

PATH: Final = "/deployments/{name}/timers"


class Timers(Protocol):
    """Who invokes deployments by the clock."""

    def of(self, project: str, deployment: str) -> Sequence[TimerView]:
        """The timers of a deployment, by name."""

    def replace(
        self, project: str, deployment: str, timers: Sequence[Timer]
    ) -> Awaitable[Sequence[TimerView]]:
        """Let these be the timers of a deployment, and no others."""


class TimerVerbs:
    """Everything under /deployments/{name}/timers."""

    def __init__(self, timers: Timers, routes: Routes) -> None:
        self._timers: Final = timers
        self._routes: Final = routes

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="listTimers",
                method="GET",
                path=PATH,
                role=Role.READ,
                summary="What invokes a deployment by the clock, and when next",
                run=self._list,
                reply=TimersReply,
            ),
            Operation(
                name="replaceTimers",
                method="PUT",
                path=PATH,
                role=Role.DEPLOY,
                summary="Let these be all that invokes it by the clock; one that stays as it is goes on",
                run=self._replace,
                body=TimersRequest,
                reply=TimersReply,
            ),
        )

    async def _list(self, asked: Asked) -> TimersReply:
        name = asked.path["name"]
        self._routes.invocable(asked.project, name)
        return TimersReply(tuple(self._timers.of(asked.project, name)))

    async def _replace(self, asked: Asked) -> TimersReply:
        made = await self._timers.replace(asked.project, asked.path["name"], asked.body.timers)
        return TimersReply(tuple(made))
