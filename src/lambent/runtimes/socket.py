"""A function for WebSockets, `async def chat(socket)`, as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from lambent.runtimes.faults import Fault

Message = MutableMapping[str, Any]


class Socket:
    """One WebSocket. It is accepted before the function begins, and closed when the function returns."""

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.path: Final[str] = scope["path"][len(scope["root_path"]) :]
        self.query: Final[str] = scope["query_string"].decode("latin-1")
        self.headers: Final[dict[str, str]] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._receive: Final = receive
        self._send: Final = send

    async def receive(self) -> str | bytes | None:
        """The next message: text or bytes; `None` once the client has left."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return None
        text: str | None = message["text"]
        return message["bytes"] if text is None else text

    async def send(self, value: object) -> None:
        """Send text, bytes, or anything else as JSON text."""
        if isinstance(value, bytes | bytearray | memoryview):
            await self._send({"type": "websocket.send", "bytes": bytes(value)})
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            await self._send({"type": "websocket.send", "text": text})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it before the function returns."""
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message


def as_app(function: object) -> Any:
    """The application that runs `function` for each WebSocket. Raises `Fault` where it is not async."""
    import inspect

    if not inspect.iscoroutinefunction(function):
        raise Fault("Lambent.NotConcurrent", "a function for WebSockets is async: async def chat(socket)")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            if scope["type"] == "http":
                await _upgrade(send)
            return
        if (await receive())["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
            await function(Socket(scope, receive, send))

    return app


async def _upgrade(send: Callable[[Message], Awaitable[None]]) -> None:
    headers = [(b"upgrade", b"websocket"), (b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": b"this deployment speaks WebSocket\n"})
