"""Triton's `generate` and `generate_stream`: JSON in, JSON out, for what makes text.

The body goes to user code as it is (`text_input` and whatever else it has). Text that comes back is
`text_output`; an object keeps its own names. What streams comes as events, one for each piece.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from lambent.core.invocation import JSON, Invocation, Outcome, Status
from lambent.gateway.companions import Companions
from lambent.gateway.flow import Flow
from lambent.gateway.protocols import Invoker
from lambent.gateway.protocols.open_inference.inferring import Asked, Failed
from lambent.gateway.protocols.open_inference.models import Found, check_takes_tensors
from lambent.gateway.requests import Request
from lambent.gateway.responses import JSON_HEADER, Header, Reply, outcome_headers, stream_headers
from lambent.pool.routes import Routes
from lambent.wire.frames import Form
from lambent.wire.open_inference import read_object, refusal

EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")
TEXT: Final = "text_output"


class Generating:
    """Runs what makes text."""

    def __init__(self, invoker: Invoker, routes: Routes) -> None:
        self._invoker: Final = invoker
        self._routes: Final = routes

    async def run(
        self, request: Request, found: Found, body: bytes, asked: Asked, *, streams: bool
    ) -> Reply | None:
        """The answer; `None` where it has been sent. Raises `CallerFault`, and what the invoker raises."""
        check_takes_tensors(found.route)
        read_object(body)
        invocation = asked.invocation(found, body)
        if not streams:
            outcome = await self._invoker.invoke(invocation, client=request.client)
            return self._whole(found, invocation, outcome)
        events = _Events(request, invocation, self._about(found, ""))
        async with events.companions:
            outcome = await self._invoker.invoke(invocation, client=request.client, streams=events)
            if events.passing is not None:
                await events.passing
            elif outcome.status is not Status.OK:
                raise Failed(outcome)
            await events.finish(outcome)
        return None

    def _whole(self, found: Found, invocation: Invocation, outcome: Outcome) -> Reply:
        if outcome.status is not Status.OK:
            raise Failed(outcome)
        form = Form.JSON if outcome.content_type.startswith(JSON) else Form.TEXT
        told = generated(self._about(found, outcome.revision), form, outcome.body)
        return Reply(200, [JSON_HEADER, *outcome_headers(invocation.id, outcome)], told)

    def _about(self, found: Found, revision: str) -> dict[str, object]:
        route = self._routes.of_revision(revision) or found.route
        return {"model_name": route.name, "model_version": str(route.plan.number)}


def generated(about: dict[str, object], form: Form, piece: bytes) -> bytes:
    """A piece as JSON: an object with its own names, anything else as text."""
    if form is not Form.JSON:
        return msgspec.json.encode({**about, TEXT: piece.decode("utf-8", "replace")})
    value = msgspec.json.decode(piece)
    if isinstance(value, dict):
        return msgspec.json.encode({**about, **value})
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = "".join(value)  # what streams to who takes it as a whole
    return msgspec.json.encode({**about, TEXT: value})


class _Events:
    """Sends what streams as events. See `flow.Streams`."""

    def __init__(self, request: Request, invocation: Invocation, about: dict[str, object]) -> None:
        self._request: Final = request
        self._invocation: Final = invocation
        self._about: Final = about
        self._opened = False
        self.companions: Final = Companions()
        self.passing: asyncio.Task[None] | None = None

    def started(self, flow: Flow) -> None:
        """Nothing is added to the request."""

    def begun(self, flow: Flow) -> None:
        """From here on it is passed on."""
        self.passing = self.companions.start(self._pass(flow), name="generate")

    async def finish(self, outcome: Outcome) -> None:
        """The rest: all of it, where nothing streamed, or why there is no more."""
        if outcome.error is not None:
            await self._event(None, refusal(f"{outcome.error.error_type}: {outcome.error.error_message}"))
        elif self.passing is None:
            form = Form.JSON if outcome.content_type.startswith(JSON) else Form.TEXT
            await self._event(None, generated(self._about, form, outcome.body))
        await self._open(None)
        await self._request.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass(self, flow: Flow) -> None:
        try:
            async for form, body in flow.pieces():
                await self._event(flow, generated(self._about, form, body))
        except BaseException:
            flow.cancel()
            raise

    async def _event(self, flow: Flow | None, told: bytes) -> None:
        await self._open(flow)
        event = b"data: %b\n\n" % told
        await self._request.send({"type": "http.response.body", "body": event, "more_body": True})

    async def _open(self, flow: Flow | None) -> None:
        if self._opened:
            return
        self._opened = True
        headers: list[Header] = [
            EVENTS,
            (b"cache-control", b"no-cache"),
            *stream_headers(self._invocation, flow),
        ]
        await self._request.send({"type": "http.response.start", "status": 200, "headers": headers})
