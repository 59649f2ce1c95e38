"""A streaming answer onto the wire of HTTP: in chunks as it comes, or as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from lambent.core.invocation import OCTETS, Invocation, Outcome
from lambent.gateway.companions import Companions
from lambent.gateway.flow import TEXT, Flow, as_json
from lambent.gateway.presence import Presence
from lambent.gateway.requests import Request
from lambent.gateway.responses import Header, stream_headers, type_header
from lambent.wire.frames import Form

EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
TYPES: Final[Mapping[Form, str]] = MappingProxyType({Form.BYTES: OCTETS, Form.TEXT: TEXT, Form.JSON: LINES})

Shape = Callable[[Form, bytes], bytes]


class Relay:
    """Passes one stream on to the client that asked. See `flow.Streams`.

    What user code yields tells the type, unless it says it: bytes, text, or one JSON value a line; for a
    client that accepts `text/event-stream`, each piece is an event. The head goes out with the first piece.
    """

    def __init__(self, request: Request, invocation: Invocation) -> None:
        self._request: Final = request
        self._invocation: Final = invocation
        self._passing: asyncio.Task[None] | None = None
        self._opened = False
        self.companions: Final = Companions()

    @property
    def _events(self) -> bool:
        """Whether its client wants events: asked once it streams, as few do."""
        return EVENTS in self._request.headers.get(b"accept", b"").decode("latin-1").lower()

    @property
    def is_used(self) -> bool:
        """Whether there is, or was, a stream."""
        return self._passing is not None

    def started(self, flow: Flow) -> None:
        """Nothing is added to the request."""

    def begun(self, flow: Flow) -> None:
        """From here on it is passed on."""
        self._passing = self.companions.start(self._pass(flow), name="relay")

    async def finish(self, outcome: Outcome) -> None:
        """Send what is left of it, and its end: a broken one where user code failed in the middle."""
        if self._passing is None:
            return
        await self._passing
        if outcome.error is None:
            await self._request.send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._events:
            last = b"event: error\ndata: " + msgspec.json.encode(outcome.error) + b"\n\n"
            await self._request.send({"type": "http.response.body", "body": last, "more_body": False})
        else:
            await break_off(self._request.client)

    async def _pass(self, flow: Flow) -> None:
        shape: Shape | None = as_event if self._events else None
        try:
            async for form, body in flow.pieces():
                if shape is None:
                    shape = as_line if form is Form.JSON else as_is
                await self._open(flow, form)
                await self._request.send(
                    {"type": "http.response.body", "body": shape(form, body), "more_body": True}
                )
            await self._open(flow, Form.BYTES)
        except BaseException:
            flow.cancel()
            raise

    async def _open(self, flow: Flow, form: Form) -> None:
        if self._opened:
            return
        self._opened = True
        headers: list[Header] = [
            type_header(EVENTS if self._events else _said(flow) or TYPES[form]),
            (b"cache-control", b"no-cache"),
            *stream_headers(self._invocation, flow),
        ]
        await self._request.send({"type": "http.response.start", "status": 200, "headers": headers})


def _said(flow: Flow) -> str:
    """The type that a program said of its own stream."""
    return dict(flow.head.headers).get("content-type", "") if flow.head is not None else ""


async def break_off(client: Presence | None) -> None:
    """End a response in the middle, so that its reader knows that it is not whole."""
    if client is None or client.left:
        return
    gone = asyncio.Event()
    client.when_left(gone.set)
    client.drop()
    await gone.wait()


def as_is(form: Form, body: bytes) -> bytes:
    """Bytes and text go as they are, values in lines of their own."""
    return body + b"\n" if form is Form.JSON else body


def as_line(form: Form, body: bytes) -> bytes:
    """One JSON value a line, whatever it is."""
    return as_json(form, body) + b"\n"


def as_event(form: Form, body: bytes) -> bytes:
    """One server-sent event (WHATWG HTML, section 9.2). Bytes are taken for one that is shaped already."""
    if form is Form.BYTES:
        return body
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"".join(b"data: %b\n" % line for line in lines) + b"\n"
