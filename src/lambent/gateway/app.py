"""The one ASGI application: which door a request goes to, and how its answer gets out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from lambent.core.errors import LambentError
from lambent.gateway.auth import Keys
from lambent.gateway.presence import ClientLeft
from lambent.gateway.protocols import ClaimingDoor, Door
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.aws.urls import UrlDoor
from lambent.gateway.protocols.later import INVOCATIONS
from lambent.gateway.protocols.native import INVOKE
from lambent.gateway.requests import Message, Receive, Request, Scope, Send
from lambent.gateway.responses import problem_reply, refusal, send
from lambent.wire import problem

CONTROL: Final = "/api/v1/"
# A page that says nothing of this server: it asks for the key itself.
WITHOUT_KEY: Final = frozenset({"/api/v1/docs"})

log = logging.getLogger(__name__)

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gateway:
    """An ASGI 3 application of the scopes http, websocket and lifespan.

    Of `protocols`, the first that claims a request answers it. `control` finds who asks in
    `scope["lambent.principal"]`.
    """

    def __init__(
        self,
        *,
        native: Door,
        apps: AppsDoor,
        urls: UrlDoor,
        protocols: Sequence[ClaimingDoor],
        pages: Door,
        control: AsgiApp,
        keys: Keys,
    ) -> None:
        self._native: Final = native
        self._apps: Final = apps
        self._urls: Final = urls
        self._protocols: Final = tuple(protocols)
        self._pages: Final = pages
        self._control_app: Final = control
        self._keys: Final = keys

    def __call__(self, scope: Scope, receive: Receive, send_message: Send) -> Awaitable[None]:
        """One request, or the lifespan of the server."""
        if scope["type"] == "http":
            request = Request(scope, receive, send_message)
            is_for_url = self._urls.claims(request)  # by its host, maybe, and then whatever its path is
            if request.path.startswith(CONTROL) and not is_for_url:
                return self._control(scope, receive, send_message)
            door = self._urls if is_for_url else self._door(request)
            return _through(door, request, send_message)
        if scope["type"] == "websocket":
            return self._apps.connect(scope, receive, send_message, prefix=INVOKE)
        return _lifespan(receive, send_message)

    def go_away(self) -> None:
        """The server stops: end what would not end by itself."""
        self._apps.go_away()

    def _door(self, request: Request) -> Door:
        if request.path.startswith((INVOKE, INVOCATIONS)):
            return self._native
        for door in self._protocols:
            if door.claims(request):
                return door
        return self._pages

    async def _control(self, scope: Scope, receive: Receive, send_message: Send) -> None:
        sent = _Sent(send_message)
        try:
            if scope["path"] not in WITHOUT_KEY:
                scope["lambent.principal"] = await self._keys.authenticate(dict(scope["headers"]))
            await self._control_app(scope, receive, sent)
        except LambentError as error:
            await send(refusal(error), scope, send_message)
        except Exception:
            log.exception("request_crashed", extra={"method": scope["method"], "path": scope["path"]})
            if not sent.anything:
                await send(problem_reply(problem.internal()), scope, send_message)


class _Sent:
    """Passes messages on, and remembers whether there were any."""

    def __init__(self, send_message: Send) -> None:
        self._send: Final = send_message
        self.anything = False

    async def __call__(self, message: Message) -> None:
        self.anything = True
        await self._send(message)


async def _through(door: Door, request: Request, send_message: Send) -> None:
    try:
        reply = await door.answer(request)
    except LambentError as error:
        reply = door.refuse(request, error)
    except ClientLeft:
        return
    except Exception:
        log.exception("request_crashed", extra={"method": request.method, "path": request.path})
        reply = problem_reply(problem.internal())
    if reply is not None:
        await send(reply, request.scope, send_message)


async def _lifespan(receive: Receive, send_message: Send) -> None:
    """Nothing is started or stopped here: whoever made the parts does both."""
    while True:
        message = await receive()
        await send_message({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
