"""Models: files made ready to be served, and what is known of those that are registered."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from lambent.control.oneshots import OneShots
from lambent.core.errors import CallerFault
from lambent.core.invocation import new_id
from lambent.core.spec import MIB
from lambent.storage.base import ArtifactFacts, Artifacts, Model, Models
from lambent.wire.api import ModelView
from lambent.wire.model_archive import CODE, PROGRAM_DEFAULT
from lambent.wire.oneshot import PrepareCall, Prepared
from lambent.wire.process import RevisionPlan, Runtime

# A conversion holds the framework and several copies of the model; too little falls back to a slower serving.
PREPARE_MEMORY_BYTES: Final = 8192 * MIB

NOTHING_IN_IT: Final = (
    f"this archive: it has neither {CODE}/{PROGRAM_DEFAULT} nor a model file of a known kind"
)


class ReadyModel(msgspec.Struct, frozen=True):
    """A prepared and stored model that is not registered yet."""

    facts: ArtifactFacts
    adapter: str
    skills: tuple[str, ...] = ()


class Registry:
    """The models of every project. `work_dir` is where they are prepared."""

    def __init__(self, models: Models, artifacts: Artifacts, oneshots: OneShots, work_dir: Path) -> None:
        self._models: Final = models
        self._artifacts: Final = artifacts
        self._oneshots: Final = oneshots
        self._work_dir: Final = work_dir

    async def prepare(self, project: str, artifact: Path, file: str) -> ReadyModel:
        """Make the model in `file` of an artifact ready to be served, or all that are in it; store that.

        Raises `LoadFailed` where the file is no model or damaged, `CallerFault` where nothing can serve its
        kind, `StorageFull`.
        """
        folder = await asyncio.to_thread(_new_folder, self._work_dir)
        try:
            plan = RevisionPlan(
                revision=f"prepare-{new_id()}",
                deployment="",
                project=project,
                number=0,
                runtime=Runtime.PREPARE,
                model_dir=str(artifact),
                work_dir=str(folder),
                memory_bytes=PREPARE_MEMORY_BYTES,
            )
            prepared = await self._oneshots.ask(plan, PrepareCall(file), Prepared)
            if prepared.serving is None:
                raise CallerFault(f"nothing here can serve {file or NOTHING_IN_IT}")
            if prepared.serving.needs_code:
                raise CallerFault(
                    f"{prepared.serving.file} holds weights and no network, so it cannot be deployed alone: "
                    "deploy a model class whose load(self, model) builds the network and calls "
                    "model.load_into(network), with a job (train=...) that puts the file into run.model_dir"
                )
            facts = await asyncio.to_thread(self._artifacts.ingest_tree, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return ReadyModel(facts, prepared.serving.adapter, prepared.serving.skills)

    async def as_registered(self, project: str, name: str, ready: ReadyModel) -> Model:
        """A prepared model as `register` will make it. Where it is new, nothing is stored of it yet."""
        latest = await self.latest(project, name)
        if latest is not None and latest.digest == ready.facts.digest:
            return latest
        newest = next(iter(await self.all(project, name)), None)
        return Model(
            project=project,
            name=name,
            number=newest.number + 1 if newest else 1,
            digest=ready.facts.digest,
            metrics={},
            run="",
            size_bytes=ready.facts.size_bytes,
            created_unix_ms=0,
        )

    async def register(self, model: Model) -> Model:
        """Register what `as_registered` gave, unless it is the latest of its name already."""
        latest = await self.latest(model.project, model.name)
        if latest is not None and latest.digest == model.digest:
            return latest
        return await asyncio.to_thread(
            lambda: self._models.register(
                project=model.project,
                name=model.name,
                digest=model.digest,
                size_bytes=model.size_bytes,
                metrics=model.metrics,
                run=model.run,
            )
        )

    async def latest(self, project: str, name: str) -> Model | None:
        """The newest model of a deployment that was not refused."""
        return await asyncio.to_thread(self._models.latest, project, name)

    async def find(self, project: str, name: str, number: int) -> Model | None:
        """One of a deployment's, refused or not."""
        return await asyncio.to_thread(self._models.find, project, name, number)

    async def overruled(self, model: Model) -> Model:
        """Let it be as if its gate had accepted it: somebody has let it serve."""
        await asyncio.to_thread(self._models.overrule, model)
        return msgspec.structs.replace(model, refused="")

    async def all(self, project: str, name: str) -> Sequence[ModelView]:
        """The registered models of a deployment, or of all where `name` is empty."""
        return [view(model) for model in await asyncio.to_thread(self._models.all, project, name)]


def view(model: Model) -> ModelView:
    """A model as the operator sees it."""
    return ModelView(
        name=model.name,
        number=model.number,
        digest=model.digest,
        metrics=model.metrics,
        run=model.run,
        created_unix_ms=model.created_unix_ms,
        size_bytes=model.size_bytes,
        refused=model.refused,
    )


def _new_folder(inside: Path) -> Path:
    inside.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="prepare-", dir=inside))
