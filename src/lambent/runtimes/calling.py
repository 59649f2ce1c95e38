"""A function that calls another: `await lambent.call("other", payload)`, or `.result()` in sync code.

The call goes through the server that runs the function, under the same project and within the caller's own
time, over the stream that the worker has anyway: it needs no network and no key.
"""

from __future__ import annotations

from collections.abc import Generator
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec

from lambent.core.errors import CallFailed
from lambent.core.invocation import FunctionError, Status
from lambent.runtimes import payload
from lambent.wire.frames import Told

Answered = tuple[Told, bytes]


class Answering(Protocol):
    """An answer that is on its way."""

    def wait(self) -> Answered:
        """Block until it is there. Raises `RuntimeError` on an event loop, which would wait for itself."""

    def __await__(self) -> Generator[Any, Any, Answered]: ...


class Caller(Protocol):
    """The way of the call that runs to others."""

    def ask(self, deployment: str, body: bytes, content_type: str, *, timeout_s: float) -> Answering:
        """Send it. Raises `RuntimeError` where the call is over."""


_caller: Final[ContextVar[Caller | None]] = ContextVar("caller", default=None)


def use(caller: Caller) -> None:
    """Let `call` go by this way, in this context."""
    _caller.set(caller)


class Pending:
    """A call that was made: awaited, or asked for its `result`. It runs from when it was made."""

    def __init__(self, deployment: str, answering: Answering) -> None:
        self._deployment: Final = deployment
        self._answering: Final = answering

    def result(self) -> Any:
        """Wait for the answer, in sync code. Raises `CallFailed`, `RuntimeError` on an event loop."""
        return self._read(*self._answering.wait())

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._read(*(yield from self._answering.__await__()))

    def _read(self, told: Told, body: bytes) -> Any:
        if told.status is Status.OK:
            return payload.decode(told.content_type, body)
        error = msgspec.json.decode(body, type=FunctionError)
        raise CallFailed(self._deployment, error.error_type, error.error_message)


def call(deployment: str, payload_: object = None, /, *, timeout_s: float = 0.0) -> Pending:
    """Invoke another deployment of the same project with `payload_`, as JSON, or as it is where it is bytes.

    Several may be under way at once. The answer is its result; where it failed, or could not run within
    `timeout_s` (0 for the caller's own time), `CallFailed` is raised. Raises `RuntimeError` outside of a
    function that Lambent runs: use `lambent.Client()` there.
    """
    caller = _caller.get()
    if caller is None:
        raise RuntimeError("lambent.call works inside a function; elsewhere use lambent.Client().invoke")
    reply = payload.encode({} if payload_ is None else payload_)
    answering = caller.ask(deployment, bytes(reply.body), reply.content_type, timeout_s=timeout_s)
    return Pending(deployment, answering)
