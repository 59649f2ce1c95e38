"""The parts of a server that live in the event loop, made in the order in which they need one another."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Final

from lambent import settings as settings_of
from lambent.bindings.moves import Moves
from lambent.bindings.queues import Queues
from lambent.clock import SystemClock
from lambent.control.activation import Activation
from lambent.control.aliases import Aliasing
from lambent.control.aws.event_invoke import USUAL
from lambent.control.aws.state import OF_FUNCTIONS
from lambent.control.deployments import Deployments
from lambent.control.drafting import Drafting
from lambent.control.holding import Names
from lambent.control.oneshots import OneShots
from lambent.control.registry import Registry
from lambent.core.naming import counted_as
from lambent.core.running import Room, RunTerms
from lambent.engines.local import LocalEngine
from lambent.engines.machine import memory_bytes
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.asking import Asking
from lambent.gateway.auth import Keys
from lambent.gateway.deferred import Deferred
from lambent.gateway.dispatcher import Dispatcher
from lambent.gateway.protocols.openai.tuning import KIND as FINE_TUNING
from lambent.gateway.reports import Reports
from lambent.gateway.reserved import Reserved
from lambent.gateway.witness import Both, Witness
from lambent.jobs.arenas import Arenas
from lambent.jobs.curves import Curves
from lambent.jobs.datasets import HeldDatasets
from lambent.jobs.drifting import Drifting
from lambent.jobs.forgetting import Forgetting
from lambent.jobs.queue import AsyncQueue
from lambent.jobs.recorder import Recorder
from lambent.jobs.runner import Runner
from lambent.jobs.training import Training
from lambent.jobs.webhooks import Webhooks
from lambent.kept import Kept
from lambent.metering.journal import UsageRecord
from lambent.observe.metrics import Metrics
from lambent.pool.autoscaler import Autoscaler
from lambent.pool.function_urls import FunctionUrls
from lambent.pool.handlings import Handlings
from lambent.pool.notebook import Notebook
from lambent.pool.pool import Pool
from lambent.pool.reservations import Reservations
from lambent.pool.routes import Routes
from lambent.pool.sharing import Weigher
from lambent.pool.thermostat import Thermostat
from lambent.pool.trials import Trials
from lambent.settings import BUDGET_SHARE, Settings
from lambent.storage.inspection import check_files
from lambent.triggers.sources import Sources
from lambent.triggers.timers import KIND as TIMERS
from lambent.triggers.timers import Timers
from lambent.wire.openai.tuning import job_id
from lambent.wiring.telemetry import Exporters

# Of the machine, for runs of jobs: what they were seen to use is kept free for them.
RUNS_SHARE: Final = 0.8
PLACES_MIN: Final = 4  # runs at once, on a machine of one core


class Parts:
    """What a server is made of. Nothing runs yet."""

    def __init__(self, settings: Settings, kept: Kept, clock: SystemClock, tasks: asyncio.TaskGroup) -> None:
        self.settings = settings
        self.kept = kept
        self.metrics = Metrics()
        self.routes = Routes()
        self.function_urls = FunctionUrls()
        self.reservations = Reservations()
        self.handlings = Handlings(USUAL)
        self._node(clock, tasks)
        self.oneshots = OneShots(self.engine, timeout_s=settings.load_timeout_s)
        self.registry = Registry(kept.store.models, kept.artifacts, self.oneshots, kept.work_dir)
        self.trials = Trials(clock)
        self.activation = Activation(
            store=kept.store.deployments, aliases=kept.store.aliases, artifacts=kept.artifacts,
            routes=self.routes, trials=self.trials, engine=self.engine, clock=clock,
        )  # fmt: skip
        self.tasks = tasks
        self.names = names = Names()
        self.deployments = self._deployments(names)
        self.aliasing = Aliasing(
            store=kept.store.deployments, aliases=kept.store.aliases, activation=self.activation,
            routes=self.routes, trials=self.trials, names=names, clock=clock, tasks=tasks,
        )  # fmt: skip
        self.runner = self._runner(clock)
        self.training = Training(self.runner, tasks)
        self.dispatcher = Dispatcher(
            self.pool, self.routes, clock,
            models=self.training, meter=self._meter, training_hold_s=settings.training_hold_s, tasks=tasks,
            project_queue_depth_max=settings.project_queue_depth_max, witness=self._witness(clock),
            reports=Reports(kept.logs, clock),
        )  # fmt: skip
        self.pool.listen(self.dispatcher)
        self.training.listen(self.dispatcher)
        self.runner.listen(Asking(self.dispatcher.invoke, clock, tasks))
        self.webhooks = Webhooks(
            kept.store.deliveries, kept.store.rotations, clock, tasks, master=kept.master
        )
        self._queues(clock, tasks)
        reserved = Reserved(self.dispatcher, self.reservations)
        self.queue = AsyncQueue(
            kept.store.tickets, kept.store.dead_letters, Deferred(reserved.invoke), self.routes,
            clock, tasks,
            running_max=settings.async_running_max, outbox=self.webhooks, handlings=self.handlings,
            arrived=self.queues.arrived,
        )  # fmt: skip
        self.timers = Timers(
            kept.store.records, accept=Acceptance(self.queue, self.routes).accept, routes=self.routes,
            clock=clock, start=self._start_by_the_clock,
        )  # fmt: skip
        self.keys = Keys(kept.store.keys, kept.master, clock)

    def projects(self) -> Sequence[str]:
        """Every project of which something is kept beside deployments. Blocks."""
        found = self.kept.store.records.projects()
        return [project for project in found if project]  # some records are of none

    def _queues(self, clock: SystemClock, tasks: asyncio.TaskGroup) -> None:
        """Queues of messages, and who calls functions for them."""
        self.queues = Queues(self.kept.store.queues, clock, tasks)
        self.moves = Moves(self.queues, self.kept.store.records, clock, tasks)
        self.sources = Sources(
            queues=self.queues, routes=self.routes, reservations=self.reservations,
            invoke=self.dispatcher.invoke, clock=clock, tasks=tasks,
        )  # fmt: skip

    def _witness(self, clock: SystemClock) -> Witness:
        """Who hears how invocations end. Spans are made only where somebody wants them."""
        exporters = Exporters(self.metrics, clock, endpoint=self.settings.otlp_endpoint)
        self.meter, self.exporter = exporters.metrics, exporters.spans
        watching = Both(self.trials, Drifting(self.routes, self.runner, self.tasks))
        return watching if self.exporter is None else Both(watching, self.exporter)

    def _node(self, clock: SystemClock, tasks: asyncio.TaskGroup) -> None:
        """The supply side of this machine: templates, workers, and who decides about them."""
        settings, kept = self.settings, self.kept
        self.engine = LocalEngine(
            clock=clock,
            log_sink=kept.logs,
            environ=_for_user_code(os.environ),
            load_timeout_s=settings.load_timeout_s,
            check=lambda plan: check_files(kept.artifacts, plan.code_dir, plan.model_dir),
        )
        self.pool = Pool(self.engine, self.routes, clock, tasks, witness=self.metrics)
        self.thermostat = Thermostat(
            self.pool, self.routes, clock,
            budget_bytes=settings.memory_budget_bytes or int(BUDGET_SHARE * memory_bytes()),
            policy=settings.keep_policy,
            census=lambda: asyncio.to_thread(self.engine.census),
        )  # fmt: skip
        self.weigher = Weigher(self.pool, self.routes, clock, weigh=self.engine.weigh)
        self.notebook = Notebook(settings.state_dir / "learned.jsonl", self.thermostat, clock)
        self.autoscaler = Autoscaler(
            self.pool, self.routes, clock,
            room=self.thermostat, cores=len(os.sched_getaffinity(0)), tick_s=settings.scaling_tick_s,
        )  # fmt: skip

    def _deployments(self, names: Names) -> Deployments:
        kept = self.kept
        return Deployments(
            store=kept.store.deployments,
            drafting=Drafting(
                artifacts=kept.artifacts,
                registry=self.registry,
                routes=self.routes,
                oneshots=self.oneshots,
            ),
            registry=self.registry,
            activation=self.activation,
            names=names,
            forget=self._forget,
        )

    def _forget(self, project: str, name: str) -> None:
        """What is kept of a deployment beside itself. Blocks."""
        self.kept.logs.remove(project, name)
        self.kept.store.records.forget(project, name, (*OF_FUNCTIONS, TIMERS))

    def _runner(self, clock: SystemClock) -> Runner:
        settings, kept = self.settings, self.kept
        self.curves = Curves(kept.run_records, clock, self.tasks)
        self.forgetting = Forgetting(
            kept.store.runs,
            [
                lambda run: kept.run_records.remove(run.id),
                lambda run: kept.logs.remove_run(run.project, run.id),
                lambda run: shutil.rmtree(kept.runs_dir / run.id, ignore_errors=True),
                lambda run: kept.store.records.remove(run.project, FINE_TUNING, job_id(run.id)),
            ],
            clock,
            keep_s=settings.run_keep_s,
        )
        return Runner(
            self.engine, self.routes, clock, self.tasks,
            runs=kept.store.runs,
            models=kept.store.models,
            artifacts=kept.artifacts,
            runs_dir=kept.runs_dir,
            promote=self.deployments.promote_model,
            meter=self._meter,
            datasets=HeldDatasets(kept.store.datasets, kept.dataset_files, kept.transforms),
            arenas=Arenas(settings.state_dir, kept.runs_dir, clock),
            pinned=self.activation.pinned,
            recorder=Recorder(
                self.curves, kept.run_records, kept.logs, saved_bytes_max=settings.run_saved_bytes_max
            ),
            room=_room(settings),
        )  # fmt: skip

    async def _start_by_the_clock(self, project: str, job: str, key: str) -> None:
        await self.runner.start(project, job, {}, terms=RunTerms(key=key))

    def _meter(self, record: UsageRecord) -> None:
        self.kept.journal.append(record)
        self.metrics.invocation(
            counted_as(record.project, record.deployment),
            record.status,
            record.temperature,
            run_s=record.run_us / 1e6,
            billed_ms=record.billed_ms,
        )


def _room(settings: Settings) -> Room:
    """What runs of jobs may have of this machine."""
    places = settings.runs_running_max or max(PLACES_MIN, 2 * len(os.sched_getaffinity(0)))
    return Room(places, int(RUNS_SHARE * memory_bytes()))


def _for_user_code(environ: Mapping[str, str]) -> dict[str, str]:
    """What templates inherit: not where this server's key lies."""
    return {name: value for name, value in environ.items() if not name.startswith(settings_of.PREFIX)}
