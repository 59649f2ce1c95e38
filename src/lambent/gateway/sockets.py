"""One WebSocket between its client and the worker that answers it."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.utils import ClientDisconnected

from lambent.core.invocation import Head, Outcome
from lambent.gateway.flow import Flow
from lambent.gateway.requests import Receive, Send
from lambent.gateway.responses import Reply
from lambent.wire.frames import Form

IDLE: Final = 1001  # close codes: RFC 6455 section 7.4.1
FAILED: Final = 1011
# From the client's end until user code must have heard of it and returned.
LEAVE_S: Final = 10.0


class SocketRelay:
    """Passes messages both ways. See `flow.Streams`. Ends one that is silent for `idle_s`."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive: Final = receive
        self._send: Final = send
        self._feeding: asyncio.Task[None] | None = None
        self._passing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flow: Flow | None = None
        self._accepted = False
        self._ended = False
        self._heard_s = 0.0
        self._is_idle = False
        self.idle_s = 600.0

    async def opened(self) -> None:
        """Wait for the opening of the handshake."""
        await self._receive()

    def started(self, flow: Flow) -> None:
        """The call was sent: what the client says goes to it."""
        loop = asyncio.get_running_loop()
        self._flow = flow
        self._feeding = loop.create_task(self._feed(flow), name="feed")
        self._heard_s = loop.time()
        self._timer = loop.call_later(self.idle_s, self._look)

    def begun(self, flow: Flow) -> None:
        """It is accepted: what user code says goes to the client."""
        self._passing = asyncio.get_running_loop().create_task(self._pass(flow), name="relay")

    async def end(self, outcome: Outcome) -> None:
        """User code has returned: close it with the code that it gave, or refuse what was not accepted."""
        if self._passing is not None:
            await self._passing
        head = outcome.head or Head(FAILED if outcome.error else 1000)
        code = IDLE if self._is_idle else FAILED if outcome.error else head.status
        if self._accepted:
            await self._close(code, dict(head.headers).get("reason", ""))
        elif outcome.error is not None:
            await self.refuse(Reply(500, [], b""))
        else:
            await self.refuse(Reply(head.status, [], b""))

    async def refuse(self, reply: Reply) -> None:
        """Say no to the handshake; end with an error what was accepted."""
        if self._accepted:
            await self._close(FAILED, "")
        elif not self._ended:
            self._ended = True
            start = {
                "type": "websocket.http.response.start",
                "status": reply.status,
                "headers": reply.headers,
            }
            await self._send(start)
            await self._send({"type": "websocket.http.response.body", "body": reply.body})
            # uvicorn takes an application that returns now for one that forgot to answer, and says so.
            raise ClientDisconnected

    def close(self) -> None:
        """Nothing more is read."""
        if self._timer is not None:
            self._timer.cancel()
        if self._feeding is not None:
            self._feeding.cancel()

    async def _feed(self, flow: Flow) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                break
            self._heard_s = asyncio.get_running_loop().time()
            text = message.get("text")
            form = Form.BYTES if text is None else Form.TEXT
            if not await flow.write(form, message["bytes"] if text is None else text.encode()):
                return
        self._leave(flow)

    def _leave(self, flow: Flow) -> None:
        """The client has left: user code hears of it, and has a while to return."""
        self._ended = True
        flow.close()
        asyncio.get_running_loop().call_later(LEAVE_S, flow.cancel)

    async def _pass(self, flow: Flow) -> None:
        headers = list((flow.head or Head(101)).headers)
        protocol = next((value for name, value in headers if name == "sec-websocket-protocol"), None)
        others = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in headers
            if name != "sec-websocket-protocol"
        ]
        self._accepted = True
        await self._tell({"type": "websocket.accept", "subprotocol": protocol, "headers": others})
        async for form, body in flow.pieces():
            self._heard_s = asyncio.get_running_loop().time()
            if form is Form.TEXT:
                await self._tell({"type": "websocket.send", "text": body.decode("utf-8", "replace")})
            else:
                await self._tell({"type": "websocket.send", "bytes": body})

    async def _close(self, code: int, reason: str) -> None:
        await self._tell({"type": "websocket.close", "code": code, "reason": reason})
        self._ended = True

    async def _tell(self, message: dict[str, object]) -> None:
        if self._ended:
            return
        try:
            await self._send(message)
        except OSError:  # what uvicorn raises where the client has gone
            self._ended = True

    def _look(self) -> None:
        """Whether nobody has said anything for too long."""
        flow, loop = self._flow, asyncio.get_running_loop()
        if flow is None or self._ended:
            return
        rest_s = self._heard_s + self.idle_s - loop.time()
        if rest_s > 0:
            self._timer = loop.call_later(rest_s, self._look)
        else:
            self._is_idle = True
            flow.close()
            self._timer = loop.call_later(LEAVE_S, flow.cancel)
