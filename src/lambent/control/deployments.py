"""What is deployed: new revisions, the way back, the end.

A revision is described and loaded before it is committed: what cannot be imported never becomes active, and
any failure leaves the one before it serving. Changes to one name happen one after another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from lambent.control.activation import Activation, check_alike
from lambent.control.drafting import Draft, Drafting
from lambent.control.holding import Names, to_its_end
from lambent.control.planning import needs_model
from lambent.control.registry import Registry
from lambent.core.errors import LambentError, NotFound
from lambent.core.routing import check_header
from lambent.core.spec import Kind
from lambent.storage import base
from lambent.storage.base import Model, Revision
from lambent.wire.aliases import Canary
from lambent.wire.api import DeployRequest
from lambent.wire.aws.names import LATEST

log = logging.getLogger(__name__)


class Deployed(msgspec.Struct, frozen=True):
    """What a deploy made active, or tries. `changed` are the names that got a new revision."""

    revisions: tuple[Revision, ...]
    changed: tuple[str, ...]
    on_trial: tuple[str, ...] = ()


class Candidate(msgspec.Struct, frozen=True):
    """A revision that is not committed: as it will be, and which was active before it."""

    draft: Draft
    revision: Revision
    model: Model | None
    active_before: str


class Deployments:
    """Deploys, rolls back, promotes, removes."""

    def __init__(
        self,
        *,
        store: base.Deployments,
        drafting: Drafting,
        registry: Registry,
        activation: Activation,
        names: Names,
        forget: Callable[[str, str], None],
    ) -> None:
        self._store: Final = store
        self._drafting: Final = drafting
        self._registry: Final = registry
        self._activation: Final = activation
        self._names: Final = names
        self._forget: Final = forget

    async def restore(self) -> None:
        """At start: let every deployment's active revision answer. One whose files are lost is logged."""
        for deployment in await asyncio.to_thread(self._store.all):
            try:
                revision = await asyncio.to_thread(self._store.revision, deployment.active_revision)
                await self._activation.route(revision)
            except LambentError as error:
                log.error("deployment_lost", extra={"deployment": deployment.name, "reason": error.message})

    async def deploy(self, project: str, request: DeployRequest) -> Deployed:
        """Make what an artifact holds active, or try it; all of it is loaded before any of it is kept.

        Raises `NotFound` for an unknown artifact, `InvalidSpec`, `CallerFault`, `LoadFailed` where the code
        or the model cannot be loaded, `Conflict` where another app has the name, `StorageFull`.
        Cancelled before all of it is loaded it does nothing, and ends the load; later it is seen through.
        """
        if request.canary is not None:
            check_header(request.canary.sticky_header)
        drafts = await self._drafting.drafts(project, request)
        async with self._names.held(project, [draft.name for draft in drafts]):
            candidates = [await self._candidate(project, draft, request.canary) for draft in drafts]
            async with self._given_up_if_it_fails(candidate.revision for candidate in candidates):
                for candidate in candidates:
                    await self._activation.load(candidate.revision)
                made = await to_its_end(self._keep(candidates, request.canary))
        before = {candidate.active_before for candidate in candidates}
        on_trial = tuple(
            one.deployment for one, candidate in zip(made, candidates, strict=True)
            if request.canary and _is_tried(candidate)
        )  # fmt: skip
        return Deployed(made, tuple(one.deployment for one in made if one.id not in before), on_trial)

    async def rollback(self, project: str, name: str, to: int | None) -> Revision:
        """Make an older revision active: number `to`, or the one before the active.

        While another one is on trial beside the active, going back is to end that. Raises `NotFound`, and
        `LoadFailed` where it does not load any more. Cancelled before it is loaded it does nothing, and ends
        the load.
        """
        async with self._names.held(project, [name]):
            target = active = await self.active(project, name)
            if to is not None or not self._activation.on_trial(project, name):
                target = _rollback_target(await self.revisions(project, name), active, to)
            async with self._given_up_if_it_fails([target]):
                await self._activation.load_unless_live(target)
                await to_its_end(self._activation.activate(target))
        log.info("rolled_back", extra={"deployment": name, "revision": target.id, "number": target.number})
        return target

    async def remove(self, project: str, name: str) -> None:
        """Forget a deployment. What runs finishes; what waits hears that it is gone. Raises `NotFound`."""
        async with self._names.held(project, [name]):
            await to_its_end(self._remove(project, name))
        log.info("removed", extra={"deployment": name})

    async def _remove(self, project: str, name: str) -> None:
        await asyncio.to_thread(self._store.remove, project, name)
        self._activation.unroute(project, name)
        await asyncio.to_thread(self._forget, project, name)

    async def promote_model(self, project: str, name: str, model: Model) -> Revision:
        """Serve a registered model: the active specification and code with these files.

        Raises `NotFound` where the deployment is gone, `LoadFailed` where the model cannot be loaded.
        """
        async with self._names.held(project, [name]):
            deployment = await self._deployment(project, name)
            active = await asyncio.to_thread(self._store.revision, deployment.active_revision)
            wanted = await self._activation.wanted(project, active.spec, active.code_digest, model)
            async with self._given_up_if_it_fails([wanted]):
                await self._activation.load(wanted)
                return await self._activation.commit(wanted, app=deployment.app, model=model)

    async def active(self, project: str, name: str) -> Revision:
        """The revision that answers under a name. Raises `NotFound`."""
        deployment = await self._deployment(project, name)
        return await asyncio.to_thread(self._store.revision, deployment.active_revision)

    async def all(self, project: str) -> Sequence[Revision]:
        """The active revisions of a project, by name."""
        # In one hop to a thread: a hop for each would cost more than what is read there.
        return await asyncio.to_thread(
            lambda: [self._store.revision(one.active_revision) for one in self._store.all(project)]
        )

    async def revisions(self, project: str, name: str) -> Sequence[Revision]:
        """Newest first; none where there is no such deployment."""
        return await asyncio.to_thread(self._store.revisions, project, name)

    async def _deployment(self, project: str, name: str) -> base.Deployment:
        found = await asyncio.to_thread(self._store.find, project, name)
        if found is None:
            raise NotFound(f"there is no deployment {name!r}; `lambent ls` lists what there is")
        return found

    async def _candidate(self, project: str, draft: Draft, canary: Canary | None) -> Candidate:
        before = await asyncio.to_thread(self._store.find, project, draft.name)
        base.check_owner(before, draft.planned.app)
        if canary is not None and before is not None:
            active = await asyncio.to_thread(self._store.revision, before.active_revision)
            check_alike(active.spec, draft.planned.spec)
        model = await self._model(project, draft)
        wanted = await self._activation.wanted(project, draft.planned.spec, draft.code_digest, model)
        return Candidate(draft, wanted, model, before.active_revision if before else "")

    async def _model(self, project: str, draft: Draft) -> Model | None:
        """The model that the revision will serve: the one it brings, else the newest of its name."""
        if draft.planned.spec.kind is not Kind.MODEL:
            return None
        if draft.ready is not None:
            return await self._registry.as_registered(project, draft.name, draft.ready)
        return await self._registry.latest(project, draft.name)

    async def _keep(self, candidates: Iterable[Candidate], canary: Canary | None) -> tuple[Revision, ...]:
        made: list[Revision] = []
        for one in candidates:
            draft, model = one.draft, one.model
            if draft.ready is not None and model is not None:
                model = await self._registry.register(model)
            if canary and _is_tried(one):
                made.append(await self._activation.try_out(one.revision, one.active_before, canary))
            else:
                made.append(await self._activation.commit(one.revision, app=draft.planned.app, model=model))
        return tuple(made)

    @asynccontextmanager
    async def _given_up_if_it_fails(self, revisions: Iterable[Revision]) -> AsyncIterator[None]:
        """What was loaded of these gives its memory back where the block fails or is cancelled."""
        try:
            yield
        except BaseException:
            for revision in revisions:
                await self._activation.give_up(revision)
            raise


def _is_tried(one: Candidate) -> bool:
    """What is new, is a job or has no model yet is not: there is nothing to compare it with."""
    revision = one.revision
    changes = one.active_before not in ("", revision.id)
    return changes and revision.spec.kind is not Kind.JOB and not needs_model(revision)


def _rollback_target(revisions: Sequence[Revision], active: Revision, to: int | None) -> Revision:
    own = ("", LATEST)  # what was published as a version of AWS's is one of $LATEST's, kept beside it
    older = [
        one
        for one in revisions
        if (one.number < active.number and one.spec.version in own if to is None else one.number == to)
    ]
    if not older:
        which = "before the active one" if to is None else f"with number {to}"
        raise NotFound(f"{active.deployment!r} has no revision {which}")
    return max(older, key=lambda one: one.number)
