"""By which gate a run's model goes, and beside whom."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lambent.pool.routes import Route, Routes
from lambent.storage.base import Models, Run
from lambent.wire.oneshot import Gate


class Judging:
    """Knows the gates of deployments, and the models that serve now."""

    def __init__(self, routes: Routes, models: Models) -> None:
        self._routes: Final = routes
        self._models: Final = models

    def accept_of(self, run: Run) -> str:
        """What the deployment that a run trains asks of a model now; empty where it asks nothing."""
        trained = self._routes.get(run.project, run.for_deployment)
        return "" if trained is None else trained.spec.accept

    def gate_of(self, run: Run, job: Route) -> Gate | None:
        """The gate, for the worker of a job to ask. Blocks on the disk.

        The class that says more of it is in the job's code where both were deployed together.
        """
        trained = self._routes.get(run.project, run.for_deployment)
        if trained is None or not trained.spec.accept:
            return None
        is_together = trained.plan.code_dir == job.plan.code_dir
        entrypoint = trained.spec.entrypoint if is_together else ""
        champion_dir = "" if trained.needs_model else trained.plan.model_dir
        return Gate(trained.spec.accept, entrypoint, champion_dir, self._metrics(trained, champion_dir))

    def _metrics(self, trained: Route, folder: str) -> dict[str, float]:
        """Those that the model with these files was registered with, last."""
        digest = Path(folder).name  # an artifact is a folder that is named by its digest
        registered = self._models.all(trained.project, trained.name)
        return next((model.metrics for model in registered if model.digest == digest), {})
