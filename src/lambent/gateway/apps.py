"""Deployments that speak HTTP themselves: their answers, and what is added to their requests, on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from lambent.core.invocation import Asked, Head, Invocation, Outcome
from lambent.gateway.companions import Companions
from lambent.gateway.flow import Flow
from lambent.gateway.heads import headers_of, length_of, status_of, trailers_of
from lambent.gateway.presence import ClientLeft
from lambent.gateway.relay import break_off
from lambent.gateway.requests import TRAILERS, Request, Scope
from lambent.gateway.responses import Header, Reply, stream_headers
from lambent.wire.frames import Form

# How long the end of an answer that is whole waits for the end of its call.
LINGER_S: Final = 0.01


class AppRelay:
    """Passes one HTTP exchange through. See `flow.Streams`."""

    def __init__(self, request: Request, invocation: Invocation, *, rest_bytes_max: int) -> None:
        self._request: Final = request
        self._invocation: Final = invocation
        self._more: Final = invocation.more
        self._rest_bytes = rest_bytes_max
        self._flow: Flow | None = None
        self._another: Final = asyncio.Event()  # set when another worker has the call
        self._feeding: asyncio.Task[None] | None = None
        self._passing: asyncio.Task[bool] | None = None
        self.companions: Final = Companions()
        self.is_too_large = False  # the request is, as was seen in the middle

    @property
    def is_used(self) -> bool:
        """Whether the answer streams."""
        return self._passing is not None

    def started(self, flow: Flow) -> None:
        """The rest of the request follows."""
        self._flow = flow
        self._another.set()
        if self._more and self._feeding is None:
            self._feeding = self.companions.start(self._feed(), name="feed")

    def begun(self, flow: Flow) -> None:
        """The answer is passed on."""
        self._passing = self.companions.start(self._pass(flow), name="relay")

    async def finish(self, outcome: Outcome) -> None:
        """Send what is left of it, and its end."""
        self.close()
        if self._passing is not None and not await self._passing:
            await break_off(self._request.client)

    def close(self) -> None:
        """Nothing more is read of the request."""
        if self._feeding is not None:
            self._feeding.cancel()

    async def _feed(self) -> None:
        try:
            await self._feed_all()
        except ClientLeft:
            return  # the call is cancelled: half a request must not look like a whole one
        except Exception:
            if self._flow is not None:
                self._flow.cancel()
            raise

    async def _feed_all(self) -> None:
        async for piece in self._request.pieces():
            self._rest_bytes -= len(piece)
            if self._rest_bytes < 0:
                self.is_too_large = True
                (await self._current()).cancel()
                return
            await self._write(piece)
        (await self._current()).close()

    async def _write(self, piece: bytes) -> None:
        # A worker that ends before it has taken the call hands it on to another one, with what was fed to it
        # last: until somebody has it, the piece is ours.
        while not await (await self._current()).write(Form.BYTES, piece):
            self._another.clear()

    async def _current(self) -> Flow:
        while self._flow is None or self._flow.ended:
            self._another.clear()
            await self._another.wait()
        return self._flow

    async def _pass(self, flow: Flow) -> bool:
        """Whether all of it was passed on."""
        head = flow.head or Head(200)
        rest_bytes = length_of(head)
        try:
            await self._open(head, flow)
            trailers: list[Header] = []
            async for form, body in flow.pieces():
                if form is Form.TRAILERS:
                    trailers = trailers_of(body)
                    continue
                if rest_bytes is not None:
                    rest_bytes -= len(body)
                    if rest_bytes < 0:
                        flow.cancel()
                        return False
                await self._request.send({"type": "http.response.body", "body": body, "more_body": True})
            if flow.whole:
                # It is on the bill before its last byte, unless its application goes on without its client.
                await flow.over(within_s=LINGER_S)
            if not flow.whole or (rest_bytes and self._request.method != "HEAD"):
                return False
            if not trailers or not self._ended_with(trailers):
                await self._request.send({"type": "http.response.body", "body": b"", "more_body": False})
        except BaseException:
            flow.cancel()
            raise
        return True

    def _ended_with(self, trailers: list[Header]) -> bool:
        end = self._request.scope.get("extensions", {}).get(TRAILERS)
        return end is not None and end.end(trailers)

    async def _open(self, head: Head, flow: Flow) -> None:
        headers = [
            *headers_of(head),
            *stream_headers(self._invocation, flow),
        ]
        if (length := length_of(head)) is not None:
            headers.append((b"content-length", b"%d" % length))
        start = {"type": "http.response.start", "status": status_of(head), "headers": headers}
        await self._request.send(start)


def asked_of(scope: Scope, *, root_path: str) -> Asked:
    """The head of a request as the application sees it: without the key, which is ours."""
    is_socket = scope["type"] == "websocket"
    headers = scope["headers"]
    # An application may have keys of its own in the other.
    ours = b"x-api-key" if any(name == b"x-api-key" for name, _ in headers) else b"authorization"
    return Asked(
        method=scope.get("method", "GET"),
        path=scope["path"],
        root_path=root_path,
        query=scope["query_string"].decode("latin-1"),
        headers=tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if name != ours
        ),
        scheme=scope.get("scheme") or ("ws" if is_socket else "http"),
        client=tuple(scope.get("client") or ("", 0)),
        subprotocols=tuple(scope.get("subprotocols", ())),
        raw_path=(scope.get("raw_path") or b"").decode("latin-1"),
    )


def whole(outcome: Outcome, told: Iterable[Header]) -> Reply:
    """An answer that came in one piece."""
    head = outcome.head or Head(200)
    return Reply(status_of(head), [*headers_of(head), *told], outcome.body, length_of(head))
