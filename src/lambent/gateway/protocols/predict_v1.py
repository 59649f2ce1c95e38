"""V1 of the prediction protocol: TensorFlow Serving's REST API, and KServe's first, with CloudEvents.

A version is a revision's number, a label an alias. Events are answered as KServe answers them: whatever
carried the request carries the answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, LambentError, NotFound
from lambent.core.invocation import JSON, Invocation, Outcome, Principal, Role, Status, new_id
from lambent.core.routing import OWN, pinned
from lambent.gateway.address import alias_of
from lambent.gateway.coding import coded, plain_body
from lambent.gateway.protocols import Behind, invocation_of
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.requests import Request
from lambent.gateway.responses import (
    JSON_HEADER,
    Header,
    Reply,
    headers_of,
    id_headers,
    json_reply,
    outcome_headers,
)
from lambent.pool.routes import Route
from lambent.wire import cloudevents, predict_v1, problem, replicate
from lambent.wire.cloudevents import BadEvent, Event, Mode
from lambent.wire.predict_v1 import BadRequest, ModelStatus, Verb, VersionStatus
from lambent.wire.process import Runtime
from lambent.wire.serving_metadata import metadata

ANSWER_TYPE: Final = "io.kserve.inference.response"
SOURCE: Final = "io.kserve.inference."
UNREADABLE: Final = "Runtime.UnmarshalError"


class Called(msgspec.Struct, frozen=True):
    """Which model a path names, and what it wants of it: a verb, its metadata or, empty, its status."""

    model: str
    alias: str
    wanted: str


class PredictDoor:
    """`/v1/models/{m}[/versions/{v}|/labels/{l}]:{verb}`, and what is told of a version."""

    def __init__(self, behind: Behind, *, apps: AppsDoor) -> None:
        self._behind: Final = behind
        self._apps: Final = apps

    def claims(self, request: Request) -> bool:
        """Any path of the protocol but that of a whole model, which OpenAI's clients ask for, too."""
        if request.path[: len(predict_v1.PREFIX)].lower() != predict_v1.PREFIX:
            return False
        match = predict_v1.PATH.fullmatch(request.path)
        if match is None:  # it may be meant for this protocol all the same
            meant = predict_v1.MEANT.fullmatch(request.path) is not None
            return meant and replicate.PATH.fullmatch(request.path) is None
        if not (match["version"] or match["label"] or match["rest"]):
            return False
        # The models of others have colons in their names.
        return (
            request.method == "POST" or not (match["rest"] or "").startswith(":") or _is_verb(match["rest"])
        )

    async def answer(self, request: Request) -> Reply | None:
        """Predict, or tell of a version. Raises what the dispatcher raises."""
        principal = await self._behind.keys.authenticate(request.headers)
        match = predict_v1.PATH.fullmatch(request.path)
        if match is None:
            return _malformed(request)
        wanted = (match["rest"] or "").lower()
        verb = wanted.removeprefix(":")
        posts = wanted.startswith(":")
        if posts != (request.method == "POST") or (posts and verb not in tuple(Verb)):
            return _malformed(request)
        principal.require(Role.INVOKE if posts else Role.READ)
        route = self._route(principal.project, match["model"])
        alias = self._alias(request, route, match["version"] or "", match["label"] or "")
        if self._apps.serves(principal.project, route.name, alias):
            return await self._apps.answer(request, principal, root_path="", name=route.name)
        if posts:
            return await self._predict(request, principal, Called(route.name, alias, verb))
        answers = self._behind.routes.target(principal.project, route.name, alias=alias, key="")
        number = answers.plan.number
        if wanted:
            return json_reply(200, metadata(route.name, number, answers.plan.signature))
        # A version that is cold is available: whoever asks wakes it.
        return json_reply(200, ModelStatus((VersionStatus(str(number)),)))

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """`{"error": "..."}`, with the status that belongs to the error."""
        status = HTTPStatus.BAD_REQUEST if error.status == HTTPStatus.UNPROCESSABLE_ENTITY else error.status
        headers = [*headers_of(error), *id_headers(request.invocation_id)]
        return _error(status, error.message, headers)

    async def _predict(self, request: Request, principal: Principal, called: Called) -> Reply:
        if called.alias == OWN:
            await self._behind.invoker.check_room(principal.project, called.model)
        async with self._behind.bodies.hold(principal.project) as hold:
            arrived_s = self._behind.clock.now_s()
            body = await plain_body(request, self._behind.body_bytes_max, hold)
            try:
                mode, body = _unwrapped(request, body)
                invocation = self._invocation(request, principal, called, body, arrived_s=arrived_s)
            except (BadRequest, BadEvent) as error:
                raise CallerFault(str(error)) from error
            outcome = await self._behind.invoker.invoke(invocation, client=request.client)
        told = outcome_headers(invocation.id, outcome)
        if outcome.status is not Status.OK:
            return _failed(outcome, told)
        answer = outcome.body if _is_object(outcome) else b'{"predictions":' + _as_json(outcome) + b"}"
        if mode is None:
            return await coded(request, Reply(200, [JSON_HEADER, *told], answer))
        return await coded(request, self._event_reply(mode, called.model, answer, told))

    def _invocation(
        self, request: Request, principal: Principal, called: Called, body: bytes, *, arrived_s: float
    ) -> Invocation:
        project, name = principal.project, called.model
        route = self._behind.routes.target(project, name, alias=called.alias, key="")
        content_type = JSON
        if route.plan.runtime is Runtime.MODEL or route.needs_model:
            asked, body = predict_v1.read(Verb(called.wanted), body)
            content_type = predict_v1.content_type_of(asked)
        else:
            if called.wanted != Verb.PREDICT:
                raise CallerFault(f"{name!r} is no model class: it predicts, and nothing else")
            predict_v1.check(body)
        return invocation_of(
            request,
            self._behind.routes,
            project=project,
            name=name,
            alias=called.alias,
            body=body,
            arrived_s=arrived_s,
            content_type=content_type,
        )

    def _route(self, project: str, name: str) -> Route:
        route = self._behind.routes.get(project, name)
        if route is None or not route.invocable:
            raise NotFound(f"Servable not found for request: Latest({name})")
        return route

    def _alias(self, request: Request, route: Route, version: str, label: str) -> str:
        if label:
            if self._behind.routes.split(route.project, route.name, label) is None:
                raise CallerFault(f"Unrecognized servable version label: {label}")
            return label
        if not version:
            return alias_of(request.headers)
        if (found := self._behind.routes.numbered(route, str(int(version)))) is not None:
            return pinned(found.plan.revision)
        if request.method == "GET":
            raise NotFound(f"Could not find version {int(version)} of model {route.name}")
        raise NotFound(f"Servable not found for request: Specific({route.name}, {int(version)})")

    def _event_reply(self, mode: Mode, model: str, answer: bytes, told: list[Header]) -> Reply:
        at = datetime.fromtimestamp(self._behind.clock.unix_ms() / 1e3, UTC)
        attributes = {
            "specversion": cloudevents.VERSION,
            "id": new_id(),
            "source": SOURCE + model,
            "type": ANSWER_TYPE,
            "time": at.isoformat(),
        }
        event = Event(attributes, answer, JSON)
        if mode is Mode.BINARY:
            return Reply(200, [*cloudevents.headers_of(event), *told], answer)
        structured = (b"content-type", cloudevents.STRUCTURED.encode())
        return Reply(200, [structured, *told], cloudevents.as_structured(event))


def _is_verb(rest: str) -> bool:
    return rest[1:].lower() in tuple(Verb)


def _unwrapped(request: Request, body: bytes) -> tuple[Mode | None, bytes]:
    """What lies in an event, and what was the way that it came. Raises `BadEvent`."""
    mode = cloudevents.mode_of(request.headers)
    if mode is Mode.BINARY:
        return mode, cloudevents.from_binary(request.headers, body).data
    if mode is Mode.STRUCTURED:
        return mode, cloudevents.from_structured(body).data
    if mode is Mode.BATCHED:
        raise BadEvent("a batch of events is no request for a prediction; send them one by one")
    event = predict_v1.event_of(body)  # KServe answers those without an event
    return None, body if event is None else event.data


def _is_object(outcome: Outcome) -> bool:
    return outcome.content_type.startswith(JSON) and outcome.body[:1] == b"{"


def _as_json(outcome: Outcome) -> bytes:
    if outcome.content_type.startswith(JSON):
        return outcome.body
    return msgspec.json.encode(outcome.body.decode("utf-8", "replace"))


def _failed(outcome: Outcome, told: list[Header]) -> Reply:
    document = problem.of_outcome(outcome)
    kind = document.error_type
    if kind == UNREADABLE:
        return _error(400, document.detail, told)
    return _error(document.status, f"{kind} : {document.detail}" if kind else document.detail, told)


def _malformed(request: Request) -> Reply:
    return _error(400, f"Malformed request: {request.method} {request.path}", [])


def _error(status: int, message: str, headers: list[Header]) -> Reply:
    return Reply(status, [JSON_HEADER, *headers], msgspec.json.encode({"error": message}))
