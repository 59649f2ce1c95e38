"""One WebSocket between its client and the worker that answers it."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.utils import ClientDisconnected

from lambent.core.invocation import Head, Outcome, Status
from lambent.gateway.companions import Companions
from lambent.gateway.flow import Flow
from lambent.gateway.heads import encoded, headers_of, status_of
from lambent.gateway.requests import Receive, Send
from lambent.gateway.responses import Header, Reply, problem_reply
from lambent.wire import problem
from lambent.wire.frames import Closing, Form

# Close codes: RFC 6455 section 7.4.1.
NORMAL: Final = 1000
AWAY: Final = 1001
UNKNOWN: Final = 1005
FAILED: Final = 1011
UNSAID: Final = range(1004, 1007)  # codes that never stand in a closing frame
PROTOCOL: Final = b"sec-websocket-protocol"
# uvicorn looks whether a refusal has these, and cannot bear to find one of them twice.
SINGLE: Final = frozenset({b"date", b"content-type"})
REASON_BYTES_MAX: Final = 123
# From the end of the conversation until user code must have heard of it and returned.
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
        self._another: Final = asyncio.Event()  # set when another worker has the call
        self._accepted = False
        self._ended = False  # nothing more is said to the client
        self._leaving: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self._is_away = False
        self.companions: Final = Companions()
        self.idle_s = 600.0

    async def opened(self) -> None:
        """Wait for the opening of the handshake."""
        await self._receive()

    def started(self, flow: Flow) -> None:
        """The call was sent: what the client says goes to it."""
        self._flow = flow
        self._another.set()
        if self._feeding is None:
            self._feeding = self.companions.start(self._feed(), name="feed")
            loop = asyncio.get_running_loop()
            self._heard_s = loop.time()
            self._timer = loop.call_later(self.idle_s, self._look)
        if self._is_away:
            self._leave(Closing(AWAY))

    def begun(self, flow: Flow) -> None:
        """It is accepted: what user code says goes to the client."""
        self._passing = self.companions.start(self._pass(flow), name="relay")

    def go_away(self) -> None:
        """End it: it was silent for too long, or the server stops. User code hears of it first."""
        self._is_away = True
        if self._feeding is not None:
            self._feeding.cancel()
        self._leave(Closing(AWAY))

    async def end(self, outcome: Outcome) -> None:
        """User code has returned: close what it has not closed itself, or refuse what was not accepted."""
        if self._passing is not None:
            await self._passing
        head = outcome.head or Head(101)
        if self._accepted:
            await self._close(AWAY if self._is_away else FAILED if outcome.error else NORMAL, "")
        elif outcome.status is Status.OK:
            await self.refuse(Reply(status_of(head), _each_once(headers_of(head)), bytes(outcome.body)))
        else:
            await self.refuse(problem_reply(problem.of_outcome(outcome)))

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
        """Nothing more is awaited."""
        for timer in (self._timer, self._leaving):
            if timer is not None:
                timer.cancel()

    async def _feed(self) -> None:
        try:
            await self._feed_all()
        except Exception:
            if self._flow is not None:
                self._flow.cancel()
            raise

    async def _feed_all(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                break
            self._heard_s = asyncio.get_running_loop().time()
            text = message.get("text")
            form = Form.BYTES if text is None else Form.TEXT
            await self._write(form, message["bytes"] if text is None else text.encode())
        self._ended = True
        self._leave(Closing(int(message.get("code") or UNKNOWN), str(message.get("reason") or "")))

    async def _write(self, form: Form, piece: bytes) -> None:
        while True:  # a worker that ends before it has taken the call hands it on to another one
            while self._flow is None or self._flow.ended:
                self._another.clear()
                await self._another.wait()
            if await self._flow.write(form, piece):
                return

    def _leave(self, how: Closing) -> None:
        """The conversation is over: user code hears of it, and has a while to return."""
        flow = self._flow
        if flow is not None and self._leaving is None:
            flow.close(how)
            self._leaving = asyncio.get_running_loop().call_later(LEAVE_S, flow.cancel)

    async def _pass(self, flow: Flow) -> None:
        try:
            await self._accept(flow.head or Head(101))
            async for form, body in flow.pieces():
                self._heard_s = asyncio.get_running_loop().time()
                if form is Form.CLOSE:
                    how = Closing.of(body)
                    await self._close(how.code, how.reason)
                elif form is Form.TEXT:
                    await self._tell({"type": "websocket.send", "text": body.decode("utf-8", "replace")})
                else:
                    await self._tell({"type": "websocket.send", "bytes": body})
        except BaseException:
            flow.cancel()
            raise

    async def _accept(self, head: Head) -> None:
        headers = [encoded(name, value) for name, value in head.headers]
        protocol = next((value.decode("latin-1") for name, value in headers if name == PROTOCOL), None)
        others = [header for header in headers if header[0] != PROTOCOL]
        self._accepted = True
        await self._tell({"type": "websocket.accept", "subprotocol": protocol, "headers": others})

    async def _close(self, code: int, reason: str) -> None:
        cut = reason.encode("utf-8", "replace")[:REASON_BYTES_MAX].decode("utf-8", "ignore")
        sayable = 1000 <= code < 5000 and code not in UNSAID and code != 1015
        await self._tell({"type": "websocket.close", "code": code if sayable else FAILED, "reason": cut})
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
        loop = asyncio.get_running_loop()
        if self._ended:
            return
        rest_s = self._heard_s + self.idle_s - loop.time()
        if rest_s > 0:
            self._timer = loop.call_later(rest_s, self._look)
        else:
            self.go_away()


def _each_once(headers: list[Header]) -> list[Header]:
    seen: set[bytes] = set()
    kept: list[Header] = []
    for header in headers:
        if header[0] not in seen & SINGLE:
            kept.append(header)
        seen.add(header[0])
    return kept
