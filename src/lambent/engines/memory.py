"""An engine without processes: user code is a Python callable and every latency is a number.

It keeps the contract of `engines/base.py` as the local engine does (one contract suite runs against both),
but sleeps only on the event loop, so that pools and dispatchers are tested in virtual time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import Draining, LoadFailed
from lambent.core.spec import MIB, Temperature
from lambent.engines.base import Exit, LogSink, Primed, ProcessFacts, Safety
from lambent.engines.endings import died_loading, hung_loading
from lambent.engines.flights import Flights
from lambent.engines.memory_worker import Dies, MemoryWorker, Program, outcome_of
from lambent.wire.process import NOT_FORKED, ONE_SHOT, PROGRAMS, RevisionPlan

FIRST_PID: Final = 1000


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that each step takes; a program's own `load` comes on top of `load_s`."""

    exec_s: float = 0.05
    import_s: float = 0.5
    load_s: float = 0.1
    fork_s: float = 0.002
    restore_s: float = 0.001
    exit_s: float = 0.001


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that uses an environment. `template_pid` is 0 where it is only warm."""

    environment: tuple[str, ...]
    template_pid: int = 0
    safety: Safety = Safety()


class MemoryEngine:
    """A node in one process: templates are entries of a table, workers are tasks.

    `script` says which program a plan runs; without one every revision echoes its input.
    """

    def __init__(
        self,
        script: Callable[[RevisionPlan], Program] | None = None,
        *,
        clock: Clock,
        latencies: Latencies | None = None,
        load_timeout_s: float = 300.0,
        log_sink: LogSink | None = None,
    ) -> None:
        self._script: Final = script or (lambda _: Program())
        self._clock: Final = clock
        self._latencies: Final = latencies or Latencies()
        self._load_timeout_s: Final = load_timeout_s
        self._log_sink: Final = log_sink
        self._environments: Final[dict[tuple[str, ...], int]] = {}
        self._revisions: Final[dict[str, _Known]] = {}
        self._found: Final[dict[str, Safety]] = {}  # told also of what is cold again
        self._workers: Final[dict[int, MemoryWorker]] = {}
        self._starting: Final[Counter[str]] = Counter()
        self._environment_flights: Final[Flights[tuple[str, ...], dict[str, float]]] = Flights()
        self._prime_flights: Final[Flights[str, Primed]] = Flights()
        self._last_pid = FIRST_PID
        self._closed = False

    async def prime(self, plan: RevisionPlan) -> Primed:
        if self._closed:
            raise Draining("the engine is closed")
        known = self._revisions.get(plan.revision)
        if known is not None and (known.template_pid or known.safety.unsafe):
            return Primed(temperature=self.temperature(plan.revision), unsafe=known.safety.unsafe)
        return await self._prime_flights.join(plan.revision, lambda: self._prime(plan))

    async def start(self, plan: RevisionPlan) -> MemoryWorker:
        self._starting[plan.revision] += 1
        try:
            return await self._start(plan)
        finally:
            self._starting[plan.revision] -= 1
            if not self._starting[plan.revision]:
                del self._starting[plan.revision]

    def temperature(self, revision: str) -> Temperature:
        known = self._revisions.get(revision)
        if known is None:
            return Temperature.COLD
        return Temperature.PRIMED if known.template_pid else Temperature.WARM

    async def chill(self, revision: str, to: Temperature) -> None:
        known = self._revisions.get(revision)
        # Workers die with the template they were forked from, so it stays as long as they do.
        alive = self._starting[revision] or any(w.plan.revision == revision for w in self._workers.values())
        if known is None or alive or to in (Temperature.PRIMED, Temperature.HOT):
            return
        if to is Temperature.WARM:
            self._revisions[revision] = msgspec.structs.replace(known, template_pid=0)
            return
        del self._revisions[revision]
        in_use = {other.environment for other in self._revisions.values()}
        in_use |= {worker.plan.imports for worker in self._workers.values()}
        if known.environment not in in_use:
            self._environments.pop(known.environment, None)

    def safety(self, revision: str) -> Safety:
        known = self._revisions.get(revision)
        return known.safety if known else self._found.get(revision, Safety())

    def census(self, only: Collection[str] | None = None) -> Sequence[ProcessFacts]:
        found = [
            *(
                _facts(pid, "environment", "", 20 * MIB, tuple(sorted(set(imports))))
                for imports, pid in self._environments.items()
            ),
            *(
                _facts(known.template_pid, "template", revision, 4 * MIB)
                for revision, known in self._revisions.items()
                if known.template_pid
            ),
            *(_facts(pid, "worker", worker.plan.revision, 2 * MIB) for pid, worker in self._workers.items()),
        ]
        return [facts for facts in found if only is None or facts.revision in only]

    async def close(self) -> None:
        self._closed = True
        await self._prime_flights.close()
        await self._environment_flights.close()
        workers = list(self._workers.values())
        for worker in workers:
            worker.kill()
        for worker in workers:
            await worker.exited()
        self._revisions.clear()
        self._environments.clear()

    def lose_template(self, revision: str) -> None:
        """For tests: the revision's template is killed from outside, and its workers die with it."""
        known = self._revisions[revision]
        self._revisions[revision] = msgspec.structs.replace(known, template_pid=0)
        for worker in list(self._workers.values()):
            if worker.plan.revision == revision:
                worker.kill()

    async def _start(self, plan: RevisionPlan) -> MemoryWorker:
        one_shot = plan.runtime in ONE_SHOT
        parts = dict(await self._environment(plan) if one_shot else (await self.prime(plan)).parts_ms)
        await self._spend("fork", self._latencies.fork_s, parts)
        if not one_shot and self._revisions[plan.revision].safety.unsafe:
            await self._load(plan, parts)
        await self._spend("restore", self._latencies.restore_s, parts)
        if self._closed:
            raise Draining("the engine closed while a worker was starting")
        worker = MemoryWorker(
            plan,
            self._script(plan),
            pid=self._next_pid(),
            parts_ms=parts,
            clock=self._clock,
            exit_s=self._latencies.exit_s,
            calls_max=1 if one_shot else None,
            log_sink=self._log_sink,
            on_exit=self._workers.pop,
        )
        self._workers[worker.pid] = worker
        return worker

    async def _prime(self, plan: RevisionPlan) -> Primed:
        parts = dict(await self._environment(plan))
        program = self._script(plan)
        await self._spend("fork", self._latencies.fork_s, parts)
        await self._load(plan, parts)
        found = (NOT_FORKED,) if plan.runtime in PROGRAMS else program.unsafe
        safety = Safety(overruled=found) if plan.unsafe_allowed else Safety(unsafe=found)
        self._found[plan.revision] = safety
        self._revisions[plan.revision] = _Known(
            environment=plan.imports,
            template_pid=0 if safety.unsafe else self._next_pid(),
            safety=safety,
        )
        return Primed(temperature=self.temperature(plan.revision), unsafe=safety.unsafe, parts_ms=parts)

    async def _environment(self, plan: RevisionPlan) -> dict[str, float]:
        if self._closed:
            raise Draining("the engine is closed")
        if plan.imports in self._environments:
            return {}
        return await self._environment_flights.join(plan.imports, lambda: self._import(plan.imports))

    async def _import(self, imports: tuple[str, ...]) -> dict[str, float]:
        parts: dict[str, float] = {}
        await self._spend("exec", self._latencies.exec_s, parts)
        await self._spend("import", self._latencies.import_s, parts)
        self._environments[imports] = self._next_pid()
        return parts

    async def _load(self, plan: RevisionPlan, parts: dict[str, float]) -> None:
        started_s = self._clock.now_s()
        limit = asyncio.timeout(self._load_timeout_s)
        try:
            async with limit:
                await asyncio.sleep(self._latencies.load_s)
                await outcome_of(self._script(plan).load)
        except Dies as death:
            raise died_loading(
                plan.deployment, Exit(code=death.code, cpu_us=0, rss_bytes_max=0), b""
            ) from None
        except Exception as error:
            if limit.expired():
                raise hung_loading(plan.deployment, self._load_timeout_s, b"") from None
            raise LoadFailed(str(error), kind=type(error).__name__) from error
        parts["load"] = (self._clock.now_s() - started_s) * 1000

    async def _spend(self, part: str, seconds: float, parts: dict[str, float]) -> None:
        await asyncio.sleep(seconds)
        parts[part] = parts.get(part, 0.0) + seconds * 1000

    def _next_pid(self) -> int:
        self._last_pid += 1
        return self._last_pid


def _facts(
    pid: int, role: str, revision: str, size_bytes: int, imports: tuple[str, ...] = ()
) -> ProcessFacts:
    return ProcessFacts(
        pid=pid,
        role=role,
        revision=revision,
        pss_bytes=size_bytes,
        private_bytes=size_bytes,
        imports=imports,
    )
