"""What a worker runs: a runtime loads a revision into a servable, which answers requests.

A runtime is a module with `load(plan, loading) -> Servable`. The table at the end says which one a plan
needs; it is imported when it is first needed, so that a worker pays for no other.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import JSON
from lambent.wire.frames import Call
from lambent.wire.process import RevisionPlan, Runtime

Body = bytes | bytearray


class Request(msgspec.Struct, frozen=True):
    """One call with its body. `notify` tells the server news of the call, as JSON, while it runs."""

    call: Call
    body: Body
    notify: Callable[[bytes], None]


class Reply(msgspec.Struct, frozen=True):
    """What a call came to."""

    body: bytes | bytearray | memoryview
    content_type: str = JSON


class Servable(Protocol):
    """A loaded revision. Raises whatever user code raises, or `Fault` where Lambda has a name for it."""

    def __call__(self, request: Request, /) -> Reply: ...


@runtime_checkable
class Practising(Protocol):
    """A servable that can go the way of a call without running user code."""

    def practise(self, request: Request, /) -> Reply:
        """As if `request` had been answered. Raises what a framework raises."""


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

    def __call__(self, plan: RevisionPlan, loading: Loading, /) -> Servable: ...


MODULES: Final[Mapping[Runtime, str]] = MappingProxyType(
    {
        Runtime.HANDLER: "lambent.runtimes.handler",
        Runtime.MODEL: "lambent.runtimes.model",
        Runtime.JOB: "lambent.runtimes.job",
        Runtime.DESCRIBE: "lambent.runtimes.describe",
        Runtime.PREPARE: "lambent.runtimes.prepare",
    }
)


def load(plan: RevisionPlan, loading: Loading) -> Servable:
    """The revision, ready for calls. Raises what user code raises, and `Fault`."""
    loader: Loader = importlib.import_module(MODULES[plan.runtime]).load
    return loader(plan, loading)
