"""One operation of the control API as a value: the routes and the description are both made from these."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from lambent.core.errors import CallerFault
from lambent.core.invocation import JSON, Principal, Role

PREFIX: Final = "/api/v1"

T = TypeVar("T")


class Parameter(msgspec.Struct, frozen=True):
    """One value in a path or a query. `kind` is the JSON schema's type."""

    name: str
    meaning: str
    kind: str = "string"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose sender may make it, with its body read."""

    principal: Principal
    request: Request
    body: Any = None

    @property
    def project(self) -> str:
        """The project of the key."""
        return self.principal.project

    @property
    def path(self) -> Mapping[str, str]:
        """The values in the path."""
        return self.request.path_params

    @property
    def base_url(self) -> str:
        """The server as this client reaches it, without a slash at the end."""
        return str(self.request.base_url).rstrip("/")

    def text(self, name: str) -> str:
        """A value of the query, empty where it is not given."""
        return self.request.query_params.get(name, "")

    def number(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number of the query. Raises `CallerFault` where it is none or out of its range."""
        text = self.text(name)
        if not text:
            return default
        # The length is bounded first: Python refuses to read a number of thousands of digits.
        digits = len(text) <= 18 and text.removeprefix("-").isdecimal()
        if not digits or not low <= int(text) <= high:
            raise CallerFault(f"{name}={text!r} is not a whole number from {low} to {high}")
        return int(text)

    def flag(self, name: str) -> bool:
        """A yes or no of the query. Raises `CallerFault` for anything else."""
        text = self.text(name).lower()
        if text not in ("", "0", "1", "false", "true"):
            raise CallerFault(f"{name}={text!r} is neither true nor false")
        return text in ("1", "true")

    async def while_present(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` comes to; it is cancelled when the client leaves. Raises `ClientDisconnect` then.

        Only for a request whose body has been read.
        """
        working, left = asyncio.create_task(work), asyncio.create_task(self._left())
        try:
            await asyncio.wait((working, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            working.cancel()
            await asyncio.wait((working, left))
        if working.cancelled():
            raise ClientDisconnect
        return working.result()

    async def _left(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One verb of the API.

    `run` gives what `reply` says as JSON, a `starlette` response of the type `media`, or None for an empty
    answer. `body` is what the request's JSON is read as; where `upload` is set, the body is of that media
    type and `run` reads it itself.
    """

    name: str
    method: str
    path: str
    role: Role
    summary: str
    run: Callable[[Asked], Awaitable[object]]
    query: tuple[Parameter, ...] = ()
    body: Any = None
    upload: str = ""
    reply: Any = None
    media: str = JSON
    status: int = 200
