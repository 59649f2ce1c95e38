"""Aliases and trials: set, promoted, taken away, and ended when what is tried turns out badly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.activation import Activation, check_alike
from lambent.control.holding import Names, to_its_end
from lambent.control.planning import needs_model
from lambent.core.canary import Action, Verdict
from lambent.core.errors import InvalidSpec, LambentError, NotFound
from lambent.core.routing import OWN, Split, check_alias, check_header
from lambent.core.spec import Kind
from lambent.pool.routes import Arrangement, Routes
from lambent.pool.trials import Key, Standing, Terms, Trials
from lambent.storage.aliases import Alias, Aliases
from lambent.storage.base import Deployments, Revision
from lambent.wire.aliases import AliasRequest, AliasView, PromoteRequest, TrialView

log = logging.getLogger(__name__)


class Aliasing:
    """Changes aliases one after another, and carries out what is found of trials."""

    def __init__(
        self,
        *,
        store: Deployments,
        aliases: Aliases,
        activation: Activation,
        routes: Routes,
        trials: Trials,
        names: Names,
        clock: Clock,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._store: Final = store
        self._aliases: Final = aliases
        self._activation: Final = activation
        self._routes: Final = routes
        self._trials: Final = trials
        self._names: Final = names
        self._clock: Final = clock
        self._tasks: Final = tasks
        trials.listen(self.carry_out)

    async def put(self, project: str, name: str, alias: str, wanted: AliasRequest) -> AliasView:
        """Let an alias stand for what is wanted; loaded before it answers.

        Raises `NotFound`, `InvalidSpec`, and `LoadFailed` where a revision does not load any more.
        """
        check_alias(alias)
        check_header(wanted.sticky_header)
        async with self._names.held(project, [name]):
            active, numbered = await self._revisions(project, name)
            revision = _usable(numbered, name, wanted.revision)
            candidate = None if wanted.candidate is None else _usable(numbered, name, wanted.candidate)
            before = await self._find(project, name, alias)
            made = self._made(alias, wanted, revision, candidate, before)
            await self._activation.load_unless_live(revision)
            if candidate is not None:
                await self._activation.load_unless_live(candidate)
            await to_its_end(self._keep(made, active))
        log.info("alias_put", extra={"deployment": name, "alias": alias, "number": wanted.revision})
        return self._view(made, _numbers(numbered.values()))

    async def all(self, project: str, name: str) -> tuple[AliasView, ...]:
        """Those of a deployment, its own first. Raises `NotFound`."""
        _, numbered = await self._revisions(project, name)
        found = await asyncio.to_thread(self._aliases.of, project, name)
        return tuple(self._view(one, _numbers(numbered.values())) for one in found)

    async def remove(self, project: str, name: str, alias: str) -> None:
        """Take an alias away. Raises `NotFound`."""
        async with self._names.held(project, [name]):
            active, _ = await self._revisions(project, name)
            await to_its_end(self._take_away(project, name, alias, active))

    async def promote(self, project: str, name: str, wanted: PromoteRequest, note: str = "") -> AliasView:
        """Give what is on trial more of the traffic, or all: it takes over. Raises `NotFound`."""
        async with self._names.held(project, [name]):
            active, numbered = await self._revisions(project, name)
            before = await self._find(project, name, wanted.alias)
            if before is None or not before.candidate:
                under = f"under {wanted.alias!r}" if wanted.alias else "beside its active revision"
                raise NotFound(f"{name!r} has nothing on trial {under}")
            numbers = _numbers(numbered.values())
            if wanted.percent < 100:
                made = msgspec.structs.replace(before, percent=wanted.percent)
                await to_its_end(self._keep(made, active))
                return self._view(made, numbers)
            made = self._ended(before, before.candidate, note)
            if wanted.alias == OWN:
                await to_its_end(self._activation.activate(numbered[numbers[before.candidate]]))
            else:
                await to_its_end(self._keep(made, active))
        log.info("promoted", extra={"deployment": name, "alias": wanted.alias, "revision": made.revision})
        return self._view(made, numbers)

    def carry_out(self, key: Key, terms: Terms, verdict: Verdict) -> None:
        """Do what a verdict says. A candidate that goes back gets no call from now on."""
        if verdict.action is Action.ROLL_BACK:
            self._withdraw(key, terms)
        self._tasks.create_task(self._settle(key, terms, verdict), name=f"verdict on {key[1]}")

    def _withdraw(self, key: Key, terms: Terms) -> None:
        project, name, alias = key
        now = self._routes.arrangement(project, name)
        split = now.splits.get(alias) if now else None
        if now is None or split is None or split.candidate != terms.candidate:
            return
        splits = {**now.splits, alias: Split(revision=split.revision, sticky_header=split.sticky_header)}
        self._routes.arrange(Arrangement(now.route, now.beside, splits))

    async def _settle(self, key: Key, terms: Terms, verdict: Verdict) -> None:
        project, name, alias = key
        try:
            if verdict.action is Action.PROMOTE:
                await self.promote(project, name, PromoteRequest(alias=alias), note=verdict.reason)
            else:
                await self._go_back(key, terms, verdict.reason)
        except LambentError as error:  # it is pronounced again
            log.error("verdict_not_kept", extra={"deployment": name, "reason": error.message})
        except Exception:
            log.exception("verdict_crashed", extra={"deployment": name})

    async def _go_back(self, key: Key, terms: Terms, reason: str) -> None:
        project, name, alias = key
        before = await self._find(project, name, alias)
        if before is None or before.candidate != terms.candidate:
            return
        number = (await asyncio.to_thread(self._store.revision, terms.candidate)).number
        ended = self._ended(before, before.revision, f"revision {number} went back: {reason}")
        if await asyncio.to_thread(lambda: self._aliases.end_trial(ended, expects=terms.candidate)):
            log.warning(
                "went_back",
                extra={"deployment": name, "alias": alias, "number": number, "reason": reason},
            )
        async with self._names.held(project, [name]):
            # A change that had read the alias before it was ended may have let the candidate answer again.
            active, _ = await self._revisions(project, name)
            await to_its_end(self._activation.route(active))

    def _ended(self, before: Alias, revision: str, note: str) -> Alias:
        return Alias(
            project=before.project,
            deployment=before.deployment,
            name=before.name,
            revision=revision,
            sticky_header=before.sticky_header,
            note=note,
            changed_unix_ms=self._clock.unix_ms(),
        )

    def _made(
        self,
        name: str,
        wanted: AliasRequest,
        revision: Revision,
        candidate: Revision | None,
        before: Alias | None,
    ) -> Alias:
        bounds = (wanted.percent, wanted.max_error_rate, wanted.max_p95_ms, wanted.promote_after_s)
        if candidate is None and any(bounds):
            raise InvalidSpec("a percent and bounds are for two revisions, one of which is on trial")
        if candidate is not None and candidate.id == revision.id:
            raise InvalidSpec(f"revision {revision.number} cannot be tried beside itself")
        if candidate is not None:
            check_alike(revision.spec, candidate.spec)
        made = Alias(
            project=revision.project,
            deployment=revision.deployment,
            name=name,
            revision=revision.id,
            candidate=candidate.id if candidate else "",
            percent=wanted.percent,
            sticky_header=wanted.sticky_header.lower(),
            max_error_rate=wanted.max_error_rate,
            max_p95_ms=wanted.max_p95_ms,
            promote_after_s=wanted.promote_after_s,
            changed_unix_ms=self._clock.unix_ms(),
        )
        if before and (before.revision, before.candidate) == (made.revision, made.candidate):
            # The same trial goes on: it has been well for as long as before.
            made = msgspec.structs.replace(made, changed_unix_ms=before.changed_unix_ms)
        return made

    async def _keep(self, alias: Alias, active: Revision) -> None:
        await asyncio.to_thread(self._aliases.put, alias)
        await self._activation.route(active)

    async def _take_away(self, project: str, name: str, alias: str, active: Revision) -> None:
        await asyncio.to_thread(self._aliases.remove, project, name, alias)
        await self._activation.route(active)

    async def _find(self, project: str, name: str, alias: str) -> Alias | None:
        found = await asyncio.to_thread(self._aliases.of, project, name)
        return next((one for one in found if one.name == alias), None)

    async def _revisions(self, project: str, name: str) -> tuple[Revision, Mapping[int, Revision]]:
        """The active one, and all by their number."""
        deployment = await asyncio.to_thread(self._store.find, project, name)
        if deployment is None:
            raise NotFound(f"there is no deployment {name!r}; `lambent ls` lists what there is")
        found: Sequence[Revision] = await asyncio.to_thread(self._store.revisions, project, name)
        active = next(one for one in found if one.id == deployment.active_revision)
        return active, {one.number: one for one in found}

    def _view(self, alias: Alias, numbers: Mapping[str, int]) -> AliasView:
        standing = self._trials.standing((alias.project, alias.deployment, alias.name))
        return AliasView(
            name=alias.name,
            revision=numbers[alias.revision],
            candidate=numbers[alias.candidate] if alias.candidate else None,
            percent=alias.percent,
            sticky_header=alias.sticky_header,
            max_error_rate=alias.max_error_rate,
            max_p95_ms=alias.max_p95_ms,
            promote_after_s=alias.promote_after_s,
            changed_unix_ms=alias.changed_unix_ms,
            note=alias.note,
            trial=_trial(standing) if standing and alias.candidate else None,
        )


def _trial(standing: Standing) -> TrialView:
    old, new = standing.old, standing.new
    return TrialView(
        calls=new.calls, failed=new.failed, timed=new.timed, slow=new.slow,
        old_calls=old.calls, old_failed=old.failed, old_timed=old.timed, old_slow=old.slow,
        state=standing.verdict.reason or "it goes on",
    )  # fmt: skip


def _numbers(revisions: Iterable[Revision]) -> Mapping[str, int]:
    return {one.id: one.number for one in revisions}


def _usable(numbered: Mapping[int, Revision], name: str, number: int) -> Revision:
    revision = numbered.get(number)
    if revision is None:
        raise NotFound(f"{name!r} has no revision {number}; `lambent show {name}` lists them")
    if revision.spec.kind is Kind.JOB:
        raise InvalidSpec(f"{name!r} is a job, which is run and not invoked: it has no aliases")
    if needs_model(revision):
        raise InvalidSpec(f"revision {number} of {name!r} has no model: it cannot answer under an alias")
    return revision
