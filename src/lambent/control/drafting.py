"""From a deploy request to drafts: what the artifact declares, or the model that it holds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from lambent.control.oneshots import OneShots
from lambent.control.planning import (
    Planned,
    commands_in,
    inside,
    planned,
    planned_model,
    planned_processes,
    planned_program,
    surroundings_of,
)
from lambent.control.registry import PREPARE_MEMORY_BYTES, ReadyModel, Registry
from lambent.core.errors import CallerFault
from lambent.core.invocation import new_id
from lambent.core.spec import BOOTSTRAP, Kind
from lambent.pool.routes import Routes
from lambent.storage.base import ArtifactFacts, Artifacts
from lambent.wire import torchserve
from lambent.wire.api import DeployRequest
from lambent.wire.model_archive import WHOLE, program_of
from lambent.wire.oneshot import DescribeCall, Description
from lambent.wire.process import RevisionPlan, Runtime


class Draft(msgspec.Struct, frozen=True):
    """A deployment on its way. `ready` is a model that comes with it, registered when the draft is kept."""

    planned: Planned
    code_digest: str
    ready: ReadyModel | None = None

    @property
    def name(self) -> str:
        """The name that it will answer under."""
        return self.planned.spec.name


class Drafting:
    """Reads deploy requests. User code and model files are opened in a process of their own."""

    def __init__(
        self, *, artifacts: Artifacts, registry: Registry, routes: Routes, oneshots: OneShots
    ) -> None:
        self._artifacts: Final = artifacts
        self._registry: Final = registry
        self._routes: Final = routes
        self._oneshots: Final = oneshots

    async def drafts(self, project: str, request: DeployRequest) -> Sequence[Draft]:
        """What the request asks for; nothing is changed yet.

        Raises `NotFound` for an unknown artifact, `InvalidSpec`, `CallerFault`, `LoadFailed` where the code
        cannot be imported or the model not be read, `StorageFull`.
        """
        folder = await asyncio.to_thread(self._artifacts.path, request.artifact)
        if commands := commands_in(request):
            return [Draft(one, request.artifact) for one in planned_processes(request, commands)]
        if request.target == WHOLE:
            return [await self._archive(project, request, folder)]
        file = await asyncio.to_thread(inside, folder, request.target)
        if request.target.partition(":")[0] == BOOTSTRAP:
            return [self._program(request, file)]
        if file.suffix != ".py":
            return [await self._model(project, request, folder)]
        description = await self._describe(project, request, folder)
        plans = planned(description, request, jobs=self._jobs(project))
        return [Draft(one, request.artifact) for one in plans]

    async def _archive(self, project: str, request: DeployRequest, folder: Path) -> Draft:
        """A model archive: by its program, or, where it has none, by the model file that is in it."""
        program = program_of(surroundings_of(request, memory_bytes=PREPARE_MEMORY_BYTES).env)
        if program and not await asyncio.to_thread(_has_any, folder, (program, torchserve.MANIFEST)):
            ready = await self._registry.prepare(project, folder, "")
            return Draft(planned_model(request, adapter=ready.adapter, skills=ready.skills), "", ready)
        description = await self._describe(project, request, folder)
        (plan,) = planned(description, request, jobs=frozenset())
        facts = await asyncio.to_thread(_facts, request.artifact, folder)
        return Draft(plan, "", ReadyModel(facts, ""))

    async def _model(self, project: str, request: DeployRequest, folder: Path) -> Draft:
        ready = await self._registry.prepare(project, folder, str(PurePosixPath(request.target)))
        return Draft(planned_model(request, adapter=ready.adapter, skills=ready.skills), "", ready)

    def _program(self, request: DeployRequest, file: Path) -> Draft:
        plan = planned_program(request)
        if not os.access(file, os.X_OK):
            raise CallerFault(f"{BOOTSTRAP!r} is not executable: chmod +x it before it is packed")
        return Draft(plan, request.artifact)

    async def _describe(self, project: str, request: DeployRequest, folder: Path) -> Description:
        # What the code says of its memory is known only when it has been imported.
        surroundings = surroundings_of(request, memory_bytes=PREPARE_MEMORY_BYTES)
        plan = RevisionPlan(
            revision=f"describe-{new_id()}",
            deployment="",
            project=project,
            number=0,
            runtime=Runtime.DESCRIBE,
            entrypoint=request.target,
            code_dir=str(folder),
            env=surroundings.env,
            memory_bytes=surroundings.memory_bytes,
        )
        return await self._oneshots.ask(plan, DescribeCall(request.target), Description)

    def _jobs(self, project: str) -> frozenset[str]:
        routes = (route for route in self._routes.all() if route.project == project)
        return frozenset(route.name for route in routes if route.spec.kind is Kind.JOB)


def _has_any(folder: Path, files: Sequence[str]) -> bool:
    return any((folder / file).is_file() for file in files)


def _facts(digest: str, folder: Path) -> ArtifactFacts:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return ArtifactFacts(digest=digest, size_bytes=sum(sizes), files=len(sizes))
