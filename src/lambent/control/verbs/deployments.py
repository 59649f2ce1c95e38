"""Deploying: artifacts, deployments, their logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from starlette.responses import Response, StreamingResponse

from lambent.control.aliases import Aliasing
from lambent.control.deployments import Deployments
from lambent.control.operations import Asked, Operation, Parameter
from lambent.control.uploads import Uploads
from lambent.control.views import Views
from lambent.core.invocation import Role
from lambent.wire.api import (
    ArtifactReply,
    DeploymentDetail,
    DeploymentView,
    DeployReply,
    DeployRequest,
    RollbackRequest,
)

LINES: Final = "text/plain; charset=utf-8"
TAIL_LINES: Final = 100
TAIL_LINES_MAX: Final = 10_000


class Logs(Protocol):
    """What deployments printed, in lines without their newline."""

    def tail(self, project: str, name: str, lines: int) -> list[str]:
        """The last lines, oldest first. Reads files."""

    def follow(self, project: str, name: str, from_lines: int) -> AsyncIterator[str]:
        """The last lines, then each that is printed, until the log is removed."""


class DeploymentVerbs:
    """Everything under /artifacts and /deployments."""

    def __init__(
        self, deployments: Deployments, aliasing: Aliasing, uploads: Uploads, views: Views, logs: Logs
    ) -> None:
        self._deployments: Final = deployments
        self._aliasing: Final = aliasing
        self._uploads: Final = uploads
        self._views: Final = views
        self._logs: Final = logs

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="uploadArtifact",
                method="POST",
                path="/artifacts",
                role=Role.DEPLOY,
                summary="Store a tar of files; the answer's digest names it",
                run=self._upload,
                upload="application/x-tar",
                reply=ArtifactReply,
                status=201,
            ),
            Operation(
                name="deploy",
                method="POST",
                path="/deployments",
                role=Role.DEPLOY,
                summary="Deploy what an artifact holds",
                run=self._deploy,
                body=DeployRequest,
                reply=DeployReply,
            ),
            Operation(
                name="listDeployments",
                method="GET",
                path="/deployments",
                role=Role.READ,
                summary="Every deployment of the project",
                run=self._list,
                reply=tuple[DeploymentView, ...],
            ),
            *self._of_one(),
        )

    def _of_one(self) -> Sequence[Operation]:
        return (
            Operation(
                name="showDeployment",
                method="GET",
                path="/deployments/{name}",
                role=Role.READ,
                summary="One deployment, its revisions and its last wakes",
                run=self._show,
                reply=DeploymentDetail,
            ),
            Operation(
                name="removeDeployment",
                method="DELETE",
                path="/deployments/{name}",
                role=Role.DEPLOY,
                summary="Remove a deployment, its revisions and its logs",
                run=self._remove,
                status=204,
            ),
            Operation(
                name="rollback",
                method="POST",
                path="/deployments/{name}/rollback",
                role=Role.DEPLOY,
                summary="Make an older revision active",
                run=self._rollback,
                body=RollbackRequest,
                reply=DeploymentView,
            ),
            Operation(
                name="readLogs",
                method="GET",
                path="/deployments/{name}/logs",
                role=Role.READ,
                summary="What a deployment printed",
                run=self._read_logs,
                query=(
                    Parameter("tail", f"how many of the last lines, {TAIL_LINES} unless told", "integer"),
                    Parameter("follow", "go on with what is printed from now on", "boolean"),
                ),
                media=LINES,
            ),
        )

    async def _upload(self, asked: Asked) -> ArtifactReply:
        facts = await self._uploads.store(asked.request.stream())
        return ArtifactReply(facts.digest, facts.size_bytes, facts.files)

    async def _deploy(self, asked: Asked) -> DeployReply:
        # Code that hangs must not go on, nor keep the name, when nobody waits for it any more.
        deployed = await asked.while_present(self._deployments.deploy(asked.project, asked.body))
        views = await self._views.deployments(deployed.revisions, asked.base_url)
        return DeployReply(views, deployed.changed, deployed.on_trial)

    async def _list(self, asked: Asked) -> tuple[DeploymentView, ...]:
        return await self._views.deployments(await self._deployments.all(asked.project), asked.base_url)

    async def _show(self, asked: Asked) -> DeploymentDetail:
        name = asked.path["name"]
        active = await self._deployments.active(asked.project, name)
        revisions = await self._deployments.revisions(asked.project, name)
        aliases = await self._aliasing.all(asked.project, name)
        return await self._views.detail(active, revisions, aliases, asked.base_url)

    async def _remove(self, asked: Asked) -> None:
        await self._deployments.remove(asked.project, asked.path["name"])

    async def _rollback(self, asked: Asked) -> DeploymentView:
        rollback = self._deployments.rollback(asked.project, asked.path["name"], asked.body.to)
        revision = await asked.while_present(rollback)
        [view] = await self._views.deployments([revision], asked.base_url)
        return view

    async def _read_logs(self, asked: Asked) -> Response:
        name = asked.path["name"]
        await self._deployments.active(asked.project, name)
        lines = asked.number("tail", TAIL_LINES, low=0, high=TAIL_LINES_MAX)
        if asked.flag("follow"):
            followed = self._logs.follow(asked.project, name, lines)
            return StreamingResponse((f"{line}\n" async for line in followed), media_type=LINES)
        last = await asyncio.to_thread(self._logs.tail, asked.project, name, lines)
        return Response("".join(f"{line}\n" for line in last), media_type=LINES)
