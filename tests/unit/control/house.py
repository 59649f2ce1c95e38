"""The control API over a real store, real artifacts and the engine without processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lambent.clock import SystemClock
from lambent.control.activation import Activation
from lambent.control.aliases import Aliasing
from lambent.control.api import control_app
from lambent.control.deployments import Deployments
from lambent.control.doctor import Doctor
from lambent.control.drafting import Drafting
from lambent.control.holding import Names
from lambent.control.oneshots import OneShots
from lambent.control.registry import Registry
from lambent.control.uploads import Uploads
from lambent.control.verbs.aliases import AliasVerbs
from lambent.control.verbs.deployments import DeploymentVerbs
from lambent.control.verbs.house import HouseVerbs
from lambent.control.verbs.models import ModelVerbs
from lambent.control.verbs.runs import RunVerbs
from lambent.control.views import Views
from lambent.core.invocation import Principal, Role
from lambent.core.policies.base import PolicyName
from lambent.core.running import PLAIN, RunTerms
from lambent.core.spec import MIB, Kind, Param
from lambent.engines.memory import Latencies, MemoryEngine
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.gateway.auth import Keys
from lambent.gateway.requests import Receive, Scope, Send
from lambent.pool.pool import Pool
from lambent.pool.routes import Routes
from lambent.pool.thermostat import Standing
from lambent.pool.trials import Trials
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.base import Run, RunState
from lambent.storage.sql import SqlStore
from lambent.wire.api import Declaration, DeployRequest, UsageLine, UsageView
from lambent.wire.oneshot import SERVING_FILE, Description, PrepareCall, Prepared, Serving
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.tars import tar_of
from tests.unit.gateway.asgi import Response, request

PROJECT = "default"
AT_ONCE = Latencies(exec_s=0, import_s=0, load_s=0, fork_s=0, restore_s=0, exit_s=0)
UPLOAD_BYTES_MAX = 100_000
STANDING = Standing(
    policy=PolicyName.ECONOMIC,
    budget_bytes=MIB,
    used_bytes=4 * MIB,
    over_bytes=3 * MIB - 1,
    largest_bytes=0,
    price=0.5,
)


def declared(name: str, kind: Kind = Kind.FUNCTION, **more: Any) -> Declaration:
    """What a file declares."""
    return Declaration(name=name, kind=kind, entrypoint=f"app:{name}", **more)


class Loads:
    """What happens when a file is imported or a revision is loaded, by the content of the file."""

    def __init__(self) -> None:
        self.describes: dict[bytes, list[Declaration] | BaseException] = {}
        self.load_fails: dict[str, Exception] = {}
        self.loaded: list[str] = []
        self.waiting: asyncio.Event | None = None
        self.describing = asyncio.Event()
        self.loading = asyncio.Event()
        self.load_waiting: asyncio.Event | None = None

    def program(self, plan: RevisionPlan) -> Program:
        if plan.runtime is Runtime.DESCRIBE:
            return Program(run=lambda body, scene: self._describe(plan, scene))
        if plan.runtime is Runtime.PREPARE:
            return Program(run=lambda body, scene: self._prepare(plan, body))
        return Program(load=lambda: self._load(plan))

    async def _describe(self, plan: RevisionPlan, scene: Scene) -> bytes:
        self.describing.set()
        if self.waiting is not None:
            await self.waiting.wait()
        content = (Path(plan.code_dir) / plan.entrypoint.partition(":")[0]).read_bytes()
        found = self.describes.get(content, [declared("hello")])
        if isinstance(found, Dies):
            scene.print(b"about to end\n")
        if isinstance(found, BaseException):
            raise found
        return msgspec.json.encode(Description(tuple(found), imports=("numpy",)))

    async def _prepare(self, plan: RevisionPlan, body: bytes) -> bytes:
        asked = msgspec.json.decode(body, type=PrepareCall)
        source, target = Path(plan.model_dir) / asked.file, Path(plan.work_dir) / asked.file
        if source.read_bytes() == b"damaged":
            raise ValueError("not a model")
        target.write_bytes(source.read_bytes())
        serving = Serving(
            adapter="onnx",
            file=asked.file,
            served_by="onnx",
            served_file=asked.file,
            imports=("onnxruntime",),
        )
        if source.read_bytes() == b"unknown":
            return msgspec.json.encode(Prepared(None, 1))
        (Path(plan.work_dir) / SERVING_FILE).parent.mkdir()
        (Path(plan.work_dir) / SERVING_FILE).write_bytes(msgspec.json.encode(serving))
        return msgspec.json.encode(Prepared(serving, 2))

    async def _load(self, plan: RevisionPlan) -> None:
        self.loaded.append(plan.deployment)
        self.loading.set()
        if self.load_waiting is not None:
            await self.load_waiting.wait()
        if error := self.load_fails.get(plan.deployment):
            raise error


class Runner:
    """Starts nothing, and remembers what it was asked to."""

    def __init__(self) -> None:
        self.started: list[tuple[str, Mapping[str, Param], RunTerms]] = []
        self.asked: list[tuple[str, str]] = []

    async def start(
        self, project: str, job: str, params: Mapping[str, Param], *, terms: RunTerms = PLAIN
    ) -> Run:
        self.started.append((job, params, terms))
        return self._run(project, job)

    async def cancel(self, project: str, run: str) -> Run:
        self.asked.append(("cancel", run))
        return self._run(project, "fit")

    async def retry(self, project: str, run: str, *, max_cost_usd: float | None = None) -> Run:
        self.asked.append(("retry", run))
        return self._run(project, "fit")

    def now(self, run: Run) -> Run:
        return run

    def _run(self, project: str, job: str) -> Run:
        return Run(
            id="r1", project=project, job=job, for_deployment="", state=RunState.RUNNING, created_unix_ms=5
        )


class Logs:
    """Two lines of every deployment."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def tail(self, _: str, name: str, lines: int) -> list[str]:
        return [f"{name} 1", f"{name} 2"][-lines:] if lines else []

    async def follow(self, project: str, name: str, from_lines: int) -> AsyncIterator[str]:
        for line in self.tail(project, name, from_lines):
            yield line
        yield "later"

    def forget(self, _: str, name: str) -> None:
        self.forgotten.append(name)


class Statements:
    """An empty bill."""

    def end_unix_ms(self, _: str) -> int:
        return 0

    def usage(self, project: str, *, since_unix_ms: int, until_unix_ms: int) -> UsageView:
        total = UsageLine(
            deployment=project,
            invocations=0,
            failed=0,
            cold_starts=0,
            billed_ms=0,
            gb_s=0,
            cpu_s=0,
            cost_usd={},
        )
        return UsageView(
            since_unix_ms=since_unix_ms,
            until_unix_ms=until_unix_ms,
            lines=(),
            total=total,
            torn_records=0,
            plans={},
        )


class House:
    """All parts of the control API, put together as the server does it."""

    def __init__(self, folder: Path, tasks: asyncio.TaskGroup, *, oneshot_s: float) -> None:
        self.clock = SystemClock()
        self.store = SqlStore.open(folder / "lambent.db", self.clock)
        self.artifacts = FileArtifacts.open(folder / "artifacts")
        self.loads = Loads()
        self.routes = Routes()
        self.engine = MemoryEngine(self.loads.program, clock=self.clock, latencies=AT_ONCE)
        self.pool = Pool(self.engine, self.routes, self.clock, tasks)
        self.logs = Logs()
        self.runner = Runner()
        self.keys = Keys(self.store.keys, b"m" * 32, self.clock)
        oneshots = OneShots(self.engine, timeout_s=oneshot_s)
        self.registry = Registry(self.store.models, self.artifacts, oneshots, folder / "work")
        self.drafting = Drafting(
            artifacts=self.artifacts, registry=self.registry, routes=self.routes, oneshots=oneshots
        )
        self.names = Names()
        self.trials = Trials(self.clock)
        self.activation = self.new_activation(self.routes, self.trials)
        self.deployments = self.new_deployments(self.activation)
        self.aliasing = Aliasing(
            store=self.store.deployments,
            aliases=self.store.aliases,
            activation=self.activation,
            routes=self.routes,
            trials=self.trials,
            names=self.names,
            clock=self.clock,
            tasks=tasks,
        )
        self.work_dir = folder / "work"
        views = Views(self.pool, lambda project, name: 0, lambda revision: "nobody needs its memory")
        doctor = Doctor(
            state_dir=folder,
            pool=self.pool,
            routes=self.routes,
            ping_store=self.store.deployments.all,
            troubles={"usage": lambda: ""},
            standing=lambda: STANDING,
        )
        self.operations = (
            *DeploymentVerbs(
                self.deployments,
                self.aliasing,
                Uploads(self.artifacts, self.work_dir, size_bytes_max=UPLOAD_BYTES_MAX),
                views,
                self.logs,
            ).operations(),
            *AliasVerbs(self.aliasing).operations(),
            *RunVerbs(self.runner, self.store.runs).operations(),
            *ModelVerbs(self.registry, self.deployments).operations(),
            *self._house_verbs(views, doctor).operations(),
        )
        self.app = control_app(self.operations, version="1.2.3")

    def _house_verbs(self, views: Views, doctor: Doctor) -> HouseVerbs:
        return HouseVerbs(
            keys=self.keys,
            statements=Statements(),
            views=views,
            routes=self.routes,
            doctor=doctor,
            clock=self.clock,
        )

    def new_activation(self, routes: Routes, trials: Trials) -> Activation:
        """Another one on the same store, as after a restart."""
        return Activation(
            store=self.store.deployments,
            aliases=self.store.aliases,
            artifacts=self.artifacts,
            routes=routes,
            trials=trials,
            engine=self.engine,
            clock=self.clock,
        )

    def new_deployments(self, activation: Activation) -> Deployments:
        """Another one on the same store, as after a restart."""
        return Deployments(
            store=self.store.deployments,
            drafting=self.drafting,
            registry=self.registry,
            activation=activation,
            names=self.names,
            forget=self.logs.forget,
        )

    def artifact(self, files: Mapping[str, bytes]) -> str:
        """Store files and return the digest."""
        from io import BytesIO

        facts = self.artifacts.ingest_archive(BytesIO(tar_of(files)), size_bytes_max=1_000_000)
        return facts.digest

    def code(self, content: bytes, *declarations: Declaration) -> DeployRequest:
        """A request to deploy an app.py that declares this."""
        if declarations:
            self.loads.describes[content] = list(declarations)
        return DeployRequest(artifact=self.artifact({"app.py": content}), target="app.py")

    def model(self, content: bytes, **more: Any) -> DeployRequest:
        """A request to deploy a model file."""
        return DeployRequest(artifact=self.artifact({"Net_1.onnx": content}), target="Net_1.onnx", **more)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        role: Role = Role.ADMIN,
        project: str = PROJECT,
        until: asyncio.Event | None = None,
    ) -> Response:
        """One request to the API, from a key with this role. The client leaves when `until` is set."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["lambent.principal"] = Principal(project, "k", role)
            await self.app(scope, receive, send)

        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        return await request(app, method, "/api/v1" + path, raw, {"host": "lambent.test:8700"}, until=until)


class _Over(Exception):
    """Ends the house's tasks."""


def play(
    folder: Path,
    story: Callable[[House], Coroutine[Any, Any, None] | Awaitable[None]],
    *,
    oneshot_s: float = 5,
) -> None:
    """Run a story in a house of its own."""

    async def run() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                house = House(folder, tasks, oneshot_s=oneshot_s)
                try:
                    await story(house)
                finally:
                    await house.engine.close()
                    house.store.close()
                raise _Over
        except* _Over:
            pass

    asyncio.run(run())
