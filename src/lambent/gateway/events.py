"""A model's answer as server-sent events, in the words of the protocol that was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from lambent.core.invocation import Invocation
from lambent.gateway.companions import Companions
from lambent.gateway.flow import Flow
from lambent.gateway.relay import EVENTS
from lambent.gateway.requests import Request
from lambent.gateway.responses import Header, stream_headers, type_header
from lambent.wire.frames import Form
from lambent.wire.skills import Part
from lambent.wire.speech import UNREADABLE, Teller, Trouble, unreadable

# As long as this nothing is said, so that what goes wrong at once has a status of its own; then a sign of
# life comes so often. Proxies give up after a minute of silence, some after 30 s.
QUIET_S: Final = 5.0

_parts: Final = msgspec.json.Decoder(Part)


class EventStream:
    """Passes one answer on, part by part. See `flow.Streams`.

    The head goes out with the first part, or when a model has kept its reader waiting.
    """

    def __init__(
        self,
        request: Request,
        invocation: Invocation,
        teller: Teller,
        headers: list[Header],
        *,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._request: Final = request
        self._invocation: Final = invocation
        self._teller: Final = teller
        self._headers: Final = headers
        self._quiet_s: Final = quiet_s
        self._passing: asyncio.Task[None] | None = None
        self._opened = False
        self._begun = False  # its first events have gone out
        self.companions: Final = Companions()
        self.broken: Trouble | None = None  # what its worker said is no part of an answer
        self._waiting = self.companions.start(self._wait(), name="keep-alive")

    @property
    def is_used(self) -> bool:
        """Whether the answer's parts came one by one."""
        return self._passing is not None

    def started(self, flow: Flow) -> None:
        """Nothing is added to the request."""

    def begun(self, flow: Flow) -> None:
        """From here on it is passed on."""
        self._passing = self.companions.start(self._pass(flow), name="events")

    async def settle(self) -> bool:
        """Nothing more comes. Whether the head has gone out: if not, an answer of any kind may still go."""
        await self._stop_waiting()
        if self._passing is not None:
            await self._passing
        return self._opened

    async def finish(self, parts: Iterable[Part] = ()) -> None:
        """Send what has not come by itself, and the last events."""
        events = [] if self._begun else [self._teller.begin()]
        events.extend(self._teller.part(part) for part in parts)
        events.append(self._teller.end())
        await self._last(b"".join(events))

    async def break_off(self, trouble: Trouble) -> None:
        """Say why nothing more comes."""
        await self._last(self._teller.trouble(trouble))

    async def _wait(self) -> None:
        while True:
            await asyncio.sleep(self._quiet_s)
            await self._open(None)
            await self._send(self._teller.quiet())

    async def _last(self, events: bytes) -> None:
        await self._open(None)
        await self._request.send({"type": "http.response.body", "body": events, "more_body": False})

    async def _stop_waiting(self) -> None:
        self._waiting.cancel()
        await asyncio.wait((self._waiting,))

    async def _pass(self, flow: Flow) -> None:
        try:
            async for form, body in flow.pieces():
                said = b""
                if not self._begun:
                    self._begun, said = True, self._teller.begin()
                    await self._stop_waiting()
                    await self._open(flow)
                said += self._teller.part(_part(form, body))
                if said:
                    await self._send(said)
        except UNREADABLE as error:
            flow.cancel()
            self.broken = unreadable(error)
        except BaseException:
            flow.cancel()
            raise

    async def _open(self, flow: Flow | None) -> None:
        if self._opened:
            return
        self._opened = True
        headers: list[Header] = [
            type_header(EVENTS),
            (b"cache-control", b"no-cache"),
            *self._headers,
            *stream_headers(self._invocation, flow),
        ]
        await self._request.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send(self, body: bytes) -> None:
        await self._request.send({"type": "http.response.body", "body": body, "more_body": True})


def _part(form: Form, body: bytes) -> Part:
    """A piece as the worker sent it. Raises `msgspec.DecodeError` for one that is none."""
    if form is Form.JSON:
        return _parts.decode(body)
    return Part(body.decode("utf-8", "replace"))
