"""What a worker runs: a runtime loads a revision into a servable, which answers requests.

A runtime is a module with `load(plan, loading) -> Served`. The table at the end says which one a plan
needs; it is imported when it is first needed, so that a worker pays for no other.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import JSON, Head
from lambent.wire.frames import Call, Form
from lambent.wire.process import RevisionPlan, Runtime

Body = bytes | bytearray


class Line(Protocol):
    """The way of a call to the server while it runs."""

    def notify(self, news: bytes) -> None:
        """Tell news of the call, as JSON. May be called from any thread."""

    def begin(self, head: Head | None = None) -> None:
        """The answer streams from here on. Raises `RuntimeError` where it does already."""

    def write(self, form: Form, piece: Body) -> None:
        """The next piece of the answer; it begins with the first. Waits while the reader is too far behind.

        Raises `Cancelled` where nobody reads any more.
        """


class Request(msgspec.Struct, frozen=True):
    """One call with its body."""

    call: Call
    body: Body


class Reply(msgspec.Struct, frozen=True):
    """What a call came to. After a stream the body is empty."""

    body: bytes | bytearray | memoryview
    content_type: str = JSON
    head: Head | None = None


STREAMED: Final = Reply(b"", "")


class Servable(Protocol):
    """A loaded revision. Raises whatever user code raises, or `Fault` where Lambda has a name for it."""

    def __call__(self, request: Request, line: Line, /) -> Reply: ...


@runtime_checkable
class Practising(Protocol):
    """A servable that can go the way of a call without running user code."""

    def practise(self, request: Request, line: Line, /) -> Reply:
        """As if `request` had been answered. Raises what a framework raises."""


@runtime_checkable
class Together(Protocol):
    """A servable that can answer several requests at once, better than one after another."""

    def together(self, requests: Sequence[Request], /) -> Sequence[Reply | BaseException]:
        """A reply, or what was raised, for each; one that is bad does not harm the others."""


class More(StrEnum):
    """Whether a piece of an answer is its last: its call may go on after it."""

    COMES = "comes"
    NONE = "none"


class AsyncLine(Protocol):
    """The way of a call to the server while it runs on an event loop."""

    async def begin(self, head: Head | None = None) -> None:
        """As `Line.begin`."""

    async def write(self, form: Form, piece: Body, *, more: More = More.COMES) -> None:
        """As `Line.write`."""

    async def read(self) -> tuple[Form, Body] | None:
        """The next piece of the request; `None` where there is no more."""


@runtime_checkable
class Concurrent(Protocol):
    """A servable that answers many calls at once, on one event loop."""

    @property
    def is_concurrent(self) -> bool:
        """Whether it must be served so: it is async, or its owner wants it."""

    async def start(self) -> None:
        """Make ready what needs a running loop. Raises what user code raises."""

    async def stop(self) -> None:
        """No more calls come."""

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """Answer one request. Raises as `Servable` does."""


# A program beside its worker is served on a loop, and in no other way.
Served = Servable | Concurrent


@runtime_checkable
class Accounting(Protocol):
    """A servable whose code runs in a process beside the worker: what it uses, its calls have used."""

    def cpu_ns(self) -> int:
        """CPU time of that process until now."""

    def rss_bytes_max(self) -> int:
        """The most memory that it has had."""


class Loading:
    """One load: the clock of the process, and how many milliseconds each named part of the load took."""

    def __init__(self, clock: Clock) -> None:
        self.clock: Final = clock
        self.parts_ms: Final[dict[str, float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure what is done inside, also when it fails."""
        started_s = self.clock.now_s()
        try:
            yield
        finally:
            self.parts_ms[name] = self.parts_ms.get(name, 0.0) + (self.clock.now_s() - started_s) * 1e3


class Loader(Protocol):
    """Makes a revision callable. Parts are `init`, importing user code, and `load`, reading a model."""

    def __call__(self, plan: RevisionPlan, loading: Loading, /) -> Served: ...


MODULES: Final[Mapping[Runtime, str]] = MappingProxyType(
    {
        Runtime.HANDLER: "lambent.runtimes.handler",
        Runtime.ASGI: "lambent.runtimes.asgi",
        Runtime.RUNTIME_API: "lambent.runtimes.runtime_api",
        Runtime.HTTP: "lambent.runtimes.http_process",
        Runtime.RUNPOD: "lambent.runtimes.runpod.worker",
        Runtime.MODEL: "lambent.runtimes.model",
        Runtime.SAGEMAKER: "lambent.runtimes.sagemaker.model",
        Runtime.TORCHSERVE: "lambent.runtimes.torchserve.model",
        Runtime.JOB: "lambent.runtimes.job",
        Runtime.DESCRIBE: "lambent.runtimes.describe",
        Runtime.PREPARE: "lambent.runtimes.prepare",
    }
)


def load(plan: RevisionPlan, loading: Loading) -> Served:
    """The revision, ready for calls. Raises what user code raises, and `Fault`."""
    loader: Loader = importlib.import_module(MODULES[plan.runtime]).load
    return loader(plan, loading)
