"""What the operator sees, made from what is stored and from what is true now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from lambent.control.planning import needs_model
from lambent.core.costing import PLAN, forecast
from lambent.core.spec import Kind, Temperature
from lambent.engines.base import ProcessFacts
from lambent.engines.proc import memory_of
from lambent.pool.pool import Pool
from lambent.storage.base import Revision, Run
from lambent.wire.aliases import AliasView
from lambent.wire.api import (
    DeploymentDetail,
    DeploymentView,
    ProcessView,
    RevisionView,
)
from lambent.wire.runs import RunView
from lambent.wire.timers import TimerView

Queued = Callable[[str, str], int]
Because = Callable[[str], str]
TimersOf = Callable[[str, str], Sequence[TimerView]]


class Views:
    """Deployments and processes as they are at this moment.

    `queued` counts who waits for a deployment, `because` says why a revision is kept as it is, by which
    `keep_policy`, `timers` what invokes a deployment by the clock.
    """

    def __init__(
        self,
        pool: Pool,
        queued: Queued,
        because: Because,
        *,
        timers: TimersOf = lambda _project, _name: (),
        keep_policy: str = "",
    ) -> None:
        self._pool: Final = pool
        self._queued: Final = queued
        self._because: Final = because
        self._timers: Final = timers
        self._keep_policy: Final = keep_policy

    async def deployments(self, active: Iterable[Revision], base_url: str) -> tuple[DeploymentView, ...]:
        """One view for each active revision. The memory of their processes is looked up once."""
        active = tuple(active)
        own: dict[str, list[ProcessFacts]] = {revision.id: [] for revision in active}
        for facts in await asyncio.to_thread(self._pool.engine.census, own.keys()):
            own[facts.revision].append(facts)
        return tuple(self._deployment(revision, own[revision.id], base_url) for revision in active)

    async def detail(
        self, active: Revision, revisions: Sequence[Revision], aliases: Sequence[AliasView], base_url: str
    ) -> DeploymentDetail:
        """One deployment with its history and its aliases."""
        [view] = await self.deployments([active], base_url)
        wakes = self._pool.wakes.of(active.project, active.deployment)
        return DeploymentDetail(
            deployment=view,
            revisions=tuple(revision_view(one, active.id) for one in revisions),
            wakes=wakes.recent(),
            kept_because=self._because(active.id),
            keep_policy=self._keep_policy,
            wake_statistics=wakes.statistics(),
            aliases=tuple(aliases),
            timers=tuple(self._timers(active.project, active.deployment)),
        )

    async def processes(self, project: str, jobs: Mapping[str, str]) -> tuple[ProcessView, ...]:
        """The processes of a project, and the environment templates, which are nobody's.

        `jobs` tells the deployment of a job's revision: the pool does not know those.
        """
        crews = (crew.plan for crew in self._pool.crews() if crew.plan.project == project)
        names = {**jobs, **{plan.revision: plan.deployment for plan in crews}, "": ""}
        return tuple(
            ProcessView(
                pid=facts.pid,
                role=facts.role,
                deployment=names[facts.revision],
                pss_bytes=facts.pss_bytes,
                private_bytes=facts.private_bytes,
            )
            for facts in await asyncio.to_thread(self._pool.engine.census)
            if facts.revision in names
        )

    def _deployment(self, revision: Revision, own: Sequence[ProcessFacts], base_url: str) -> DeploymentView:
        crew = self._pool.crew(revision.id)
        pss_bytes = sum(facts.pss_bytes for facts in own)
        private_bytes = sum(facts.private_bytes for facts in own)
        safety = self._pool.engine.safety(revision.id)
        is_job = revision.spec.kind is Kind.JOB
        return DeploymentView(
            name=revision.deployment,
            kind=revision.spec.kind,
            revision=revision.id,
            number=revision.number,
            url="" if is_job else f"{base_url}/invoke/{revision.deployment}",
            temperature=Temperature.COLD if is_job else self._pool.temperature(revision.id),
            workers=len(crew.members) if crew else 0,
            queued=self._queued(revision.project, revision.deployment),
            pss_bytes=pss_bytes,
            private_bytes=private_bytes,
            shared_bytes=max(0, pss_bytes - private_bytes),
            created_unix_ms=revision.created_unix_ms,
            keep=revision.spec.keep,
            needs_model=needs_model(revision),
            model_number=revision.model_number,
            unsafe=(*crew.plan.remarks, *safety.unsafe) if crew and safety.unsafe else safety.unsafe,
            overruled=safety.overruled,
            last_error=crew.last_error if crew else "",
            last_wake=self._pool.wakes.of(revision.project, revision.deployment).last(),
        )


def revision_view(revision: Revision, active: str) -> RevisionView:
    """A revision; `active` is the id of the one that answers."""
    return RevisionView(
        revision=revision.id,
        number=revision.number,
        created_unix_ms=revision.created_unix_ms,
        active=revision.id == active,
        spec=revision.spec,
        code_digest=revision.code_digest,
        model_digest=revision.model_digest,
        model_number=revision.model_number,
    )


def run_view(run: Run) -> RunView:
    """A run."""
    ran_ms = run.earlier_ms + run.running_ms
    ahead = forecast(cost_usd=run.cost_usd, running_ms=ran_ms, progress=run.progress)
    if run.ended_unix_ms is not None:
        ahead = None
    return RunView(
        run=run.id,
        job=run.job,
        for_deployment=run.for_deployment,
        state=run.state.value,
        reason=run.reason,
        progress=run.progress,
        message=run.message,
        metrics=run.metrics,
        params=run.params,
        model_number=run.model_number,
        created_unix_ms=run.created_unix_ms,
        ended_unix_ms=run.ended_unix_ms,
        started_unix_ms=run.started_unix_ms,
        due_unix_ms=run.due_unix_ms,
        slices=run.slices,
        running_ms=ran_ms,
        step=run.step,
        checkpoint_unix_ms=run.checkpoint_unix_ms,
        attempts=run.attempts,
        priority=run.priority,
        after=run.after,
        parent=run.parent,
        index=run.index,
        datasets=run.datasets,
        max_cost_usd=run.max_cost_usd,
        cost_usd=run.cost_usd,
        exit=run.exit,
        result=msgspec.Raw(run.result.encode()) if run.result else None,
        model_refused=run.model_refused,
        warning=run.warning,
        price_plan=PLAN.name,
        forecast_usd=ahead.cost_usd if ahead else None,
        left_s=ahead.left_s if ahead else None,
    )


def server_process(pid: int) -> ProcessView:
    """The server itself. Blocks for a look at /proc."""
    memory = memory_of(pid)
    return ProcessView(
        pid=pid,
        role="server",
        deployment="",
        pss_bytes=memory.pss_bytes,
        private_bytes=memory.private_bytes,
    )
