"""The engine of this machine: environment templates are exec'd, everything else is forked from a template.

    server ─exec→ environment template ─fork→ revision template ─fork→ worker

A revision whose template must not be forked, and one-shot work, has its workers forked from the environment
template. No method blocks: control sockets, pidfds, pipes and streams are all read by the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from lambent.clock import Clock
from lambent.core.errors import Draining, LambentError, LoadFailed, PlatformFault
from lambent.core.spec import Temperature
from lambent.engines import weights
from lambent.engines.base import LogSink, Primed, ProcessFacts, Safety, WorkerGone
from lambent.engines.environments import Environments, EnvironmentSettings
from lambent.engines.local_worker import LocalWorker, fork_worker
from lambent.engines.owed import StaysStopped
from lambent.engines.parked import PARK_AGAIN_S, Parked
from lambent.engines.probe import PROBE_TIMEOUT_S
from lambent.engines.proc import descendants_of, memory_of, total
from lambent.engines.revisions import PROVEN_MAX, TRIES_MAX, Check, Revisions, nothing_to_check
from lambent.engines.strays import Strays
from lambent.engines.template import Template, TemplateGone
from lambent.wire.frames import BODY_BYTES_MAX, Stop
from lambent.wire.process import MARK, ONE_SHOT, PROGRAMS, ChildRole, RevisionPlan

# From the killing of everything until `close` gives up: only a process stuck in the kernel lives so long.
KILL_TIMEOUT_S: Final = 10.0


class _Killed(Exception):
    """A worker was killed before it was ready: once more may help."""

    def __init__(self, failure: LoadFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure


class LocalEngine:
    """Templates and workers as processes of this machine. See `engines.base.Engine`.

    `environ` is the environment from which processes get their share; `environment_keep_s` is how long an
    environment template that nobody uses stays; `close_grace_s` what workers may take to finish at `close`.
    `check` says whether a revision's files can be used, in a thread, before they are loaded.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        log_sink: LogSink,
        environ: Mapping[str, str],
        interpreter: str = sys.executable,
        load_timeout_s: float = 300.0,
        probe_timeout_s: float = PROBE_TIMEOUT_S,
        environment_keep_s: float = 60.0,
        close_grace_s: float = 5.0,
        body_bytes_max: int = BODY_BYTES_MAX,
        check: Check = nothing_to_check,
    ) -> None:
        mark = f"{MARK}={os.urandom(8).hex()}"
        self._log_sink: Final = log_sink
        self._load_timeout_s: Final = load_timeout_s
        self._close_grace_s: Final = close_grace_s
        self._body_bytes_max: Final = body_bytes_max
        self._watched: Final[set[int]] = set()
        self._strays: Final = Strays(mark, watched=self._watched)
        settings = EnvironmentSettings(
            interpreter=interpreter,
            environ=dict(environ),
            mark=mark,
            load_timeout_s=load_timeout_s,
            keep_s=environment_keep_s,
        )
        self._environments: Final = Environments(settings, watched=self._watched, clock=clock)
        self._revisions: Final = Revisions(
            self._environments,
            watched=self._watched,
            load_timeout_s=load_timeout_s,
            probe_timeout_s=probe_timeout_s,
            log_sink=log_sink,
            clock=clock,
            check=check,
        )
        self._workers: Final[dict[str, LocalWorker]] = {}
        self._means: Final = weights.means()
        self._parked: Final = Parked(self._park, awake=self._awake)
        self._starting: Final[Counter[str]] = Counter()
        self._tried: Final[dict[str, None]] = {}  # revisions whose program was seen to start, oldest first
        self._closed = False

    async def prime(self, plan: RevisionPlan) -> Primed:
        self._check_open()
        primed = await self._primed(plan)
        if plan.runtime in PROGRAMS and plan.revision not in self._tried:
            await self._try_out(plan)
        return primed

    async def start(self, plan: RevisionPlan) -> LocalWorker:
        self._starting[plan.revision] += 1
        try:
            failure: LambentError | None = None
            for _ in range(TRIES_MAX):
                self._check_open()
                try:
                    return await self._parked_or_forked(plan)
                except _Killed as killed:
                    failure = killed.failure
                except TemplateGone:
                    failure = None
            raise failure or PlatformFault(
                f"the template of {plan.deployment} ended {TRIES_MAX} times while it was forked; try again"
            )
        finally:
            self._starting[plan.revision] -= 1
            if not self._starting[plan.revision]:
                del self._starting[plan.revision]

    def temperature(self, revision: str) -> Temperature:
        return self._revisions.temperature(revision)

    async def chill(self, revision: str, to: Temperature) -> None:
        busy = self._awake(revision) or self._revisions.priming(revision)
        # Workers die with the template that they were forked from, so it stays as long as they do.
        if not busy and to in (Temperature.COLD, Temperature.WARM):
            self._parked.drop(revision)
            await self._revisions.chill(revision, to)

    def safety(self, revision: str) -> Safety:
        return self._revisions.safety(revision)

    def census(self, only: Collection[str] | None = None) -> Sequence[ProcessFacts]:
        workers = list(
            self._workers.values()
        )  # copied in one step: this may be another thread than the loop's
        found = [
            *((one.process.pid, "environment", "", key) for key, one in self._environments.all()),
            *((template.process.pid, "template", name, ()) for name, template in self._revisions.all()),
            *((worker.pid, "parked", worker.plan.revision, ()) for worker in self._parked.all()),
            *((worker.pid, "worker", worker.plan.revision, ()) for worker in workers),
        ]
        programs = {worker.pid for worker in workers if worker.plan.runtime in PROGRAMS}
        return [
            _facts(*one, descendants_of(one[0]) if one[0] in programs else ())
            for one in found
            if only is None or one[2] in only
        ]

    async def close(self) -> None:
        self._closed = True
        for worker in self._workers.values():
            worker.tell(Stop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._close_grace_s):
                await self._workers_gone()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_TIMEOUT_S):
                await self._end_all()

    async def _primed(self, plan: RevisionPlan) -> Primed:
        primed = await self._revisions.prime(plan)
        if primed.temperature is Temperature.PRIMED:
            self._parked.keep(plan)
        return primed

    async def _try_out(self, plan: RevisionPlan) -> None:
        """Start a worker that nobody needs: no template tells if a program starts. Raises `LoadFailed`."""
        worker = await self.start(plan)
        try:
            worker.tell(Stop())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._close_grace_s):
                    await worker.exited()
        finally:
            worker.kill()
        if len(self._tried) >= PROVEN_MAX:
            del self._tried[next(iter(self._tried))]
        self._tried[plan.revision] = None

    async def _end_all(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        await self._parked.close()
        await self._revisions.close()
        await self._environments.close()
        await self._workers_gone()
        await self._strays.close()

    async def _workers_gone(self) -> None:
        for worker in list(self._workers.values()):
            await worker.exited()

    def _awake(self, revision: str) -> bool:
        return bool(self._starting[revision]) or any(
            worker.plan.revision == revision for worker in self._workers.values()
        )

    def _check_open(self) -> None:
        if self._closed:
            raise Draining("the engine is closed")

    async def _parked_or_forked(self, plan: RevisionPlan) -> LocalWorker:
        worker = self._parked.take(plan.revision)
        if worker is None:
            return await self._start(plan)
        self._workers[worker.worker_id] = worker
        worker.wake()
        try:
            return await self._greeted(worker, {})
        except WorkerGone:
            # It had died before anybody needed it, or its template has: a fork tells which.
            raise TemplateGone(plan.revision) from None

    async def _start(self, plan: RevisionPlan) -> LocalWorker:
        worker_id = f"w-{os.urandom(6).hex()}"
        try:
            parent, parts = await self._parent(plan, worker_id)
            worker = await self._fork(parent, worker_id, ChildRole.WORKER, plan, parts)
        except BaseException:
            self._environments.release(worker_id)
            raise
        self._workers[worker_id] = worker
        try:
            return await self._greeted(worker, parts)
        except WorkerGone as gone:
            # It dies with the template that it was forked from; that is no fault of the user's code.
            if self._closed or not parent.usable:
                raise TemplateGone(parent.name) from None
            death = worker.death(gone.exit)
            # Nobody's code does that to itself; where it was for want of memory, it will be so again.
            raise (_Killed(death) if gone.exit.code == -signal.SIGKILL else death) from None

    async def _greeted(self, worker: LocalWorker, parts: dict[str, float]) -> LocalWorker:
        try:
            async with asyncio.timeout(self._load_timeout_s):
                hello_parts = await worker.hello()
        except StaysStopped:
            raise TemplateGone(worker.plan.revision) from None
        except TimeoutError:
            raise worker.hung(self._load_timeout_s) from None
        worker.parts_ms = {**parts, **hello_parts}
        return worker

    async def _park(self, plan: RevisionPlan) -> LocalWorker:
        template = self._revisions.source(plan.revision)
        if template is None or self._revisions.safety(plan.revision).unsafe:
            raise TemplateGone(plan.revision)
        worker_id = f"w-{os.urandom(6).hex()}"
        return await self._fork(template, worker_id, ChildRole.PARKED, plan, {})

    async def _parent(self, plan: RevisionPlan, worker_id: str) -> tuple[Template, dict[str, float]]:
        if plan.runtime in ONE_SHOT:
            return await self._environments.acquire(plan.imports, worker_id)
        primed = await self._primed(plan)
        source = self._revisions.source(plan.revision)
        if source is None:
            raise TemplateGone(plan.revision)
        return source, dict(primed.parts_ms)

    async def _fork(
        self,
        parent: Template,
        worker_id: str,
        role: ChildRole,
        plan: RevisionPlan,
        parts: dict[str, float],
    ) -> LocalWorker:
        worker, fork_ms = await fork_worker(
            parent,
            worker_id,
            role,
            plan,
            body_bytes_max=self._body_bytes_max,
            on_chunk=functools.partial(self._log_sink.write, plan, worker_id),
        )
        parts["fork"] = parts.get("fork", 0.0) + fork_ms
        worker.on_exit(lambda: self._forget(worker))
        self._strays.patrol()
        return worker

    @property
    def weighed_by(self) -> str:
        """What weighs workers against each other here; empty where nothing can."""
        return "" if self._means is weights.Means.NONE else self._means.value

    def weigh(self, worker_id: str, nice: int) -> bool:
        """Make a worker so nice to others, 0 to 19; whether that could be done now."""
        worker = self._workers.get(worker_id)
        return worker is not None and weights.weigh(worker.pid, nice, self._means)

    def _forget(self, worker: LocalWorker) -> None:
        served = self._workers.pop(worker.worker_id, None)  # one that was parked to its end never did
        self._environments.release(worker.worker_id)
        self._strays.sweep_after(worker.pid)
        revision = worker.plan.revision
        if worker.broken_off:
            self._revisions.doubt(worker.plan)
        if served and not self._closed and self.temperature(revision) is Temperature.PRIMED:
            self._parked.keep(worker.plan, after_s=PARK_AGAIN_S)


def _facts(
    pid: int, role: str, revision: str, imports: tuple[str, ...], below: Sequence[int]
) -> ProcessFacts:
    """A process and, as one with it, what runs `below` it."""
    memory = total(memory_of(each) for each in (pid, *below))
    return ProcessFacts(
        pid=pid,
        role=role,
        revision=revision,
        pss_bytes=memory.pss_bytes,
        private_bytes=memory.private_bytes,
        shared_bytes=memory.shared_bytes,
        imports=imports,
    )
