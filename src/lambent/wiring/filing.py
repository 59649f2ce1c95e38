"""The doors whose work goes to the durable queue: Replicate's and RunPod's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lambent.core.invocation import Status
from lambent.core.lifecycle import State
from lambent.core.naming import counted_as
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.protocols import Behind, ClaimingDoor
from lambent.gateway.protocols.filing import Filing
from lambent.gateway.protocols.replicate import ReplicateDoor
from lambent.gateway.protocols.runpod import RunPodDoor
from lambent.pool.routes import Route
from lambent.wire.faces import FaceKind
from lambent.wiring.parts import Parts


def filing(parts: Parts, behind: Behind) -> Sequence[ClaimingDoor]:
    """Each with paths of its own."""
    acceptance = Acceptance(parts.queue, parts.routes)
    by = {kind: Filing(behind, acceptance, kind=kind) for kind in FaceKind}

    def health(route: Route) -> dict[str, Any]:
        return _health(parts, route)

    async def secret(project: str) -> str:
        return (await parts.webhooks.secrets(project)).current

    return [
        ReplicateDoor(behind, by[FaceKind.REPLICATE], secret=secret),
        RunPodDoor(behind, by[FaceKind.RUNPOD], health),
    ]


def _health(parts: Parts, route: Route) -> dict[str, Any]:
    """How a deployment stands, in RunPod's words. What ended is counted since the server started."""
    crew = parts.pool.crew(route.plan.revision)
    states = [member.state for member in crew.members] if crew else []
    ended = [*parts.metrics.ended(counted_as(route.project, route.name))]
    good = sum(count for status, count, _ in ended if status == Status.OK)
    running = states.count(State.BUSY)
    return {
        "jobs": {
            "completed": good,
            "failed": sum(count for _, count, _ in ended) - good,
            "inProgress": running,
            "inQueue": parts.dispatcher.queued(route.project, route.name),
            "retried": 0,
        },
        "workers": {
            "idle": states.count(State.IDLE),
            "initializing": crew.starting if crew else 0,
            "ready": states.count(State.IDLE) + running,
            "running": running,
            "throttled": 0,
            "unhealthy": 0,
        },
    }
