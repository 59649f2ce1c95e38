"""A runner over the engine without processes, with a real store, real artifacts and real arenas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from lambent.clock import SystemClock
from lambent.core.errors import LoadFailed, NotFound
from lambent.core.running import PLAIN, Room, RunTerms
from lambent.core.slicing import FINAL
from lambent.core.spec import Kind, new_spec
from lambent.engines.memory import Latencies, MemoryEngine
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.asking import Asking, Invoke
from lambent.jobs.arenas import Arenas
from lambent.jobs.curves import Curves
from lambent.jobs.datasets import HeldDatasets
from lambent.jobs.recorder import Recorder
from lambent.jobs.runner import Runner
from lambent.metering.journal import UsageRecord
from lambent.pool.routes import Route, Routes
from lambent.runtimes.checkpoints import Checkpoints, Yielded
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.base import Model, Run
from lambent.storage.logs import DeploymentLogs
from lambent.storage.run_records import RunRecords
from lambent.storage.sql import SqlStore
from lambent.storage.transforms import TransformCache
from lambent.wire.frames import Progress
from lambent.wire.oneshot import JobCall, JobResult, News
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.patience import PATIENT_S

AT_ONCE = Latencies(exec_s=0, import_s=0, load_s=0, fork_s=0, restore_s=0, exit_s=0)
PROJECT = "default"
Job = Callable[[JobCall, Scene], JobResult]
T = TypeVar("T")


class House:
    """What a runner needs. `opened` is a server's life; there may be several one after the other."""

    def __init__(self, folder: Path, *, places: int = 4) -> None:
        self.store = SqlStore.open(folder / "lambent.db", SystemClock())
        self.folder = folder
        self.room = Room(places, 1 << 30)
        self.routes = Routes()
        self.records = RunRecords(folder / "records")
        self.logs = DeploymentLogs(folder / "logs", SystemClock())
        self.programs: dict[str, Program] = {}
        self.pinned: dict[str, Route] = {}
        self.usage: list[UsageRecord] = []
        self.promoted: list[Model] = []
        self.promotion_fails = False
        self.load_fails: LoadFailed | None = None
        self.ended: dict[str, asyncio.Future[Run]] = {}

    async def promote(self, _: str, __: str, model: Model) -> None:
        if self.promotion_fails:
            raise LoadFailed("the model does not load")
        self.promoted.append(model)

    def _program(self, plan: RevisionPlan) -> Program:
        if self.load_fails:
            raise self.load_fails
        return self.programs[plan.revision]

    def deploy(self, name: str, program: Program, revision: str = "", **settings: object) -> Route:
        """A job of this name, which runs the program."""
        spec = msgspec.structs.replace(new_spec(name, Kind.JOB), **{"retry_first_s": 0.01, **settings})
        plan = RevisionPlan(
            revision=revision or f"r-{name}", deployment=name, project=PROJECT, number=1, runtime=Runtime.JOB
        )
        route = Route(project=PROJECT, name=name, spec=spec, plan=plan)
        self.routes.put(route)
        self.pinned[plan.revision] = route
        self.programs[plan.revision] = program
        return route

    @asynccontextmanager
    async def opened(self, invoke: Invoke | None = None) -> AsyncIterator[Runner]:
        """A runner that has taken up what the one before it left, and is gone at the end as if killed."""

        def pin(revision: str) -> Route:
            if revision not in self.pinned:
                raise NotFound(f"no revision {revision!r}")
            return self.pinned[revision]

        class Killed(Exception):
            pass

        clock, artifacts = SystemClock(), FileArtifacts.open(self.folder)
        try:
            async with asyncio.TaskGroup() as tasks:
                self.curves = Curves(self.records, clock, tasks)
                engine = MemoryEngine(self._program, clock=clock, latencies=AT_ONCE)
                runner = Runner(
                    engine, self.routes, clock, tasks,
                    runs=self.store.runs, models=self.store.models, artifacts=artifacts,
                    runs_dir=self.folder / "runs", promote=self.promote, meter=self.usage.append,
                    datasets=HeldDatasets(
                        self.store.datasets, artifacts,
                        TransformCache(self.folder / "transforms", bytes_max=1 << 30),
                    ),
                    arenas=Arenas(self.folder, self.folder / "runs", clock, memory=self.folder),
                    pinned=pin, room=self.room,
                    recorder=Recorder(self.curves, self.records, self.logs, saved_bytes_max=1 << 20),
                )  # fmt: skip
                if invoke is not None:
                    runner.listen(Asking(invoke, clock, tasks))
                await runner.restore()
                yield runner
                raise Killed
        except* Killed:
            pass

    async def start(
        self, runner: Runner, job: str = "fit", params: Mapping[str, object] | None = None,
        terms: RunTerms = PLAIN,
    ) -> Run:  # fmt: skip
        """A run whose end can be waited for with `end_of`."""
        ended: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        run = await runner.start(PROJECT, job, params or {}, terms=terms, on_end=ended.set_result)
        self.ended[run.id] = ended
        return run

    async def end_of(self, run: Run) -> Run:
        """How it ended."""
        async with asyncio.timeout(PATIENT_S):
            return await self.ended[run.id]

    async def until(self, runner: Runner, run: Run, true: Callable[[Run], bool]) -> Run:
        """The run as soon as that is true of it. Nobody tells of what goes on in between."""
        async with asyncio.timeout(PATIENT_S):
            while True:
                found = runner.now(self.store.runs.find(run.id) or run)
                if true(found):
                    return found
                await asyncio.sleep(0.005)

    async def stored(self, run: Run, state: str) -> Run:
        """The run as the next server will find it, once it is stored in this state."""
        async with asyncio.timeout(PATIENT_S):
            while True:
                found = self.store.runs.find(run.id)
                if found is not None and found.state == state:
                    return found
                await asyncio.sleep(0.005)

    def run(
        self,
        program: Program,
        *,
        terms: RunTerms = PLAIN,
        invoke: Invoke | None = None,
        **settings: object,
    ) -> Run:
        """One run, seen to its end."""

        async def story() -> Run:
            self.deploy("fit", program, **settings)
            async with self.opened(invoke) as runner:
                end = await self.end_of(await self.start(runner, terms=terms))
                return await self.until(runner, end, lambda found: found.state in FINAL)

        return asyncio.run(story())


def job(work: Job) -> Program:
    return Program(
        run=lambda body, scene: msgspec.json.encode(work(msgspec.json.decode(body, type=JobCall), scene))
    )


def slowly(work: Callable[[JobCall, Scene], Awaitable[JobResult]]) -> Program:
    """The same for a job that waits."""

    async def run(body: bytes, scene: Scene) -> bytes:
        return msgspec.json.encode(await work(msgspec.json.decode(body, type=JobCall), scene))

    return Program(run=run)


def says(scene: Scene, news: News) -> None:
    scene.say(Progress(scene.call.call_id), msgspec.json.encode(news))


def checkpoints(call: JobCall) -> Checkpoints:
    """Those of a worker."""
    return Checkpoints(Path(call.arena), SystemClock())


def commits(found: Checkpoints, state: object, step: int) -> bool:
    """Whether the slice goes on after the commit."""
    try:
        found.commit(state, step)
    except Yielded:
        return False
    return True
