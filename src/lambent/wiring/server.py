"""A server: its parts, its port, and the order of its beginning and end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import Final

from lambent.clock import SystemClock
from lambent.core.errors import StorageFull
from lambent.core.naming import PROJECT, counted_as
from lambent.gateway.listener import Listener, claim_descriptors, url_of
from lambent.gateway.protocols.open_inference.port import local_address_of
from lambent.kept import Kept
from lambent.observe.metrics import MemoryLevel
from lambent.settings import Settings
from lambent.storage.statedir import announce, withdrawn
from lambent.wire.api import ServerFile
from lambent.wiring.aws import AwsControl
from lambent.wiring.doors import behind_doors, gateway
from lambent.wiring.inference_port import grpc_port
from lambent.wiring.offline import Offline
from lambent.wiring.parts import Parts
from lambent.wiring.sagemaker import SageMaker

ANNOUNCE_AGAIN_S: Final = 1.0

log = logging.getLogger(__name__)


class Server:
    """Serves from `run` until it is told to stop."""

    def __init__(self, settings: Settings, kept: Kept, clock: SystemClock, tasks: asyncio.TaskGroup) -> None:
        self._clock: Final = clock
        self._parts: Final = Parts(settings, kept, clock, tasks)
        self._aws: Final = AwsControl(self._parts, clock)
        self._sagemaker: Final = SageMaker(self._parts, clock)
        self._offline: Final = Offline(self._parts, clock)
        self._behind: Final = behind_doors(self._parts, clock)
        self._gateway: Final = gateway(
            self._parts, self._behind, self._aws, self._sagemaker, self._offline, clock
        )
        self._parts.metrics.watch(self)

    async def run(
        self,
        listening: socket.socket,
        for_grpc: socket.socket | None,
        stop: asyncio.Event,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Serve until `stop`, then finish what was accepted."""
        parts = self._parts
        await self._restore()
        loops = (
            parts.autoscaler.run(),
            parts.weigher.run(),
            parts.thermostat.run(),
            parts.notebook.run(),
            parts.trials.run(),
            parts.queue.run(),
            parts.webhooks.run(),
            parts.queues.run(),
            parts.timers.run(),
            parts.forgetting.run(),
            parts.kept.ledger.run(),
        )
        exporters = [one for one in (parts.exporter, parts.meter) if one is not None]
        for exporter in exporters:
            tasks.create_task(exporter.run(), name="exporter")
        for loop in loops:
            tasks.create_task(loop)
        listener = Listener(self._gateway, listening, parts.settings.tls, connections_max=claim_descriptors())
        serving = tasks.create_task(listener.run(), name="http")
        grpc = grpc_port(for_grpc, parts, self._behind, tasks) if for_grpc else None
        if grpc is not None:
            tasks.create_task(grpc.run(), name="grpc")
        about = await self._about(url_of(listening, parts.settings.tls), for_grpc)
        gc.collect()
        gc.freeze()  # what is there now stays: to look at all of it again holds everybody up
        with withdrawn(parts.settings.state_dir):
            announcing = tasks.create_task(self._announce(about), name="announce")
            await stop.wait()
            announcing.cancel()
            await asyncio.wait([announcing])
            parts.timers.pause()
            parts.runner.pause()
            parts.queue.pause()
            parts.sources.pause()
            parts.moves.pause()
            parts.queues.pause()
            self._gateway.go_away()
            await asyncio.gather(
                parts.dispatcher.drain(parts.settings.drain_s), parts.runner.settle(parts.settings.drain_s)
            )
            await parts.queue.settle()
            await parts.sources.settle()
            await asyncio.gather(*(exporter.settle() for exporter in exporters))
            parts.kept.logs.end_readers()
            await asyncio.to_thread(parts.notebook.save)
        listener.stop()
        if grpc is not None:
            await grpc.stop()
        await serving

    async def _restore(self) -> None:
        """Take up what an earlier server left, in the order in which one stands on the other."""
        parts = self._parts
        await parts.deployments.restore()
        await parts.queues.restore()
        await parts.moves.restore()
        projects = await asyncio.to_thread(parts.projects)
        for project in projects:
            await self._aws.restore(project)
            await self._sagemaker.restore(project)
        await parts.webhooks.restore()
        await parts.queue.restore()
        await parts.runner.restore()
        for project in projects:
            await parts.timers.restore(project)
        await self._offline.restore()
        await asyncio.to_thread(parts.notebook.load)

    async def _about(self, url: str, for_grpc: socket.socket | None) -> ServerFile:
        """Where it is, and what opens it on this machine."""
        credentials = await self._parts.keys.local(PROJECT)
        return ServerFile(
            url=url,
            grpc_url=local_address_of(for_grpc) if for_grpc else "",
            pid=os.getpid(),
            api_key=credentials.api_key,
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
        )

    async def _announce(self, about: ServerFile) -> None:
        """Say where the server is, once there is room on the disk: it serves who knows it meanwhile."""
        folder = self._parts.settings.state_dir
        while True:
            try:
                path = await asyncio.to_thread(announce, folder, about)
            except StorageFull as error:
                log.warning("not_announced", extra={"url": about.url, "reason": error.message})
                await asyncio.sleep(ANNOUNCE_AGAIN_S)
            else:
                sys.stdout.write(f"Lambent listens on {about.url}; the key is in {path}\n")
                sys.stdout.flush()
                return

    def workers(self) -> Iterator[tuple[str, int]]:
        """For the metrics: each deployment and its workers."""
        routes = self._parts.routes.all()
        workers = dict.fromkeys((counted_as(route.project, route.name) for route in routes), 0)
        for route in self._parts.routes.live():
            crew = self._parts.pool.crew(route.plan.revision)
            workers[counted_as(route.project, route.name)] += len(crew.members) if crew else 0
        yield from workers.items()

    def queued(self) -> Iterator[tuple[str, int]]:
        """For the metrics: each deployment and its waiting invocations."""
        for route in self._parts.routes.all():
            queued = self._parts.dispatcher.queued(route.project, route.name)
            yield counted_as(route.project, route.name), queued

    def memory(self) -> MemoryLevel:
        """For the metrics: how the memory stands."""
        now = self._parts.thermostat.standing()
        return MemoryLevel(budget_bytes=now.budget_bytes, used_bytes=now.used_bytes, price=now.price)

    async def close(self) -> None:
        """End every process of it."""
        await self._parts.engine.close()
