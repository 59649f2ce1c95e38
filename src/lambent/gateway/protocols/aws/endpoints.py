"""SageMaker's runtime: every function and every model answers as an endpoint of its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LoadFailed, UserFault
from lambent.core.invocation import (
    JSON,
    OCTETS,
    FunctionError,
    Head,
    Invocation,
    Outcome,
    Role,
    Status,
    new_id,
)
from lambent.core.routing import OWN
from lambent.gateway.address import sticky_of
from lambent.gateway.deadline import deadline_of
from lambent.gateway.flow import Flow
from lambent.gateway.protocols import Invoker
from lambent.gateway.protocols.aws.asked import Asked, Operation, request_id
from lambent.gateway.protocols.aws.attempts import Attempts
from lambent.gateway.protocols.aws.streaming import EVENTS, Frames
from lambent.gateway.requests import check_json
from lambent.gateway.responses import JSON_HEADER, Header, Reply, outcome_headers, type_header
from lambent.gateway.tracing import trace_of
from lambent.pool.routes import Route, Routes
from lambent.wire.aws import eventstream, sagemaker
from lambent.wire.process import SPEAKS_HTTP

PATH: Final = re.compile(
    r"/endpoints/[^/]+/(?:async-)?invocations|/endpoints/[^/]+/async-(?:outputs|failures)/"
)
INVOCATIONS: Final = "/invocations"  # where a container serves, and an application does
KIND: Final = (b"x-amzn-errortype", b"ModelError")
FAILED_OWN: Final = 400  # from here on a status of a model's own is an error


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of payloads: of what is sent, of what is sent for later, and of what streams, in bytes."""

    request_bytes_max: int = 6_291_456
    later_bytes_max: int = 1_048_576
    stream_bytes_max: int = 200 * 1024 * 1024


class Endpoints:
    """`InvokeEndpoint` and `InvokeEndpointWithResponseStream`."""

    def __init__(
        self, *, invoker: Invoker, routes: Routes, clock: Clock, limits: Limits | None = None
    ) -> None:
        self._invoker: Final = invoker
        self._routes: Final = routes
        self._clock: Final = clock
        self._limits: Final = limits or Limits()
        self._attempts: Final = Attempts(clock)

    def operations(self) -> Iterator[tuple[str, str, Operation]]:
        """By method and path."""
        bytes_max = self._limits.request_bytes_max
        for name, path, run in (
            ("InvokeEndpoint", "invocations", self._invoke),
            ("InvokeEndpointWithResponseStream", "invocations-response-stream", self._stream),
        ):
            operation = Operation(name=name, run=run, request_bytes_max=bytes_max)
            yield "POST", f"/endpoints/{{EndpointName}}/{path}", operation

    async def _invoke(self, asked: Asked) -> Reply:
        route = endpoint_of(self._routes, asked)
        invocation = self._invocation(asked, route, accept=sagemaker.ACCEPT)
        try:
            answered = await self._attempts.run(asked, invocation, self._invoker.invoke)
        except UserFault as error:
            return not_loaded(asked, route.name, error)
        asked.request.invocation_id = answered.invocation_id
        outcome = answered.outcome
        if (failure := failure_of(outcome)) is not None:
            return _model_error(asked, route.name, *failure)
        headers = [
            type_header(_type_of(outcome)),
            *request_id(answered.invocation_id),
            *self._told(asked, route, outcome.revision, outcome.head),
            *outcome_headers(answered.invocation_id, outcome),
        ]
        return Reply(200, headers, outcome.body)

    async def _stream(self, asked: Asked) -> Reply | None:
        route = endpoint_of(self._routes, asked)
        invocation = self._invocation(asked, route, accept=sagemaker.ACCEPT_LATER)

        def told(flow: Flow) -> list[Header]:
            said = dict(flow.head.headers).get("content-type", OCTETS) if flow.head else OCTETS
            return [_stream_type(said), *self._told(asked, route, flow.revision, flow.head)]

        frames = Frames(
            asked.request,
            request_id(invocation.id),
            bytes_max=self._limits.stream_bytes_max,
            frame=eventstream.payload_part,
            told=told,
        )
        async with frames.companions:
            try:
                outcome = await self._invoker.invoke(invocation, client=asked.request.client, streams=frames)
            except UserFault as error:
                return not_loaded(asked, route.name, error)
            failure = failure_of(outcome)
            if frames.is_used:
                await frames.finish(self._last(frames, failure))
                return None
        if failure is not None:
            return _model_error(asked, route.name, *failure)
        headers = [
            EVENTS,
            *request_id(invocation.id),
            _stream_type(_type_of(outcome)),
            *self._told(asked, route, outcome.revision, outcome.head),
            *outcome_headers(invocation.id, outcome),
        ]
        return Reply(200, headers, eventstream.payload_part(outcome.body))

    def _last(self, frames: Frames, failure: tuple[int, str] | None) -> bytes:
        if frames.too_long:
            text = f"The stream is over the limit of {self._limits.stream_bytes_max} bytes."
            return eventstream.model_stream_error(text, "StreamBroken")
        if failure is not None:
            return eventstream.model_stream_error(failure[1], "StreamBroken")
        return b""

    def _invocation(self, asked: Asked, route: Route, *, accept: bytes) -> Invocation:
        headers = asked.request.headers
        return invocation_of(
            asked,
            self._routes,
            route,
            accept=accept,
            content_type=content_type_of(headers.get(b"content-type"), asked.body),
            deadline_s=deadline_of(headers, self._clock.now_s()),
        )

    def _told(self, asked: Asked, route: Route, revision: str, head: Head | None) -> list[Header]:
        variant = variant_of(self._routes, asked, route, revision)
        headers = [(sagemaker.INVOKED_VARIANT, variant.encode())]
        for name, value in head.headers if head else ():
            if name == sagemaker.CUSTOM_ATTRIBUTES.decode():
                headers.append((sagemaker.CUSTOM_ATTRIBUTES, value.encode("latin-1", "replace")))
        return headers


def endpoint_of(routes: Routes, asked: Asked) -> Route:
    """The deployment that answers as the endpoint. Raises `Fault` where there is none that can be invoked."""
    asked.principal.require(Role.INVOKE)
    name = asked.labels[0]
    route = routes.get(asked.principal.project, name)
    if route is None or not route.invocable:
        raise sagemaker.no_endpoint(name, asked.place)
    for header, refusal in sagemaker.UNSUPPORTED.items():
        if asked.request.headers.get(header):
            raise sagemaker.invalid(f"{refusal}; {name} is none.")
    return route


def invocation_of(
    asked: Asked,
    routes: Routes,
    route: Route,
    *,
    accept: bytes,
    content_type: str,
    deadline_s: float | None = None,
) -> Invocation:
    """The request as an invocation. Raises `Fault` for a variant that the endpoint does not have."""
    request, project = asked.request, asked.principal.project
    alias = _alias(routes, asked, route)
    path = INVOCATIONS if route.plan.runtime in SPEAKS_HTTP else ""
    return Invocation(
        id=request.invocation_id or new_id(),
        project=project,
        deployment=route.name,
        body=asked.body,
        alias=alias,
        sticky=sticky_of(request.headers, routes, project, route.name, alias),
        content_type=content_type,
        client_context=sagemaker.beside(request.headers, accept=accept, path=path),
        deadline_s=deadline_s,
        trace=trace_of(request.headers, request.scope["headers"]),
    )


def variant_of(routes: Routes, asked: Asked, route: Route, revision: str) -> str:
    """The variant that answered: the one that was asked for, or an alias of the revision alone."""
    if wanted := asked.header(sagemaker.TARGET_VARIANT):
        return wanted
    arrangement = routes.arrangement(asked.principal.project, route.name)
    for alias, split in sorted(arrangement.splits.items()) if arrangement else ():
        if alias != OWN and split.revision == revision and not split.candidate:
            return alias
    return sagemaker.ALL_TRAFFIC


def failure_of(outcome: Outcome) -> tuple[int, str] | None:
    """The model's status and its words, where it did not answer well."""
    own = outcome.head.status if outcome.head else 0
    if outcome.error is not None:
        return sagemaker.said_of(outcome.status, outcome.error, own)
    if own >= FAILED_OWN:
        return own, outcome.body.decode("utf-8", "replace")
    return None


def not_loaded(asked: Asked, name: str, error: UserFault) -> Reply:
    """A model that cannot be loaded."""
    kind = error.kind if isinstance(error, LoadFailed) else ""
    said = FunctionError(f"{kind}: {error.message}" if kind else error.message, kind)
    return _model_error(asked, name, *sagemaker.said_of(Status.FAILED, said, 0))


def _model_error(asked: Asked, name: str, status: int, message: str) -> Reply:
    error = sagemaker.model_error(name, asked.place, status=status, message=message)
    headers = [JSON_HEADER, KIND, *request_id(asked.request.invocation_id)]
    return Reply(424, headers, msgspec.json.encode(error))


def _alias(routes: Routes, asked: Asked, route: Route) -> str:
    variant = asked.header(sagemaker.TARGET_VARIANT)
    if not variant:
        return OWN
    if routes.split(asked.principal.project, route.name, variant) is not None:
        return variant
    if variant == sagemaker.ALL_TRAFFIC:
        return OWN
    raise sagemaker.no_variant(variant, route.name)


def content_type_of(header: bytes | None, body: bytes) -> str:
    """What is said; where nothing is, JSON that is JSON, and bytes otherwise."""
    if header:
        return header.decode("latin-1")
    try:
        check_json(body)
    except msgspec.DecodeError:
        return OCTETS if body else JSON
    return JSON


def _type_of(outcome: Outcome) -> str:
    """An application says the type of its answer in its head."""
    said = dict(outcome.head.headers).get("content-type", "") if outcome.head else ""
    return said or outcome.content_type


def _stream_type(content_type: str) -> Header:
    return sagemaker.TYPE_LATER, type_header(content_type)[1]
