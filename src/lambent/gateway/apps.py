"""Deployments that speak HTTP themselves: their answers, and what is added to their requests, on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from lambent.core.invocation import Asked, Head, Outcome
from lambent.gateway.flow import Flow
from lambent.gateway.relay import break_off
from lambent.gateway.requests import Request, Scope
from lambent.gateway.responses import TEMPERATURES, Header, Reply
from lambent.wire.frames import Form

# Of one connection, not of the message: RFC 9110 section 7.6.1.
HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)


class AppRelay:
    """Passes one HTTP exchange through. See `flow.Streams`."""

    def __init__(self, request: Request, invocation_id: str, *, more: bool, rest_bytes_max: int) -> None:
        self._request: Final = request
        self._invocation_id: Final = invocation_id
        self._more: Final = more
        self._rest_bytes = rest_bytes_max
        self._feeding: asyncio.Task[None] | None = None
        self._passing: asyncio.Task[None] | None = None

    @property
    def is_used(self) -> bool:
        """Whether the answer streams."""
        return self._passing is not None

    def started(self, flow: Flow) -> None:
        """The rest of the request follows."""
        if self._more:
            self._feeding = asyncio.get_running_loop().create_task(self._feed(flow), name="feed")

    def begun(self, flow: Flow) -> None:
        """The answer is passed on."""
        self._passing = asyncio.get_running_loop().create_task(self._pass(flow), name="relay")

    async def finish(self, outcome: Outcome) -> None:
        """Send what is left of it, and its end."""
        self.close()
        if self._passing is None:
            return
        await self._passing
        if outcome.error is None:
            await self._request.send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await break_off(self._request.client)

    def close(self) -> None:
        """Nothing more is read of the request."""
        if self._feeding is not None:
            self._feeding.cancel()

    async def _feed(self, flow: Flow) -> None:
        async for piece in self._request.pieces():
            self._rest_bytes -= len(piece)
            if self._rest_bytes < 0:
                flow.cancel()
                return
            if not await flow.write(Form.BYTES, piece):
                return
        flow.close()

    async def _pass(self, flow: Flow) -> None:
        head = flow.head or Head(200)
        headers = [
            *headers_of(head),
            (b"lambent-invocation-id", self._invocation_id.encode()),
            (b"lambent-revision", flow.revision.encode()),
            (b"lambent-temperature", TEMPERATURES[flow.temperature]),
        ]
        await self._request.send({"type": "http.response.start", "status": head.status, "headers": headers})
        async for _, body in flow.pieces():
            await self._request.send({"type": "http.response.body", "body": body, "more_body": True})


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
        scheme="ws" if is_socket else "http",
        client=tuple(scope.get("client") or ("", 0)),
        subprotocols=tuple(scope.get("subprotocols", ())),
    )


def whole(outcome: Outcome, told: Iterable[Header]) -> Reply:
    """An answer that came in one piece."""
    head = outcome.head or Head(200)
    return Reply(head.status, [*headers_of(head), *told], outcome.body)


def headers_of(head: Head) -> list[Header]:
    """The application's headers, without those that are the connection's, or say a length that we say."""
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in head.headers
        if name not in HOP_BY_HOP and name != "content-length"
    ]
