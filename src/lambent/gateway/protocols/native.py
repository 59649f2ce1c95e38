"""Our own door: the body of a request is the event, the body of the answer is the result."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, LambentError
from lambent.core.invocation import JSON, Invocation, Outcome, Principal, Role, Status, new_id
from lambent.core.routing import OWN
from lambent.gateway.acceptance import Acceptance, KeyReused
from lambent.gateway.address import alias_of
from lambent.gateway.bodies import Hold
from lambent.gateway.deadline import check_none
from lambent.gateway.heads import headers_of, status_of
from lambent.gateway.once import Bounds, Once, size_of
from lambent.gateway.protocols import Behind, cloudevents, invocation_of
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.later import LaterDoor, wants_async
from lambent.gateway.relay import Relay
from lambent.gateway.requests import Request, check_json
from lambent.gateway.responses import (
    Reply,
    id_headers,
    json_reply,
    not_allowed,
    outcome_headers,
    problem_reply,
    refusal,
    type_header,
)
from lambent.wire import problem, torchserve
from lambent.wire.aws import sagemaker
from lambent.wire.cloudevents import Event, Mode
from lambent.wire.process import Runtime

INVOKE: Final = "/invoke/"
CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
KEY_CHARACTERS_MAX: Final = 255
ARRAYS: Final = re.compile(rb"text/csv|application/x-npy", re.IGNORECASE)
PERHAPS_UNRUN: Final = frozenset({b"idempotency-key", b"prefer"})  # it may need no slot, now or ever
ANSWERS: Final = Bounds(keep_s=86_400.0)

# What curl says of anything given with -d.
FORM_TYPE: Final = "application/x-www-form-urlencoded"


class Answered(msgspec.Struct, frozen=True):
    """An outcome under an idempotency key, and which body it belongs to."""

    invocation_id: str
    body_hash: bytes
    outcome: Outcome


class NativeDoor:
    """`/invoke/{name}[/{path}]` and `/invocations/{id}`."""

    def __init__(self, behind: Behind, *, apps: AppsDoor, acceptance: Acceptance) -> None:
        self._behind: Final = behind
        self._apps: Final = apps
        self._later: Final = LaterDoor(acceptance, behind.keys)
        self._once: Final = Once[Answered](
            behind.clock, size_bytes=lambda answered: size_of(answered.outcome), bounds=ANSWERS
        )

    async def answer(self, request: Request) -> Reply | None:
        """Invoke, accept for later, or tell of what was accepted. Raises what the dispatcher raises."""
        if not request.path.startswith(INVOKE):
            return await self._later.answer(request)
        # A browser has no key for it, and without one no user code runs.
        if request.method == "OPTIONS" and not request.headers.keys() & CREDENTIALS:
            return not_allowed(request.method, request.path, ("POST", "PUT"))
        principal = await self._behind.keys.authenticate(request.headers)
        principal.require(Role.INVOKE)
        name = request.path[len(INVOKE) :].partition("/")[0]
        alias = self._alias(request, principal.project, name)
        if self._apps.serves(principal.project, name, alias) and not wants_async(request.headers):
            return await self._apps.answer(request, principal, root_path=INVOKE + name, name=name)
        if request.method not in ("POST", "PUT"):
            return not_allowed(request.method, request.path, ("POST", "PUT"))
        if alias == OWN and not request.headers.keys() & PERHAPS_UNRUN:
            await self._behind.invoker.check_room(principal.project, name)
        async with self._behind.bodies.hold(principal.project) as hold:
            return await self._invoke(request, principal, hold, alias)

    async def _invoke(self, request: Request, principal: Principal, hold: Hold, alias: str) -> Reply | None:
        arrived_s = self._behind.clock.now_s()
        body = await request.body(self._behind.body_bytes_max, hold)
        mode = cloudevents.mode_of(request.headers)
        if mode is Mode.BATCHED:
            return await self._batch(request, principal, body, alias, arrived_s=arrived_s)
        event = None if mode is None else cloudevents.received(mode, request.headers, body)[0]
        invocation = self._invocation(request, principal, body, alias, arrived_s=arrived_s, event=event)
        key = _idempotency_key(request.headers)
        if wants_async(request.headers):
            check_none(request.headers)
            return await self._later.accept(request, principal, invocation, key=key)
        if key:
            return cloudevents.told(mode, request.headers, await self._answer_once(request, invocation, key))
        relay = Relay(request, invocation)
        async with relay.companions:
            outcome = await self._behind.invoker.invoke(invocation, client=request.client, streams=relay)
            if relay.is_used:
                await relay.finish(outcome)
                return None
        return cloudevents.told(mode, request.headers, _reply(invocation.id, outcome))

    async def _batch(
        self, request: Request, principal: Principal, body: bytes, alias: str, *, arrived_s: float
    ) -> Reply:
        """One invocation for each event. Raises `CallerFault`, and for later what `accept` raises."""
        sent = cloudevents.received(Mode.BATCHED, request.headers, body)
        invocations = [
            self._invocation(request, principal, body, alias, arrived_s=arrived_s, event=event)
            for event in sent
        ]
        key = _idempotency_key(request.headers)
        if not wants_async(request.headers):
            if key:
                raise CallerFault("an Idempotency-Key is for one event, and a batch has several")
            request.invocation_id = ""
            return await cloudevents.run_all(self._behind.invoker, invocations, sent, client=request.client)
        check_none(request.headers)
        accepted = [
            await self._later.accept(request, principal, one, key=f"{key} {place}" if key else "")
            for place, one in enumerate(invocations)
        ]
        return json_reply(202, [msgspec.Raw(one.body) for one in accepted])

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """A problem document."""
        return refusal(error, id_headers(request.invocation_id))

    def _alias(self, request: Request, project: str, name: str) -> str:
        """The header's, or the query's unless that is the business of an application."""
        alias = alias_of(request.headers)
        if alias or not request.scope["query_string"] or self._apps.serves(project, name, OWN):
            return alias
        return request.query.get("alias", OWN)

    def _invocation(
        self,
        request: Request,
        principal: Principal,
        body: bytes,
        alias: str,
        *,
        arrived_s: float,
        event: Event | None = None,
    ) -> Invocation:
        name = request.path[len(INVOKE) :].partition("/")[0]
        said = request.headers.get(b"content-type")
        if event is not None:
            body, said = event.data, event.content_type.encode()
        request.invocation_id = new_id()  # of each event that a batch has
        return invocation_of(
            request,
            self._behind.routes,
            project=principal.project,
            name=name,
            alias=alias,
            body=body,
            arrived_s=arrived_s,
            content_type=_content_type(said, body),
            client_context=cloudevents.beside(event)
            if event
            else self._beside(request, principal.project, name),
        )

    def _beside(self, request: Request, project: str, name: str) -> str:
        """Models that write more than JSON are told what is accepted."""
        route = self._behind.routes.get(project, name)
        if route is None:
            return ""
        if route.plan.runtime is Runtime.TORCHSERVE:
            return torchserve.beside(request.headers, request.query)
        # A file's predictions are JSON for whoever does not ask for arrays.
        writes = route.plan.runtime is Runtime.SAGEMAKER or (
            route.plan.adapter and ARRAYS.search(request.headers.get(b"accept", b""))
        )
        return sagemaker.beside(request.headers) if writes else ""

    async def _answer_once(self, request: Request, invocation: Invocation, key: str) -> Reply:
        # The client may leave and come back for the answer, so nobody watches whether it is still there.
        async def work() -> Answered:
            outcome = await self._behind.invoker.invoke(invocation)
            return Answered(invocation.id, body_hash, outcome)

        body_hash = hashlib.sha256(invocation.body).digest()
        answered = await self._once.run((invocation.project, invocation.deployment, key), work)
        request.invocation_id = answered.invocation_id
        if answered.body_hash != body_hash:
            raise KeyReused("this idempotency key was used before, with another body")
        return _reply(answered.invocation_id, answered.outcome)


def _reply(invocation_id: str, outcome: Outcome) -> Reply:
    headers = outcome_headers(invocation_id, outcome)
    if outcome.status is Status.OK:
        if outcome.head is not None:
            headers.extend(headers_of(outcome.head))
        headers.append(type_header(outcome.content_type))
        return Reply(status_of(outcome.head) if outcome.head else 200, headers, outcome.body)
    return problem_reply(problem.of_outcome(outcome), headers)


def _content_type(header: bytes | None, body: bytes) -> str:
    """What the worker shall take the body for. Raises `CallerFault` for JSON that is none."""
    said = JSON if header is None else header.decode("latin-1")
    essence = JSON if said == JSON else said.partition(";")[0].strip().lower()
    if essence not in (JSON, FORM_TYPE):
        return said
    if not body:
        return JSON
    try:
        check_json(body)
    except msgspec.DecodeError as error:
        if essence == FORM_TYPE:
            return said
        raise CallerFault(
            f"the body is not JSON: {error}; send what is not JSON with its own Content-Type"
        ) from error
    return JSON


def _idempotency_key(headers: Mapping[bytes, bytes]) -> str:
    key = headers.get(b"idempotency-key")
    if key is None:
        return ""
    text = key.decode("latin-1").strip().strip('"')
    if not 1 <= len(text) <= KEY_CHARACTERS_MAX:
        raise CallerFault(f"an Idempotency-Key has 1 to {KEY_CHARACTERS_MAX} characters")
    return text
