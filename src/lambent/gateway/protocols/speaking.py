"""A request for one of a model's skills: who answers it, and how the answer gets out."""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError, NotFound
from lambent.core.invocation import Invocation, Outcome, Principal, Role, new_id
from lambent.core.naming import name_and_alias
from lambent.gateway.address import alias_of
from lambent.gateway.events import QUIET_S, EventStream
from lambent.gateway.protocols import Invoker, invocation_of
from lambent.gateway.protocols.noting import Notes, NotingTeller, note_usage
from lambent.gateway.requests import Request
from lambent.gateway.responses import JSON_HEADER, Header, Reply, outcome_headers
from lambent.pool.routes import Route, Routes
from lambent.wire.skills import TYPES, Part, Said, Skill, Usage
from lambent.wire.speech import UNREADABLE, Broken, Refused, Teller, trouble_in, trouble_of, unreadable
from lambent.wire.typed import from_json


class Ask(msgspec.Struct, frozen=True):
    """What a model is asked. `model` is a deployment's name, or `name:alias`; `body` is for its `skill`."""

    skill: Skill
    model: str
    body: bytes


class Speaking:
    """Runs what is asked, and tells the answer by a `Teller`."""

    def __init__(
        self,
        *,
        invoker: Invoker,
        routes: Routes,
        clock: Clock,
        quiet_s: float = QUIET_S,
        notes: Notes | None = None,
    ) -> None:
        """`notes` hears of the tokens that answers took."""
        self._notes: Final = notes
        self._invoker: Final = invoker
        self._routes: Final = routes
        self._clock: Final = clock
        self._quiet_s: Final = quiet_s

    async def outcome(self, request: Request, principal: Principal, ask: Ask) -> tuple[Outcome, list[Header]]:
        """How it ended, and what headers tell of that. Raises `LambentError`, `Broken` where it failed."""
        invocation = self.invocation(request, principal, ask)
        outcome = await self._invoker.invoke(invocation, client=request.client)
        if (trouble := trouble_in(outcome)) is not None:
            raise Broken(trouble)
        return outcome, [JSON_HEADER, *request_id(request), *outcome_headers(invocation.id, outcome)]

    async def tell(self, request: Request, principal: Principal, ask: Ask, teller: Teller) -> Reply:
        """The answer as a whole. Raises as `outcome`."""
        outcome, headers = await self.outcome(request, principal, ask)
        try:
            return Reply(200, headers, self._noting(teller, request).whole(said_in(outcome)))
        except UNREADABLE as error:
            raise Broken(unreadable(error)) from error

    async def stream(self, request: Request, principal: Principal, ask: Ask, teller: Teller) -> Reply | None:
        """The answer as events. Raises as `outcome`; where the head is out, they tell what went wrong."""
        invocation = self.invocation(request, principal, ask)
        teller = self._noting(teller, request)
        events = EventStream(request, invocation, teller, request_id(request), quiet_s=self._quiet_s)
        async with events.companions:
            try:
                outcome = await self._invoker.invoke(invocation, client=request.client, streams=events)
            except LambentError as error:
                if not await events.settle():
                    raise
                await events.break_off(trouble_of(error))
                return None
            await self._end(events, outcome)
        return None

    async def _end(self, events: EventStream, outcome: Outcome) -> None:
        is_open = await events.settle()
        trouble = events.broken or trouble_in(outcome)
        if trouble is not None and not is_open:
            raise Broken(trouble)
        if trouble is not None:
            await events.break_off(trouble)
        else:
            try:
                await events.finish(() if events.is_used else parts_of(said_in(outcome)))
            except (*UNREADABLE, Broken) as error:
                await events.break_off(unreadable(error))

    def route_of(self, project: str, model: str, skill: Skill) -> tuple[Route, str]:
        """Who answers, and under which alias. Raises `NotFound`, `Refused`."""
        name, alias = name_and_alias(model)
        route = self._routes.get(project, name) if name else self._only(project, skill)
        if route is None or not route.invocable:
            raise NotFound(f"The model `{model}` does not exist or you do not have access to it.")
        if not can(route, skill):
            skills = ", ".join(route.spec.skills) or "none of these"
            raise Refused(
                f"{route.name} is no model with a method {skill.value}(self, ask): it has {skills}.",
                code="unsupported_model",
                param="model",
            )
        return route, alias

    def invocation(self, request: Request, principal: Principal, ask: Ask) -> Invocation:
        """What is run. Raises `Forbidden`, and as `route_of`."""
        principal.require(Role.INVOKE)
        route, alias = self.route_of(principal.project, ask.model, ask.skill)
        alias = alias or alias_of(request.headers)
        return invocation_of(
            request,
            self._routes,
            project=principal.project,
            name=route.name,
            alias=alias,
            body=ask.body,
            arrived_s=self._clock.now_s(),
            content_type=TYPES[ask.skill],
        )

    def note(self, request: Request, usage: Usage | None) -> None:
        """An answer that no teller tells took so many tokens."""
        note_usage(self._notes, request.invocation_id, [usage])

    def _noting(self, teller: Teller, request: Request) -> Teller:
        return teller if self._notes is None else NotingTeller(teller, self._notes, request.invocation_id)

    def _only(self, project: str, skill: Skill) -> Route:
        """The one model that can do it, for a request that names none. Raises `Refused`."""
        able = [route for route in self._routes.all() if route.project == project and can(route, skill)]
        if len(able) == 1:
            return able[0]
        names = ", ".join(sorted(route.name for route in able)) or "none"
        raise Refused(
            f"you must provide a model parameter; there is {names}",
            code="missing_required_parameter",
            param="model",
        )


def can(route: Route, skill: Skill) -> bool:
    """Whether a model has a method. Documents are ranked by their vectors where it has none for that."""
    skills = route.spec.skills
    return skill in skills or (skill is Skill.RERANK and Skill.EMBED in skills)


def request_id(request: Request) -> list[Header]:
    """By which a client names a request to somebody who looks for it: OpenAI's header, and Anthropic's."""
    request.invocation_id = request.invocation_id or new_id()
    named = request.invocation_id.encode()
    return [(b"x-request-id", named), (b"request-id", named)]


def said_in(outcome: Outcome) -> Said:
    """What was said. A worker is not trusted to have written it: raises `Broken`."""
    try:
        return from_json(outcome.body, Said)
    except msgspec.DecodeError as error:
        raise Broken(unreadable(error)) from error


def parts_of(said: Said) -> list[Part]:
    """As the parts of a stream, of which the last tells the usage."""
    if not said.choices or said.usage is None:
        return said.choices
    return [*said.choices[:-1], msgspec.structs.replace(said.choices[-1], usage=said.usage)]
