"""A function that calls another: `await lambent.call("other", payload)`, or `.result()` in sync code.

The call goes through the server that runs the function, under the same project, in the same trace and within
the caller's own time, over the stream that the worker has anyway: it needs no network and no key.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec

from lambent.core.errors import CallFailed
from lambent.core.invocation import Status
from lambent.core.tracing import parent_from, span_of
from lambent.runtimes import payload
from lambent.runtimes.base import Body
from lambent.wire.frames import Call, Told, read_error

Answered = tuple[Told, Body]

NOWHERE: Final = (
    "{} works inside a function that Lambent runs, and in threads that have its context: "
    "asyncio.to_thread gives it, others run contextvars.copy_context().run. "
)


class Answering(Protocol):
    """An answer that is on its way."""

    def wait(self) -> Answered:
        """Block until it is there. Raises `RuntimeError` on an event loop, which would wait for itself."""

    def __await__(self) -> Generator[Any, Any, Answered]: ...


class Caller(Protocol):
    """The way of the call that runs to others."""

    @property
    def call(self) -> Call:
        """The call itself."""

    def ask(
        self, deployment: str, body: bytes, content_type: str, *, alias: str, timeout_s: float
    ) -> Answering:
        """Send it. Raises `RuntimeError` where the call is over."""


_caller: Final[ContextVar[Caller | None]] = ContextVar("caller", default=None)


def use(caller: Caller) -> None:
    """Let `call` go by this way, in this context."""
    _caller.set(caller)


def in_use() -> Caller | None:
    """The way in this context."""
    return _caller.get()


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

    def _read(self, told: Told, body: Body) -> Any:
        if told.status is Status.OK:
            return payload.decode(told.content_type, body)
        error = read_error(bytes(body))
        raise CallFailed(self._deployment, error.error_type, error.error_message)


def call(
    deployment: str, payload_: object = None, /, *, alias: str = "", timeout_s: float | None = None
) -> Pending:
    """Invoke another deployment of the same project with `payload_`, as JSON, or as it is where it is bytes.

    Several may be under way at once; beyond a hundred they wait for their turn. The answer is its result.
    Where it failed, or did not come within `timeout_s` or the caller's own deadline, `CallFailed` is raised:
    its `kind` is the error's type, `Lambent.DeadlinePassed` for who was too late. A call that nobody waits
    for any more, since its caller has ended or was cancelled, is cancelled.

    Raises `RuntimeError` outside of a function that Lambent runs, `ValueError` for no such `timeout_s`,
    `TypeError` for names that are no text.
    """
    caller = _caller.get()
    if caller is None:
        raise RuntimeError(NOWHERE.format("lambent.call") + "Elsewhere use lambent.Client().invoke.")
    for name in (deployment, alias):
        if not isinstance(name, str):  # where none is expected, it would end the worker
            raise TypeError(f"a deployment and an alias are named by text, not by {name!r}")
    if timeout_s is not None and not 0 < timeout_s < math.inf:
        raise ValueError(f"timeout_s={timeout_s!r} is not a number of seconds above 0")
    reply = payload.encode({} if payload_ is None else payload_)
    answering = caller.ask(
        deployment, bytes(reply.body), reply.content_type, alias=alias, timeout_s=timeout_s or 0.0
    )
    return Pending(deployment, answering)


class CurrentTrace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the invocation that runs belongs, in the words of W3C Trace Context.

    `trace_id` is shared by all that one request caused; `span_id` is this invocation's own, and the parent of
    whatever it asks for; `parent_id` is who asked for it, empty where the trace begins here.
    """

    trace_id: str
    span_id: str
    parent_id: str
    traceparent: str
    tracestate: str
    is_sampled: bool

    @property
    def headers(self) -> dict[str, str]:
        """What to send along with requests to others, so that they belong to the same trace."""
        headers = {"traceparent": self.traceparent}
        if self.tracestate:
            headers["tracestate"] = self.tracestate
        return headers


def trace() -> CurrentTrace:
    """The trace of the invocation that runs; of the first one where several run as a batch.

    Raises `RuntimeError` outside of a function that Lambent runs.
    """
    caller = _caller.get()
    if caller is None:
        raise RuntimeError(NOWHERE.format("lambent.trace"))
    running = caller.call
    traceparent = parent_from(running.invocation_id, running.trace)
    return CurrentTrace(
        trace_id=traceparent[3:35],
        span_id=span_of(running.invocation_id),
        parent_id=running.trace.parent_id if running.trace else "",
        traceparent=traceparent,
        tracestate=running.trace.state if running.trace else "",
        is_sampled=bool(int(traceparent[-2:], 16) & 1),
    )
