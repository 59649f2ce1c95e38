"""A function's stream as the answer of its URL: a head first, where the function gives one."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from lambent.core.invocation import OCTETS, Outcome
from lambent.gateway.companions import Companions
from lambent.gateway.flow import Flow
from lambent.gateway.relay import TYPES, as_is, break_off
from lambent.gateway.requests import Request
from lambent.gateway.responses import Header
from lambent.wire.aws.httpanswers import (
    NULS,
    PRELUDE_BYTES_MAX,
    HttpAnswer,
    Unanswerable,
    head_of,
    says_status,
    split_prelude,
)
from lambent.wire.frames import Form


class Beginning(msgspec.Struct, frozen=True):
    """The head of an answer, and what of its body has come with it."""

    answer: HttpAnswer
    rest: bytes


class UrlStream:
    """Passes one stream on. See `flow.Streams`.

    The head is what stands before eight zero bytes, or a first piece that is a response with a status.
    """

    def __init__(self, request: Request, headers: list[Header]) -> None:
        self._request: Final = request
        self._headers: Final = headers
        self._passing: asyncio.Task[bool] | None = None
        self._is_unanswerable = False
        self.companions: Final = Companions()

    @property
    def is_used(self) -> bool:
        """Whether there is, or was, a stream."""
        return self._passing is not None

    def started(self, flow: Flow) -> None:
        """Nothing is added to the request."""

    def begun(self, flow: Flow) -> None:
        """From here on it is passed on."""
        self._passing = self.companions.start(self._pass(flow), name="url stream")

    async def finish(self, outcome: Outcome) -> bool:
        """Send what is left of it; False where nothing was sent, and nothing of use can be.

        A stream whose function failed in the middle is broken off, so that its reader knows.
        """
        if self._passing is None:
            return False
        opened = await self._passing
        if not opened and (outcome.error is not None or self._is_unanswerable):
            return False
        if not opened:
            await self._open(begun_with(Form.BYTES, b""))
        if outcome.error is None:
            await self._request.send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await break_off(self._request.client)
        return True

    async def _pass(self, flow: Flow) -> bool:
        """Whether the answer has begun."""
        held, first, opened = b"", Form.BYTES, False
        try:
            async for form, body in flow.pieces():
                if opened:
                    await self._send(as_is(form, body))
                    continue
                first = first if held else form
                held += as_is(form, body)
                if not _may_grow(first, held):
                    opened = await self._open(begun_with(first, held))
            if held and not opened:
                opened = await self._open(begun_with(first, held))
        except Unanswerable:
            self._is_unanswerable = True
            flow.cancel()
        except BaseException:
            flow.cancel()
            raise
        return opened

    async def _open(self, beginning: Beginning) -> bool:
        said = [(name.encode(), value.encode("utf-8", "replace")) for name, value in beginning.answer.headers]
        head = {
            "type": "http.response.start",
            "status": beginning.answer.status,
            "headers": [*said, *self._headers],
        }
        await self._request.send(head)
        await self._send(beginning.answer.body + beginning.rest)
        return True

    async def _send(self, piece: bytes) -> None:
        if piece:
            await self._request.send({"type": "http.response.body", "body": piece, "more_body": True})


def begun_with(form: Form, held: bytes) -> Beginning:
    """What the first piece or pieces say. Raises `Unanswerable`."""
    if form is Form.JSON:
        if says_status(held):
            return Beginning(head_of(held, default_type=OCTETS), b"")
    elif found := split_prelude(held):
        return Beginning(*found)
    return Beginning(HttpAnswer(200, (("content-type", TYPES[form]),)), held)


def _may_grow(form: Form, held: bytes) -> bool:
    """Whether a head may have begun and not ended: one that is JSON and no piece of ours."""
    if form is Form.JSON or NULS in held or len(held) > PRELUDE_BYTES_MAX:
        return False
    return not held.strip() or held.lstrip().startswith(b"{")
