"""What comes of a run: what its worker answered, and the model that it left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from lambent.core.errors import TrainingFailed, UserFault
from lambent.core.gating import Verdict
from lambent.jobs.diary import bounded
from lambent.storage.base import Artifacts, Model, Models, Run
from lambent.wire.oneshot import JobResult
from lambent.wire.typed import from_json

REFUSAL_CHARS_MAX: Final = 1000


class Promote(Protocol):
    """Who makes a registered model the one that serves."""

    def __call__(self, project: str, name: str, model: Model) -> Awaitable[object]: ...


class Results:
    """Registers what runs leave behind."""

    def __init__(self, models: Models, artifacts: Artifacts, promote: Promote) -> None:
        self._models: Final = models
        self._artifacts: Final = artifacts
        self._promote: Final = promote

    async def register(self, run: Run, result: JobResult, folder: Path, *, accept: str = "") -> Model | None:
        """The model in `folder`, where the run trains a deployment. It serves from now on, unless refused.

        `accept` is the gate of that deployment; what it asks was answered beside the model, by its code.
        """
        if not run.for_deployment:
            return None
        if not result.files:
            raise UserFault(f"the job {run.job!r} ended well but left no file in run.model_dir")
        facts = await asyncio.to_thread(self._artifacts.ingest_tree, folder)
        model = await asyncio.to_thread(
            lambda: self._models.register(
                project=run.project,
                name=run.for_deployment,
                digest=facts.digest,
                size_bytes=facts.size_bytes,
                metrics=result.metrics,
                run=run.id,
                refused=_refusal(accept, result.verdict),
            )
        )
        if not model.refused:
            await self._promote(run.project, run.for_deployment, model)
        return model


def _refusal(accept: str, verdict: Verdict | None) -> str:
    if verdict is None:
        return f"nobody judged it, and its gate is {accept}" if accept else ""
    return "" if verdict.accepted else verdict.why[:REFUSAL_CHARS_MAX] or "its gate did not accept it"


def result_of(result: bytes) -> JobResult:
    """What the job's worker answered. Raises `TrainingFailed`."""
    try:
        said = from_json(result, JobResult)
    except msgspec.DecodeError as error:
        raise TrainingFailed(f"what the job's worker answered cannot be read: {error}") from error
    return msgspec.structs.replace(said, metrics=bounded(said.metrics))
