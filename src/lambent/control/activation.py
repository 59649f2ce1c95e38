"""A revision's way from wanted over loaded to active. Whoever calls holds the deployment's name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.planning import needs_model, plan_of
from lambent.core.canary import Guard
from lambent.core.errors import InvalidSpec, LambentError
from lambent.core.routing import OWN, Split
from lambent.core.spec import DeploymentSpec, Interface, Kind, Program, Temperature
from lambent.engines.base import Engine
from lambent.pool.routes import Arrangement, Route, Routes
from lambent.pool.trials import Terms, Trials
from lambent.storage.aliases import Alias, Aliases
from lambent.storage.base import Artifacts, Deployments, Model, Revision, revision_id
from lambent.wire.aliases import Canary

log = logging.getLogger(__name__)


class Activation:
    """Loads revisions, commits them and routes to them; the only writer of the routes."""

    def __init__(
        self,
        *,
        store: Deployments,
        aliases: Aliases,
        artifacts: Artifacts,
        routes: Routes,
        trials: Trials,
        engine: Engine,
        clock: Clock,
    ) -> None:
        self._store: Final = store
        self._aliases: Final = aliases
        self._trials: Final = trials
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

    async def load_unless_live(self, revision: Revision) -> None:
        """The same for what may answer already, which then need not wait for anything."""
        if self._routes.of_revision(revision.id) is None:
            await self.load(revision)

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

    async def activate(self, revision: Revision) -> None:
        """Make a stored revision active on disk, then for requests; what was tried beside another ends."""
        await asyncio.to_thread(self._store.activate, revision.project, revision.deployment, revision.id)
        await self.route(revision)

    async def try_out(self, wanted: Revision, active: str, canary: Canary) -> Revision:
        """Store it without making it active, and let it have its share. Raises `Conflict`, `StorageFull`."""
        alias = Alias(
            project=wanted.project,
            deployment=wanted.deployment,
            name=OWN,
            revision=active,
            candidate=wanted.id,
            percent=canary.percent,
            sticky_header=canary.sticky_header.lower(),
            max_error_rate=canary.max_error_rate,
            max_p95_ms=canary.max_p95_ms,
            promote_after_s=canary.promote_after_s,
            changed_unix_ms=self._clock.unix_ms(),
        )
        made = await asyncio.to_thread(self._aliases.try_out, wanted, alias)
        await self.route(await asyncio.to_thread(self._store.revision, active))
        log.info("tried", extra={"deployment": made.deployment, "revision": made.id, "number": made.number})
        return made

    def on_trial(self, project: str, name: str) -> bool:
        """Whether a revision is tried under the deployment's own name."""
        split = self._routes.split(project, name, OWN)
        return split is not None and bool(split.candidate)

    async def route(self, revision: Revision) -> None:
        """Let it answer under its deployment's name, and what aliases name beside it."""
        wanted, aliases = await asyncio.to_thread(self._arranged, revision)
        self._routes.arrange(wanted)
        self._watch(revision, aliases)

    def _arranged(self, revision: Revision) -> tuple[Arrangement, Sequence[Alias]]:
        route = self._route(revision)
        if not route.invocable:
            return Arrangement(route), ()
        aliases = [
            one
            for one in self._aliases.of(revision.project, revision.deployment)
            if one.name != OWN or (one.revision == revision.id and one.candidate)
        ]
        named = {name for one in aliases for name in (one.revision, one.candidate)} - {"", revision.id}
        beside = [found for name in sorted(named) if (found := self._beside(name)) is not None]
        return Arrangement(route, tuple(beside), {one.name: _split(one) for one in aliases}), aliases

    def _route(self, revision: Revision) -> Route:
        return Route(
            project=revision.project,
            name=revision.deployment,
            spec=revision.spec,
            plan=plan_of(revision, self._artifacts),
            needs_model=needs_model(revision),
            created_unix_ms=revision.created_unix_ms,
        )

    def pinned(self, revision: str) -> Route:
        """A revision that may not be active any more, as a route that nothing comes to. Blocks.

        Raises `NotFound`, also where its files are lost.
        """
        return self._route(self._store.revision(revision))

    def _beside(self, revision: str) -> Route | None:
        """One whose files are lost is logged: the others must not go with it."""
        try:
            return msgspec.structs.replace(self._route(self._store.revision(revision)), beside=True)
        except LambentError as error:
            log.error("revision_lost", extra={"revision": revision, "reason": error.message})
            return None

    def _watch(self, revision: Revision, aliases: Sequence[Alias]) -> None:
        project, name = revision.project, revision.deployment
        wanted = {one.name: _terms(one) for one in aliases if self._routes.split(project, name, one.name)}
        for alias in {*wanted, *self._trials.watched(project, name)}:
            self._trials.watch((project, name, alias), wanted.get(alias))

    async def give_up(self, revision: Revision) -> None:
        """Let what was loaded give its memory back, unless the revision answers all the same."""
        if self._routes.of_revision(revision.id) is None:
            await self._engine.chill(revision.id, Temperature.COLD)

    def unroute(self, project: str, name: str) -> None:
        """Nothing answers under this name any more."""
        self._routes.remove(project, name)
        for alias in self._trials.watched(project, name):
            self._trials.watch((project, name, alias), None)


def check_alike(one: DeploymentSpec, other: DeploymentSpec) -> None:
    """Raise `InvalidSpec` unless both can answer the same request."""
    first, second = _called_by(one), _called_by(other)
    if first is not second:
        raise InvalidSpec(
            f"a revision that is called by {first} and one that is called by {second} cannot share traffic"
        )


def _called_by(spec: DeploymentSpec) -> Interface:
    """A program that serves HTTP is asked as an application is."""
    return Interface.ASGI if spec.runtime is Program.HTTP else spec.interface


def _split(alias: Alias) -> Split:
    return Split(
        revision=alias.revision,
        candidate=alias.candidate,
        percent=alias.percent,
        sticky_header=alias.sticky_header,
    )


def _terms(alias: Alias) -> Terms | None:
    """What is watched: a candidate, where that has bounds."""
    guard = Guard(
        max_error_rate=alias.max_error_rate,
        max_p95_ms=alias.max_p95_ms,
        promote_after_s=alias.promote_after_s,
    )
    if not alias.candidate or guard == Guard():
        return None
    return Terms(
        revision=alias.revision,
        candidate=alias.candidate,
        guard=guard,
        began_unix_ms=alias.changed_unix_ms,
    )
