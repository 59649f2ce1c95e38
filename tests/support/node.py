"""A node without processes: pool, autoscaler and dispatcher over the memory engine, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from lambent.core.invocation import Invocation, new_id
from lambent.core.policies.base import PolicyName
from lambent.core.routing import Split
from lambent.core.spec import DeploymentSpec, Keep, Kind
from lambent.engines.base import ProcessFacts
from lambent.engines.memory import MemoryEngine
from lambent.engines.memory_worker import Program
from lambent.gateway.dispatcher import Dispatcher
from lambent.metering.journal import UsageRecord
from lambent.pool.autoscaler import Autoscaler
from lambent.pool.pool import Pool
from lambent.pool.routes import Arrangement, Route, Routes
from lambent.pool.thermostat import Thermostat
from lambent.pool.trials import Trials
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import VirtualClock

PROJECT = "default"
TICK_S = 0.25
BUDGET_BYTES = 2**40  # more than any test uses


class NoTraining:
    """A model maker that remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ensure(self, route: Route) -> None:
        self.asked.append(route.name)


class Node:
    """What a test holds in its hand."""

    def __init__(
        self,
        script: Callable[[RevisionPlan], Program],
        tasks: asyncio.TaskGroup,
        budget_bytes: int,
        policy: PolicyName,
    ) -> None:
        self.tasks = tasks
        self.clock = VirtualClock()
        self.routes = Routes()
        self.engine = MemoryEngine(script, clock=self.clock)
        self.pool = Pool(self.engine, self.routes, self.clock, tasks)
        self.training = NoTraining()
        self.trials = Trials(self.clock)
        self.usage: list[UsageRecord] = []
        self.dispatcher = Dispatcher(
            self.pool, self.routes, self.clock,
            models=self.training, meter=self.usage.append, training_hold_s=900, tasks=tasks,
            witness=self.trials,
        )  # fmt: skip
        self.pool.listen(self.dispatcher)
        self.thermostat = Thermostat(
            self.pool, self.routes, self.clock,
            budget_bytes=budget_bytes, policy=policy, census=self._census,
        )  # fmt: skip
        self.autoscaler = Autoscaler(self.pool, self.routes, self.clock, room=self.thermostat, tick_s=TICK_S)

    async def _census(self) -> Sequence[ProcessFacts]:
        """Virtual time has no threads."""
        return self.engine.census()

    def deploy(
        self, name: str = "f", *, revision: str = "", needs_model: bool = False, **settings: float | Keep
    ) -> Route:
        """Route `name` to a revision."""
        route = self.route(name, revision=revision, needs_model=needs_model, **settings)
        self.routes.put(route)
        return route

    def route(
        self, name: str = "f", *, revision: str = "", needs_model: bool = False, **settings: float | Keep
    ) -> Route:
        """A route that nobody knows yet."""
        spec = DeploymentSpec(name=name, kind=Kind.FUNCTION, entrypoint="app:f")
        spec = msgspec.structs.replace(spec, **settings)
        plan = RevisionPlan(
            revision=revision or f"{name}-1",
            deployment=name,
            project=PROJECT,
            number=1,
            runtime=Runtime.HANDLER,
            timeout_s=spec.timeout_s,
            memory_bytes=spec.memory_bytes,
            concurrency=spec.concurrency,
        )
        return Route(project=PROJECT, name=name, spec=spec, plan=plan, needs_model=needs_model)

    def arrange(self, active: str, splits: dict[str, Split], *beside: str, **settings: Any) -> None:
        """Let a revision of `f` answer, and others beside it by alias."""
        others = [self.route(revision=one, **settings) for one in beside]
        self.routes.arrange(
            Arrangement(
                self.route(revision=active, **settings),
                tuple(msgspec.structs.replace(one, beside=True) for one in others),
                splits,
            )
        )

    def invocation(
        self, name: str = "f", body: bytes = b"{}", *, alias: str = "", sticky: str = ""
    ) -> Invocation:
        return Invocation(
            id=new_id(), project=PROJECT, deployment=name, body=body, alias=alias, sticky=sticky
        )

    def workers(self, revision: str = "f-1") -> int:
        crew = self.pool.crew(revision)
        return len(crew.members) if crew else 0


class _Over(Exception):
    """Ends the node's tasks."""


@asynccontextmanager
async def node(
    script: Callable[[RevisionPlan], Program] | None = None,
    *,
    budget_bytes: int = BUDGET_BYTES,
    policy: PolicyName = PolicyName.ECONOMIC,
) -> AsyncIterator[Node]:
    """A running node; every task of it ends with the block."""
    try:
        async with asyncio.TaskGroup() as tasks:
            made = Node(script or (lambda _: Program()), tasks, budget_bytes, policy)
            tasks.create_task(made.autoscaler.run())
            tasks.create_task(made.thermostat.run())
            yield made
            await made.engine.close()
            raise _Over
    except* _Over:
        pass
