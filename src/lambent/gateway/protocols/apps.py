"""The door of deployments that speak HTTP or WebSocket themselves: what comes is passed through."""

from __future__ import annotations

from typing import Final

from lambent.core.errors import LambentError, NotFound
from lambent.core.invocation import Principal, Role, Status
from lambent.core.routing import OWN
from lambent.gateway.address import alias_of
from lambent.gateway.apps import AppRelay, asked_of, whole
from lambent.gateway.bodies import Hold
from lambent.gateway.deadline import deadline_of
from lambent.gateway.protocols import Behind, invocation_of
from lambent.gateway.requests import Receive, Request, Scope, Send, too_large
from lambent.gateway.responses import Reply, outcome_headers, problem_reply, refusal
from lambent.gateway.sockets import SocketRelay
from lambent.wire import problem
from lambent.wire.process import SPEAKS_HTTP, RevisionPlan


class AppsDoor:
    """`/invoke/{name}/...` of ASGI applications and WebSocket functions: any method, any path."""

    def __init__(self, behind: Behind) -> None:
        self._behind: Final = behind
        self._open: Final[set[SocketRelay]] = set()

    def serves(self, project: str, name: str, alias: str) -> bool:
        """Whether requests to this deployment are its own business."""
        return self._plan(project, name, alias) is not None

    async def answer(
        self, request: Request, principal: Principal, *, root_path: str, name: str
    ) -> Reply | None:
        """Pass one request through. Raises what the dispatcher raises, `PayloadTooLarge`, `ClientLeft`."""
        async with self._behind.bodies.hold(principal.project) as hold:
            return await self._answer(request, principal, hold, root_path=root_path, name=name)

    async def _answer(
        self, request: Request, principal: Principal, hold: Hold, *, root_path: str, name: str
    ) -> Reply | None:
        bytes_max = self._behind.body_bytes_max
        arrived_s = self._behind.clock.now_s()
        deadline_of(request.headers, arrived_s)  # what is none is refused before a byte is read
        beginning, more = await request.first(bytes_max, hold)
        invocation = invocation_of(
            request,
            self._behind.routes,
            project=principal.project,
            name=name,
            alias=alias_of(request.headers),
            body=beginning,
            arrived_s=arrived_s,
            more=more,
            asked=asked_of(request.scope, root_path=root_path),
        )
        relay = AppRelay(request, invocation, rest_bytes_max=bytes_max - len(beginning))
        async with relay.companions:
            outcome = await self._behind.invoker.invoke(invocation, client=request.client, streams=relay)
            if relay.is_used:
                await relay.finish(outcome)
                return None
        if relay.is_too_large:
            raise too_large(bytes_max)
        told = outcome_headers(invocation.id, outcome)
        if outcome.status is Status.OK:
            return whole(outcome, told)
        return problem_reply(problem.of_outcome(outcome), told)

    async def connect(self, scope: Scope, receive: Receive, send_message: Send, *, prefix: str) -> None:
        """Pass one WebSocket through, from its opening to its end."""
        relay = SocketRelay(receive, send_message)
        self._open.add(relay)
        request = Request({**scope, "method": "GET"}, receive, send_message)
        try:
            await relay.opened()
            principal = await self._behind.keys.authenticate(request.headers)
            principal.require(Role.INVOKE)
            name = request.path[len(prefix) :].partition("/")[0]
            alias = alias_of(request.headers)
            if (plan := self._plan(principal.project, name, alias)) is None:
                raise NotFound(f"there is no deployment {name!r} that speaks WebSocket")
            invocation = invocation_of(
                request,
                self._behind.routes,
                project=principal.project,
                name=name,
                alias=alias,
                body=b"",
                arrived_s=self._behind.clock.now_s(),
                more=True,
                asked=asked_of(scope, root_path=prefix + name),
            )
            relay.idle_s = plan.socket_idle_s
            async with relay.companions:
                await relay.end(await self._behind.invoker.invoke(invocation, streams=relay))
        except LambentError as error:
            await relay.refuse(refusal(error))
        finally:
            self._open.discard(relay)
            relay.close()

    def go_away(self) -> None:
        """The server stops: WebSockets, which would not end by themselves, are ended."""
        for relay in tuple(self._open):
            relay.go_away()

    def _plan(self, project: str, name: str, alias: str) -> RevisionPlan | None:
        """What answers, if that speaks HTTP: of the two that share an alias, either both do or none."""
        route = self._behind.routes.get(project, name)
        if route is None or not route.invocable:
            return None
        if alias == OWN and route.plan.runtime not in SPEAKS_HTTP:
            return None  # nearly always
        plan = self._behind.routes.target(project, name, alias=alias, key="").plan
        return plan if plan.runtime in SPEAKS_HTTP else None
