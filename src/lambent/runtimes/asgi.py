"""The ASGI runtime: an ASGI 3 application as it is, or a function for WebSockets that is made into one.

The application sees HTTP as under any server. Its lifespan runs in each worker, since an event loop cannot be
forked; what it does while it is imported runs once, in the template.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final
from urllib.parse import quote

from lambent.core.invocation import Asked, Head
from lambent.core.spec import Interface
from lambent.core.tracing import parent_from
from lambent.runtimes import logs
from lambent.runtimes.base import STREAMED, AsyncLine, Body, Loading, More, Reply, Request
from lambent.runtimes.context import asked_without_http
from lambent.runtimes.entry import resolve
from lambent.runtimes.faults import Fault
from lambent.runtimes.socket import as_app
from lambent.wire.frames import Call, Closing, Form
from lambent.wire.process import RevisionPlan

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

ACCEPTED: Final = 101
TRACED: Final = frozenset({"traceparent", "tracestate"})
CLOSED: Final = 1000
REFUSED: Final = 403
# How long a whole answer waits for its application to return, so that most go out in one piece.
LINGER_S: Final = 0.005


class AsgiServable:
    """A loaded application."""

    def __init__(self, app: App, log: logs.RequestLog) -> None:
        self._app: Final = app
        self._log: Final = log
        self._lifespan: Lifespan | None = None

    @property
    def is_concurrent(self) -> bool:
        """Always: ASGI is async."""
        return True

    async def start(self) -> None:
        """Run the application's startup. Raises `Fault` where it says that it failed."""
        self._lifespan = Lifespan(self._app)
        await self._lifespan.start()

    async def stop(self) -> None:
        """Run its shutdown."""
        if self._lifespan is not None:
            await self._lifespan.stop()

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """One HTTP request, or one WebSocket from its opening to its end."""
        self._log.request_id = request.call.invocation_id
        asked = request.call.asked
        if asked is None:
            asked = asked_without_http(request.call)
        state = self._lifespan.state if self._lifespan is not None else {}
        exchange = (WebSocket if asked.is_socket else Http)(request, line)
        try:
            await self._app(
                {**scope_of(asked, request.call), "state": dict(state)}, exchange.receive, exchange.send
            )
        except Exception:
            await exchange.flush()  # frameworks answer with an error of their own and then raise it
            raise
        finally:
            exchange.close()
        return exchange.reply()


class Http:
    """One HTTP request as the application receives and answers it (ASGI 3, HTTP & WebSocket 2.4)."""

    def __init__(self, request: Request, line: AsyncLine) -> None:
        self._request: Final = request
        self._line: Final = line
        self._asked_first = True
        self._more = request.call.more
        self._head: Head | None = None
        self._body: Body = b""
        self._streams = False
        self._returned = False
        self._done: Final = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The request's body; after it, that the answer is whole. A client that leaves cancels this."""
        if self._asked_first:
            self._asked_first = False
            return {"type": "http.request", "body": bytes(self._request.body), "more_body": self._more}
        if self._more and not self._done.is_set():
            piece = await self._line.read()
            self._more = piece is not None
            return {
                "type": "http.request",
                "body": bytes(piece[1]) if piece else b"",
                "more_body": self._more,
            }
        await self._done.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """A piece of the answer. One that comes whole is sent whole."""
        kind = message["type"]
        if kind == "http.response.start" and self._head is None:
            self._head = Head(int(message["status"]), tuple(_texts(message.get("headers", ()))))
        elif kind == "http.response.body" and self._head is not None and not self._done.is_set():
            await self._piece(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"the application sent {kind!r} out of turn")

    async def flush(self) -> None:
        """Send what is complete now, not when the application returns."""
        if self._done.is_set() and not self._streams and not self._returned:
            self._streams = True
            await self._line.begin(self._head)
            await self._line.write(Form.BYTES, self._body, more=More.NONE)

    def close(self) -> None:
        """The application has returned."""
        self._returned = True
        if self._lingering is not None:
            self._lingering.cancel()

    def reply(self) -> Reply:
        """What it came to. Raises `Fault` where the application did not finish."""
        if not self._done.is_set():
            raise Fault("Lambent.NoResponse", "the application returned without a complete response")
        return STREAMED if self._streams else Reply(self._body, "", self._head)

    async def _piece(self, body: Body, *, is_last: bool) -> None:
        if is_last:
            self._done.set()
            if not self._streams:
                self._body = body
                self._lingering = asyncio.get_running_loop().call_later(LINGER_S, self._linger)
                return
        elif not self._streams:
            self._streams = True
            await self._line.begin(self._head)
        if body or is_last:
            await self._line.write(Form.BYTES, body, more=More.NONE if is_last else More.COMES)

    def _linger(self) -> None:
        """The answer is whole and the application goes on: with work of its own, which nobody waits for."""
        self._flushing = asyncio.get_running_loop().create_task(self.flush())


class WebSocket:
    """One WebSocket as the application sees it."""

    def __init__(self, _: Request, line: AsyncLine) -> None:
        self._line: Final = line
        self._opened = False
        self._accepted = False
        self._end: Closing | None = None  # whoever said it first
        self._refusal: Head | None = None
        self._refusal_body = b""

    async def receive(self) -> Message:
        """The opening, each message, and that the client has left."""
        if not self._opened:
            self._opened = True
            return {"type": "websocket.connect"}
        piece = await self._line.read() if self._end is None else None
        form, body = piece or (Form.CLOSE, b"")
        if form is Form.CLOSE:
            self._end = self._end or Closing.of(body)
            return {"type": "websocket.disconnect", "code": self._end.code, "reason": self._end.reason}
        if form is Form.TEXT:
            return {"type": "websocket.receive", "text": bytes(body).decode(), "bytes": None}
        return {"type": "websocket.receive", "bytes": bytes(body), "text": None}

    async def send(self, message: Message) -> None:
        """Accept, send, or close."""
        match message["type"]:
            case "websocket.accept" if not self._accepted and self._end is None:
                self._accepted = True
                protocol = message.get("subprotocol")
                told = [("sec-websocket-protocol", protocol)] if protocol else []
                headers = (*told, *_texts(message.get("headers", ())))
                await self._line.begin(Head(ACCEPTED, headers))
            case "websocket.send" | "websocket.close" if self._end is not None:
                raise OSError("the WebSocket is closed")  # as ASGI asks, so that frameworks know it
            case "websocket.send" if self._accepted:
                text = message.get("text")
                if text is not None:
                    await self._line.write(Form.TEXT, text.encode())
                else:
                    await self._line.write(Form.BYTES, message.get("bytes") or b"")
            case "websocket.close":
                self._end = Closing(int(message.get("code", CLOSED)), str(message.get("reason") or ""))
                if self._accepted:
                    await self._line.write(Form.CLOSE, self._end.piece(), more=More.NONE)
            case kind if not self._refuses(message):
                raise RuntimeError(f"the application sent {kind!r} out of turn")

    def _refuses(self, message: Message) -> bool:
        """Whether it is a part of an answer in the handshake's place (ASGI's "WebSocket Denial Response")."""
        kind = message["type"]
        if self._accepted or self._end is not None:
            return False
        if kind == "websocket.http.response.start" and self._refusal is None:
            self._refusal = Head(int(message["status"]), tuple(_texts(message.get("headers", ()))))
            return True
        if kind == "websocket.http.response.body" and self._refusal is not None:
            self._refusal_body += message.get("body", b"")
            if not message.get("more_body", False):
                self._end = Closing(CLOSED)
            return True
        return False

    async def flush(self) -> None:
        """All was sent at once."""

    def close(self) -> None:
        """The application has returned."""

    def reply(self) -> Reply:
        """Whether it was accepted. One that was and is not closed is closed now."""
        if self._refusal is not None:
            return Reply(self._refusal_body, "", self._refusal)
        return Reply(b"", "", Head(ACCEPTED if self._accepted else REFUSED))


class Lifespan:
    """The application's startup and shutdown. One that knows neither is served without."""

    def __init__(self, app: App) -> None:
        self._app: Final = app
        self.state: Final[dict[str, Any]] = {}
        self._to_app: Final[asyncio.Queue[Message]] = asyncio.Queue()
        self._answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises `Fault` where the application says that it failed."""
        self._to_app.put_nowait({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._running = asyncio.ensure_future(self._app(scope, self._to_app.get, self._send))
        await asyncio.wait((self._running, self._answered), return_when=asyncio.FIRST_COMPLETED)
        if self._answered.done():
            said = self._answered.result()
            if said["type"] == "lifespan.startup.failed":
                raise Fault("Lambent.StartupFailed", str(said.get("message") or "the startup failed"))
        elif not self._running.cancelled():
            self._running.exception()  # it does not speak lifespan, and that is no news

    async def stop(self) -> None:
        """Ask for the shutdown and wait for it."""
        if self._running is None or self._running.done():
            return
        self._answered = asyncio.get_running_loop().create_future()
        self._to_app.put_nowait({"type": "lifespan.shutdown"})
        await asyncio.wait((self._running, self._answered), return_when=asyncio.FIRST_COMPLETED)

    async def _send(self, message: Message) -> None:
        if not self._answered.done():
            self._answered.set_result(message)


def scope_of(asked: Asked, call: Call) -> Scope:
    """The scope of a request. Its parent in the trace is this invocation, whoever asked for that."""
    scope: Scope = {
        "type": "websocket" if asked.is_socket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": asked.scheme,
        "path": asked.path,
        "raw_path": asked.raw_path.encode("latin-1") or quote(asked.path).encode(),
        "root_path": asked.root_path,
        "query_string": asked.query.encode("latin-1"),
        "headers": [
            *(
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in asked.headers
                if name not in TRACED
            ),
            *_traced(call),
        ],
        "client": asked.client,
        "server": None,
    }
    if asked.is_socket:
        extensions: Message = {"websocket.http.response": {}}
        return {**scope, "subprotocols": list(asked.subprotocols), "extensions": extensions}
    return {**scope, "method": asked.method}


def _traced(call: Call) -> Iterator[tuple[bytes, bytes]]:
    yield b"traceparent", parent_from(call.invocation_id, call.trace).encode()
    if call.trace is not None and call.trace.state:
        yield b"tracestate", call.trace.state.encode()


def load(plan: RevisionPlan, loading: Loading) -> AsgiServable:
    """Import the user's module and make the application. Raises `Fault`, and whatever user code raises."""
    log = logs.install()
    with loading.part("init"):
        found = resolve(plan.entrypoint, plan.code_dir)
        app = as_app(found) if plan.interface is Interface.WEBSOCKET else _application(found)
    if not callable(app):
        message = f"'{plan.entrypoint}' is no ASGI application: it is a {type(app).__name__}"
        raise Fault("Runtime.HandlerNotFound", message)
    return AsgiServable(app, log)


def _application(found: object) -> Any:
    """The application itself, or what a function without parameters makes."""
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        return found()
    return found


def _texts(headers: Any) -> list[tuple[str, str]]:
    return [
        (bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1")) for name, value in headers
    ]
