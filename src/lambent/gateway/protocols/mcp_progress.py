"""A tool's answer that streams: each piece is a notification of progress, and the result comes at its end."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from lambent.core.invocation import Outcome, Status
from lambent.gateway.companions import Companions
from lambent.gateway.flow import COLLECTED_BYTES_MAX, Flow, Piece, as_json, joined
from lambent.gateway.relay import EVENTS
from lambent.gateway.requests import Request
from lambent.gateway.responses import type_header
from lambent.wire import mcp
from lambent.wire.frames import Form
from lambent.wire.mcp import Message, RpcError

SHOWN_CHARACTERS_MAX: Final = 4096


class Progress:
    """Tells one client of one call's pieces. See `flow.Streams`.

    The head goes out with the first piece, so that what goes wrong before has a status of its own.
    """

    def __init__(self, request: Request, token: str | int) -> None:
        self._request: Final = request
        self._token: Final = token
        self._pieces: Final[list[Piece]] = []
        self._size_bytes = 0
        self._passing: asyncio.Task[None] | None = None
        self.is_open = False  # a piece has gone out
        self.companions: Final = Companions()

    def started(self, flow: Flow) -> None:
        """Nothing is added to the request."""

    def begun(self, flow: Flow) -> None:
        """From here on it is told."""
        self._passing = self.companions.start(self._pass(flow), name="progress")

    async def whole(self, outcome: Outcome) -> Outcome:
        """How it ended, with all pieces as one body. Raises `RpcError` for more than a result can hold."""
        if self._passing is None:
            return outcome
        await self._passing
        if self._size_bytes > COLLECTED_BYTES_MAX:
            raise RpcError(mcp.INTERNAL_ERROR, f"the result is over {COLLECTED_BYTES_MAX} bytes")
        if outcome.status is not Status.OK:
            return outcome
        body, content_type = joined(self._pieces)
        return msgspec.structs.replace(outcome, body=body, content_type=content_type)

    async def end(self, answer: bytes) -> None:
        """The last event: the answer to the request."""
        if self._passing is not None:
            await self._passing
        last = {"type": "http.response.body", "body": mcp.as_event(answer), "more_body": False}
        await self._request.send(last)

    async def _pass(self, flow: Flow) -> None:
        try:
            count = 0
            async for form, body in flow.pieces():
                self._size_bytes += len(body)
                if self._size_bytes > COLLECTED_BYTES_MAX:
                    self._pieces.clear()
                    flow.cancel()
                    return
                self._pieces.append((form, body))
                count += 1
                await self._tell(mcp.progress(self._token, count, _shown(form, body)))
        except BaseException:
            flow.cancel()
            raise

    async def _tell(self, notification: bytes) -> None:
        if not self.is_open:
            self.is_open = True
            headers = [type_header(EVENTS), (b"cache-control", b"no-cache")]
            await self._request.send({"type": "http.response.start", "status": 200, "headers": headers})
        told = {"type": "http.response.body", "body": mcp.as_event(notification), "more_body": True}
        await self._request.send(told)


def wanted(request: Request, message: Message) -> Progress | None:
    """For who has named a token and reads events."""
    meta = message.params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    if not isinstance(token, str | int) or isinstance(token, bool):
        return None
    return Progress(request, token) if EVENTS.encode() in request.headers.get(b"accept", b"") else None


def _shown(form: Form, body: bytes) -> str:
    text = as_json(form, body) if form is Form.BYTES else body
    return text[: 4 * SHOWN_CHARACTERS_MAX].decode("utf-8", "replace")[:SHOWN_CHARACTERS_MAX]
