"""Builds the server and runs it: the only module that knows every concrete class.

`python -m lambent.wiring [flags]` is what `lambent up` becomes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from starlette.applications import Starlette

from lambent import __version__
from lambent import settings as settings_of
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
from lambent.control.verbs.dead_letters import DeadLetterVerbs
from lambent.control.verbs.deployments import DeploymentVerbs
from lambent.control.verbs.house import HouseVerbs
from lambent.control.verbs.runs import RunVerbs
from lambent.control.verbs.temperature import TemperatureVerbs
from lambent.control.verbs.webhooks import WebhookVerbs
from lambent.control.views import Views
from lambent.core.errors import LambentError
from lambent.engines.local import LocalEngine
from lambent.engines.machine import memory_bytes
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.app import Gateway
from lambent.gateway.auth import Keys
from lambent.gateway.bodies import SMALL_BYTES, Bodies
from lambent.gateway.dispatcher import Dispatcher
from lambent.gateway.listener import Listener, bind, claim_descriptors, url_of
from lambent.gateway.pages import Pages
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.aws_lambda import AwsLambdaDoor
from lambent.gateway.protocols.native import NativeDoor
from lambent.jobs.queue import AsyncQueue
from lambent.jobs.runner import Runner
from lambent.jobs.training import Training
from lambent.jobs.webhooks import Webhooks
from lambent.kept import Kept, opened
from lambent.metering.journal import UsageRecord
from lambent.metering.statements import Statements
from lambent.observe import metrics
from lambent.observe.log import configure
from lambent.observe.metrics import MemoryLevel, Metrics
from lambent.pool.autoscaler import Autoscaler
from lambent.pool.notebook import Notebook
from lambent.pool.pool import Pool
from lambent.pool.routes import Routes
from lambent.pool.sharing import Weigher
from lambent.pool.thermostat import Thermostat
from lambent.pool.trials import Trials
from lambent.settings import BUDGET_SHARE, Settings
from lambent.storage.inspection import check_files
from lambent.storage.statedir import announced
from lambent.wire.api import ServerFile

PROJECT = "default"
# When a thread that computes (the ledger's import) gives way to the event loop. By default it may hold it up
# for 5 ms at each write of the journal, which one request in a thousand felt.
YIELD_S: Final = 0.0002


class Stopped(Exception):
    """Ends the server's tasks in good order."""


class Server:
    """The parts that live in the event loop, connected."""

    def __init__(self, settings: Settings, kept: Kept, clock: SystemClock, tasks: asyncio.TaskGroup) -> None:
        self.settings = settings
        self.kept = kept
        self.metrics = Metrics()
        self.routes = Routes()
        self._node(clock, tasks)
        self.oneshots = OneShots(self.engine, timeout_s=settings.load_timeout_s)
        self.registry = Registry(kept.store.models, kept.artifacts, self.oneshots, kept.work_dir)
        self.trials = Trials(clock)
        self.activation = Activation(
            store=kept.store.deployments, aliases=kept.store.aliases, artifacts=kept.artifacts,
            routes=self.routes, trials=self.trials, engine=self.engine, clock=clock,
        )  # fmt: skip
        names = Names()
        self.deployments = self._deployments(names)
        self.aliasing = Aliasing(
            store=kept.store.deployments, aliases=kept.store.aliases, activation=self.activation,
            routes=self.routes, trials=self.trials, names=names, clock=clock, tasks=tasks,
        )  # fmt: skip
        self.runner = Runner(
            self.engine, self.routes, clock, tasks,
            runs=kept.store.runs,
            models=kept.store.models,
            artifacts=kept.artifacts,
            runs_dir=kept.work_dir,
            promote=self.deployments.promote_model,
            meter=self._meter,
        )  # fmt: skip
        self.training = Training(self.runner, tasks)
        self.dispatcher = Dispatcher(
            self.pool, self.routes, clock,
            models=self.training, meter=self._meter, training_hold_s=settings.training_hold_s, tasks=tasks,
            project_queue_depth_max=settings.project_queue_depth_max, trials=self.trials,
        )  # fmt: skip
        self.pool.listen(self.dispatcher)
        self.training.listen(self.dispatcher)
        self.webhooks = Webhooks(
            kept.store.deliveries, kept.store.rotations, clock, tasks, master=kept.master
        )
        self.queue = AsyncQueue(
            kept.store.tickets, kept.store.dead_letters, self.dispatcher.invoke, self.routes, clock, tasks,
            running_max=settings.async_running_max, outbox=self.webhooks,
        )  # fmt: skip
        self.keys = Keys(kept.store.keys, kept.master, clock)
        self.gateway = self._gateway(clock)
        self.metrics.watch(self)

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
            forget_logs=kept.logs.remove,
        )

    def _control(self, clock: SystemClock) -> Starlette:
        kept = self.kept
        views = Views(
            self.pool,
            self.dispatcher.queued,
            self.thermostat.because,
            keep_policy=self.settings.keep_policy.value,
        )
        uploads = Uploads(kept.artifacts, kept.work_dir, size_bytes_max=self.settings.artifact_bytes_max)
        doctor = Doctor(
            state_dir=self.settings.state_dir,
            pool=self.pool,
            routes=self.routes,
            ping_store=lambda: kept.store.deployments.all(PROJECT),
            troubles=kept.troubles,
            standing=self.thermostat.standing,
            weighed_by=self.engine.weighed_by,
        )
        house = HouseVerbs(
            keys=self.keys,
            statements=Statements(kept.ledger),
            views=views,
            routes=self.routes,
            doctor=doctor,
            clock=clock,
        )
        verbs = (
            DeploymentVerbs(self.deployments, self.aliasing, uploads, views, kept.logs),
            AliasVerbs(self.aliasing),
            TemperatureVerbs(self.deployments, self.pool, self.routes, views),
            RunVerbs(self.runner, kept.store.runs, self.registry),
            DeadLetterVerbs(self.queue, kept.store.dead_letters),
            WebhookVerbs(self.webhooks),
            house,
        )
        return control_app([o for group in verbs for o in group.operations()], version=__version__)

    def _gateway(self, clock: SystemClock) -> Gateway:
        acceptance = Acceptance(self.queue, self.routes)
        bytes_max = self.settings.bodies_bytes(memory_bytes())
        bodies = Bodies(clock, bytes_max=bytes_max, uncounted_bytes=SMALL_BYTES)
        apps = AppsDoor(
            invoker=self.dispatcher,
            routes=self.routes,
            keys=self.keys,
            clock=clock,
            bodies=bodies,
            body_bytes_max=self.settings.body_bytes_max,
        )
        return Gateway(
            apps=apps,
            native=NativeDoor(
                invoker=self.dispatcher,
                apps=apps,
                routes=self.routes,
                acceptance=acceptance,
                keys=self.keys,
                clock=clock,
                bodies=bodies,
                body_bytes_max=self.settings.body_bytes_max,
            ),
            aws_lambda=AwsLambdaDoor(
                invoker=self.dispatcher,
                acceptance=acceptance,
                routes=self.routes,
                keys=self.keys,
                clock=clock,
                bodies=bodies,
            ),
            pages=Pages(
                keys=self.keys,
                metrics=lambda: (self.metrics.render(), metrics.CONTENT_TYPE),
                accepts=lambda: self.dispatcher.accepting,
            ),
            control=self._control(clock),
            keys=self.keys,
        )

    def _meter(self, record: UsageRecord) -> None:
        self.kept.journal.append(record)
        self.metrics.invocation(
            record.deployment,
            record.status,
            record.temperature,
            run_s=record.run_us / 1e6,
            billed_ms=record.billed_ms,
        )

    def workers(self) -> Iterator[tuple[str, int]]:
        """For the metrics: each deployment and its workers."""
        workers = dict.fromkeys((route.name for route in self.routes.all()), 0)
        for route in self.routes.live():
            crew = self.pool.crew(route.plan.revision)
            workers[route.name] += len(crew.members) if crew else 0
        yield from workers.items()

    def queued(self) -> Iterator[tuple[str, int]]:
        """For the metrics: each deployment and its waiting invocations."""
        for route in self.routes.all():
            yield route.name, self.dispatcher.queued(route.project, route.name)

    def memory(self) -> MemoryLevel:
        """For the metrics: how the memory stands."""
        now = self.thermostat.standing()
        return MemoryLevel(budget_bytes=now.budget_bytes, used_bytes=now.used_bytes, price=now.price)

    async def run(self, listening: socket.socket, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        """Serve until `stop`, then finish what was accepted."""
        await self.deployments.restore()
        await self.webhooks.restore()
        await self.queue.restore()
        await asyncio.to_thread(self.notebook.load)
        loops = (
            self.autoscaler.run(),
            self.weigher.run(),
            self.thermostat.run(),
            self.notebook.run(),
            self.trials.run(),
            self.queue.run(),
            self.webhooks.run(),
            self.kept.ledger.run(),
        )
        for loop in loops:
            tasks.create_task(loop)
        listener = Listener(self.gateway, listening, self.settings.tls, connections_max=claim_descriptors())
        serving = tasks.create_task(listener.run(), name="http")
        credentials = await self.keys.local(PROJECT)
        about = ServerFile(
            url=url_of(listening, self.settings.tls),
            pid=os.getpid(),
            api_key=credentials.api_key,
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
        )
        with announced(self.settings.state_dir, about) as path:
            sys.stdout.write(f"Lambent listens on {about.url}; the key is in {path}\n")
            sys.stdout.flush()
            await stop.wait()
            self.queue.pause()
            self.gateway.go_away()
            await self.dispatcher.drain(self.settings.drain_s)
            await self.queue.settle()
            self.kept.logs.end_readers()
            await asyncio.to_thread(self.notebook.save)
        listener.stop()
        await serving


async def serve(settings: Settings, kept: Kept, clock: SystemClock) -> None:
    """Run a server until SIGTERM or SIGINT; a second signal does not wait for what runs."""
    listening = bind(settings.host, settings.port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: main.cancel() if stop.is_set() and main else stop.set())
    server = None
    try:
        async with asyncio.TaskGroup() as tasks:
            server = Server(settings, kept, clock, tasks)
            await server.run(listening, stop, tasks)
            raise Stopped
    except ExceptionGroup as group:
        _, others = group.split(Stopped)
        if others is not None:
            reasons, bugs = others.split(LambentError)
            raise bugs or _first(reasons or others) from None
    finally:
        if server is not None:
            await server.engine.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of what failed: a reason that an operator can act on needs no tree around it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _for_user_code(environ: Mapping[str, str]) -> dict[str, str]:
    """What templates inherit: not where this server's key lies."""
    return {name: value for name, value in environ.items() if not name.startswith(settings_of.PREFIX)}


def _settings(words: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="lambent up", description="Run the Lambent server.")
    parser.add_argument("--state-dir")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--memory-budget", dest="memory_budget_bytes")
    parser.add_argument("--keep-policy")
    parser.add_argument("--ephemeral", action="store_true", default=None)
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    return settings_of.from_environ(os.environ, **vars(parser.parse_args(words)))


def main(words: Sequence[str] | None = None) -> int:
    """Read the flags, open what is kept, serve, close. Returns the exit status."""
    with ExitStack() as closing:
        try:
            settings = _settings(words)
            if settings.ephemeral:
                folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="lambent-"))
                settings = msgspec.structs.replace(settings, state_dir=Path(folder))
            configure(settings.log_level)
            sys.setswitchinterval(YIELD_S)
            clock = SystemClock()
            uvloop.run(serve(settings, opened(settings, clock, closing), clock))
        except LambentError as error:
            sys.stderr.write(f"lambent up: {error.message}\n")
            return 1
        except (KeyboardInterrupt, asyncio.CancelledError):
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
