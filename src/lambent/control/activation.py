"""A revision's way from wanted over loaded to active. Whoever calls holds the deployment's name."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from lambent.clock import Clock
from lambent.control.planning import needs_model, plan_of
from lambent.core.spec import DeploymentSpec, Kind, Temperature
from lambent.engines.base import Engine
from lambent.pool.routes import Route, Routes
from lambent.storage.base import Artifacts, Deployments, Model, Revision, revision_id

log = logging.getLogger(__name__)


class Activation:
    """Loads revisions, commits them and routes to them; the only writer of the routes."""

    def __init__(
        self, *, store: Deployments, artifacts: Artifacts, routes: Routes, engine: Engine, clock: Clock
    ) -> None:
        self._store: Final = store
        self._artifacts: Final = artifacts
        self._routes: Final = routes
        self._engine: Final = engine
        self._clock: Final = clock

    async def wanted(
        self, project: str, spec: DeploymentSpec, code_digest: str, model: Model | None
    ) -> Revision:
        """The revision as a commit will make it: an equal one of before, or one with the next number."""
        digest = model.digest if model else ""
        wanted = revision_id(project, spec, code_digest=code_digest, model_digest=digest)
        revisions = await asyncio.to_thread(self._store.revisions, project, spec.name)
        for revision in revisions:
            if revision.id == wanted:
                return revision
        return Revision(
            id=wanted,
            project=project,
            deployment=spec.name,
            number=max((revision.number for revision in revisions), default=0) + 1,
            spec=spec,
            code_digest=code_digest,
            model_digest=digest,
            model_number=model.number if model else None,
            created_unix_ms=self._clock.unix_ms(),
        )

    async def load(self, revision: Revision) -> None:
        """Bring it as far as it can be primed, so that what does not load is told before it is active.

        A job, and what has no model yet, is not loaded before it runs. Raises `LoadFailed`, and `NotFound`
        where its files are lost.
        """
        plan = await asyncio.to_thread(plan_of, revision, self._artifacts)
        if revision.spec.kind is not Kind.JOB and not needs_model(revision):
            await self._engine.prime(plan)

    async def commit(self, wanted: Revision, *, app: str, model: Model | None) -> Revision:
        """Make it active on disk, then for requests. Raises `Conflict`, `StorageFull`."""
        made = await asyncio.to_thread(
            lambda: self._store.commit(
                wanted.spec,
                project=wanted.project,
                app=app,
                code_digest=wanted.code_digest,
                model=model,
            )
        )
        await self.route(made)
        log.info(
            "deployed", extra={"deployment": made.deployment, "revision": made.id, "number": made.number}
        )
        return made

    async def route(self, revision: Revision) -> None:
        """Let it answer under its deployment's name."""
        plan = await asyncio.to_thread(plan_of, revision, self._artifacts)
        self._routes.put(
            Route(
                project=revision.project,
                name=revision.deployment,
                spec=revision.spec,
                plan=plan,
                needs_model=needs_model(revision),
                created_unix_ms=revision.created_unix_ms,
            )
        )

    async def give_up(self, revision: Revision) -> None:
        """Let what was loaded give its memory back, unless the revision answers all the same."""
        route = self._routes.get(revision.project, revision.deployment)
        if route is None or route.plan.revision != revision.id:
            await self._engine.chill(revision.id, Temperature.COLD)

    def unroute(self, project: str, name: str) -> None:
        """Nothing answers under this name any more."""
        self._routes.remove(project, name)
