"""The protocol of an engine: one node's supply of templates and workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from lambent.core.spec import Temperature
from lambent.wire.frames import Answer, Batch, Call, FromCall, Stop, ToCall
from lambent.wire.process import RevisionPlan

# Hears what a call says before its answer. It may not wait, and what it raises is a bug.
Hears = Callable[[FromCall, bytes], None]

TAIL_BYTES: Final = 4096  # of what a worker printed, as `Worker.printed` tells it


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended. `code` is negative for a signal, `None` where nobody could tell."""

    code: int | None
    cpu_us: int
    rss_bytes_max: int


class WorkerGone(Exception):
    """The worker ended before it answered.

    `unread`: it is certain that it had not taken the call, so that another worker may run it.
    """

    def __init__(self, how: Exit, *, unread: bool = False) -> None:
        super().__init__(f"the worker ended with {how.code}")
        self.exit = how
        self.unread = unread


class Safety(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a revision's template may be forked, one sentence for each reason that speaks against it.

    `unsafe` are those for which it is not; `overruled` those in spite of which it is, since its owner allowed
    that and a fork of it was seen to serve. Both are empty where nothing was found, or nobody has looked yet.
    """

    unsafe: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()


class Primed(msgspec.Struct, frozen=True, kw_only=True):
    """What priming reached: a temperature, why it went no further, and the milliseconds of each part."""

    temperature: Temperature
    unsafe: tuple[str, ...] = ()
    parts_ms: dict[str, float] = {}


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One process as the operator sees it. `revision` is empty for an environment template.

    `imports` is what an environment template has imported, sorted, and empty for the others. `pss_bytes` is
    the proportional share of memory, `private_bytes` what only this process maps.
    """

    pid: int
    role: str  # environment | template | parked | worker
    revision: str
    pss_bytes: int
    private_bytes: int
    shared_bytes: int = 0  # what others map as well, in full; 0 where that is not known
    imports: tuple[str, ...] = ()


class Worker(Protocol):
    """A live worker. Calls may overlap only up to the revision's concurrency; the caller counts."""

    @property
    def worker_id(self) -> str:
        """Unique among the workers of this engine."""

    @property
    def parts_ms(self) -> Mapping[str, float]:
        """The parts of the wake that made this worker: exec, import, fork, load, restore."""

    def call(
        self, call: Call | Batch, body: bytes, hears: Hears | None = None
    ) -> Awaitable[tuple[Answer, bytes]]:
        """Send one call, and wait for its answer. Both raise `WorkerGone`. It never times out by itself.

        A caller that is cancelled leaves the call running: its answer will be thrown away, and the worker
        takes the next call after it. Who does not want to wait for that kills the worker.
        """

    def tell(self, header: ToCall | Stop, body: bytes = b"") -> None:
        """Say something to a call that was made, or ask the worker to finish what runs and exit.

        What comes too late is not said. A call that is cancelled is answered soon where user code lets it.
        """

    def printed(self) -> bytes:
        """The last `TAIL_BYTES` that the process printed since the current or last call began."""

    def kill(self) -> None:
        """End it and every process it started, now. Harmless when it is gone."""

    async def exited(self) -> Exit:
        """Wait until the process has been reaped. May be awaited by many."""


class LogSink(Protocol):
    """Where the output of user code goes."""

    def write(self, plan: RevisionPlan, worker_id: str, chunk: bytes) -> None:
        """Take what a worker or template printed; never blocks, never raises for a full disk.

        An empty chunk says that it will print no more.
        """


class Engine(Protocol):
    """Templates and workers of one node.

    Methods may run concurrently for one revision; each is safe to cancel. Once it closes they raise
    `Draining`.
    """

    async def prime(self, plan: RevisionPlan) -> Primed:
        """Bring the revision as far as `primed` and say how far it came. Raises `LoadFailed`. Idempotent."""

    async def start(self, plan: RevisionPlan) -> Worker:
        """A worker that has said hello, forked from the readiest template; starts what templates it needs.

        A primed revision may keep a worker parked: forked ahead of its need, used once, restored when it is
        needed and not before, gone with its template. Raises `LoadFailed`. For one-shot runtimes (describe,
        prepare, job) it forks from the environment template.
        """

    def temperature(self, revision: str) -> Temperature:
        """The readiest template of this revision: cold, warm or primed. Workers are the pool's to count."""

    async def chill(self, revision: str, to: Temperature) -> None:
        """Let templates of the revision go, down to `to`.

        Workers die with their template, so nothing happens while one lives or starts.
        """

    def safety(self, revision: str) -> Safety:
        """What speaks against forking the revision's template."""

    def census(self, only: Collection[str] | None = None) -> Sequence[ProcessFacts]:
        """Every process of this engine, or those of some revisions, with its memory as the kernel counts it.

        Blocks for a millisecond or so a process; may be called from any thread.
        """

    async def close(self) -> None:
        """End all processes and wait for them."""
