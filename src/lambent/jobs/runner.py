"""Runs of jobs: each waits for its turn, runs in slices, and ends once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import CallerFault, Conflict, NotFound, QueueFull
from lambent.core.invocation import id_from, new_id
from lambent.core.mapping import item_key
from lambent.core.running import PLAIN, Room, RunTerms
from lambent.core.slicing import (
    FINAL,
    NO_CHECKPOINT,
    TRANSITIONS,
    Event,
    ExitWord,
    RunState,
    moved,
)
from lambent.core.spec import Kind, Param
from lambent.engines.base import Engine
from lambent.jobs.book import Book
from lambent.jobs.children import Children
from lambent.jobs.datasets import HeldDatasets
from lambent.jobs.folders import Folders
from lambent.jobs.judging import Judging
from lambent.jobs.leaving import Arenas
from lambent.jobs.recorder import Recorder
from lambent.jobs.results import Promote, Results
from lambent.jobs.runs import OnEnd
from lambent.jobs.slices import Asking, Slices
from lambent.jobs.turns import Turns
from lambent.metering.journal import UsageRecord
from lambent.pool.routes import Route, Routes
from lambent.storage.base import Artifacts, Models, Run, Runs, RunsWanted
from lambent.wire.fanning import RunEnd

LIVE_MAX: Final = 10_000
AFTER_MAX: Final = 100
RETRY_AFTER_S: Final = 30.0

log = logging.getLogger(__name__)


class Runner:
    """Starts runs and sees each to its end."""

    def __init__(
        self,
        engine: Engine,
        routes: Routes,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        runs: Runs,
        models: Models,
        artifacts: Artifacts,
        runs_dir: Path,
        promote: Promote,
        meter: Callable[[UsageRecord], None],
        datasets: HeldDatasets,
        arenas: Arenas,
        pinned: Callable[[str], Route],
        recorder: Recorder,
        room: Room,
    ) -> None:
        """`pinned` finds the route of a revision that may not be active any more, and blocks."""
        self._routes: Final = routes
        self._clock: Final = clock
        self._runs: Final = runs
        self._datasets: Final = datasets
        self._book: Final = Book(runs, tasks)
        judging = Judging(routes, models)
        self._slices: Final = Slices(engine, clock, meter, datasets, arenas, judging, recorder)
        self._tasks: Final = tasks
        self._turns: Final = Turns(
            clock, tasks,
            runs=runs, book=self._book, routes=routes, pinned=pinned, room=room, slices=self._slices,
            folders=Folders(runs_dir, arenas), results=Results(models, artifacts, promote),
            judging=judging, recorder=recorder,
        )  # fmt: skip
        self.children: Final = Children(self, self._turns, runs, routes, tasks)
        self._slices.let_start(self.children.asks)

    def listen(self, asking: Asking) -> None:
        """Let runs call other deployments by this way; until then they are told that they may not."""
        self._slices.listen(asking)

    # What is asked for.

    async def start(
        self,
        project: str,
        job: str,
        params: Mapping[str, Param],
        *,
        terms: RunTerms = PLAIN,
        on_end: OnEnd | None = None,
    ) -> Run:
        """Store a run and return it; it goes on by itself, once its turn comes.

        Its model goes to `terms.for_deployment`, or to the deployment that trains with this job. Raises
        `NotFound` where there is no such job, or run to start after, `CallerFault` where it is not a job,
        `QueueFull`.
        """
        route = self._job(project, job)
        if len(self._turns.live) >= LIVE_MAX:
            raise QueueFull(f"{LIVE_MAX} runs are not over, the maximum", retry_after_s=RETRY_AFTER_S)
        identity = _id_of(project, job, terms.key) if terms.key else new_id()
        if terms.key and (before := await asyncio.to_thread(self._runs.find, identity)):
            return before
        known = await self._known(project, terms.after)
        datasets = await asyncio.to_thread(self._datasets.chosen, project, terms.datasets)
        run = self._new(route, identity, params, terms, datasets)
        return await self._accepted(run, known, [on_end] if on_end else [])

    async def start_all(
        self, project: str, job: str, items: Sequence[Mapping[str, Param]], *, terms: RunTerms = PLAIN
    ) -> Sequence[str]:
        """Store a run for each item, in one transaction, and return their ids in that order.

        They are numbered from `terms.index` on. With a key those that are there already stay as they are.
        Raises as `start` does.
        """
        route = self._job(project, job)
        if len(self._turns.live) + len(items) > LIVE_MAX:
            raise QueueFull(f"{LIVE_MAX} runs are not over, the maximum", retry_after_s=RETRY_AFTER_S)
        datasets = await asyncio.to_thread(self._datasets.chosen, project, terms.datasets)
        numbered = [
            msgspec.structs.replace(terms, index=index, key=item_key(terms.key, index, params))
            for index, params in enumerate(items, terms.index)
        ]
        ids = [_id_of(project, job, each.key) if each.key else new_id() for each in numbered]
        there = await asyncio.to_thread(self._there, ids) if terms.key else set[str]()
        new = [
            self._new(route, identity, params, each, datasets)
            for identity, params, each in zip(ids, items, numbered, strict=True)
            if identity not in there
        ]
        if new:
            await asyncio.shield(self._tasks.create_task(self._all_accepted(new), name=f"map {job}"))
        return ids

    async def ends(self, project: str, runs: Sequence[str], *, wait_s: float) -> Sequence[RunEnd]:
        """How the first of these ended, up to one that is not over; waits for one, but not longer than that.

        Raises `NotFound` where one is none of the project's.
        """
        return await self.children.ends(project, runs, wait_s=wait_s)

    async def cancel(self, project: str, run: str) -> Run:
        """Let it end now: what waits never starts, what runs is asked to leave and soon killed.

        Raises `NotFound`, and `Conflict` where it is over. That it is wanted is on disk when this returns.
        """
        live = self._turns.live.find(run)
        if live is not None and live.run.project == project and live.run.state not in FINAL:
            await self._turns.cancel(live)
            return live.run
        found = live.run if live else await self._found(project, run)
        if found.project != project:
            raise _unknown(run)
        if found.state in FINAL - {RunState.CANCELLED}:
            raise Conflict(f"run {run!r} is {found.state.value}: only one that is not over can be cancelled")
        return found

    async def retry(self, project: str, run: str, *, max_cost_usd: float | None = None) -> Run:
        """Let one that has failed or was cancelled go on from its last checkpoint, by its job's newest code.

        What ended because it waited for it waits again. All that it has cost counts for `max_cost_usd`, its
        bound from now on, where None is the one that it had. Raises `NotFound`, `Conflict`.
        """
        found = self.now(await self._found(project, run))
        if Event.RETRY not in TRANSITIONS[found.state]:
            raise Conflict(f"run {run!r} is {found.state.value}: only one that has failed can be tried again")
        if max_cost_usd is not None:
            found = msgspec.structs.replace(found, max_cost_usd=max_cost_usd)
        if 0 < found.max_cost_usd <= found.cost_usd:
            spent = f"${found.cost_usd:.6g} of the ${found.max_cost_usd:.6g} that it may"
            raise Conflict(f"run {run!r} has cost {spent}: a larger --max-cost lets it go on")
        route = self._job(project, found.job)
        known = await self._known(project, found.after)
        for other, state in known.items():
            if state in FINAL - {RunState.SUCCEEDED}:
                raise Conflict(
                    f"run {run!r} starts after run {other!r}, which is {state.value}: retry that one"
                )
        again = await self._accepted(_anew(found, route.plan.revision), known)
        revived = [run]
        for one in revived:
            for waiting in await asyncio.to_thread(self._runs.waiting_for, one):
                if waiting.exit == ExitWord.DEPENDENCY_FAILED and self._turns.live.find(waiting.id) is None:
                    await self._accepted(_anew(waiting, waiting.revision), {})
                    revived.append(waiting.id)
        await self._retry_children(found)
        return again

    async def _retry_children(self, parent: Run) -> None:
        """What it had started and has not succeeded goes on with it: it asks for the same runs again."""
        for state in (RunState.FAILED, RunState.CANCELLED):
            wanted = RunsWanted(parent=parent.id, state=state, limit=LIVE_MAX)
            for child in await asyncio.to_thread(self._runs.all, parent.project, wanted):
                route = self._routes.get(child.project, child.job)
                if route is not None and self._turns.live.find(child.id) is None:
                    await self._accepted(_anew(child, route.plan.revision), {})

    def now(self, run: Run) -> Run:
        """A run as it stands at this moment; while it is queued, its `reason` says what it waits for."""
        live = self._turns.live.find(run.id)
        if live is None or live.run.state in FINAL:  # an end is one once it is on disk
            return run
        if live.run.state is RunState.QUEUED:
            return msgspec.structs.replace(live.run, reason=self._turns.live.why_it_waits(live))
        return live.run

    def attend(self, project: str, deployment: str, on_end: OnEnd) -> bool:
        """Whether a run is under way that trains a deployment; `on_end` is called when it is over."""
        for live in self._turns.live:
            if live.run.project == project and live.run.for_deployment == deployment:
                live.on_end.append(on_end)
                return True
        return False

    # Its life.

    async def restore(self) -> None:
        """Take up what an earlier server left, before anything is started."""
        await self._turns.restore()

    def pause(self) -> None:
        """Start nothing more, and let what runs commit its state and leave. For good: the server stops."""
        self._turns.pause()

    async def settle(self, within_s: float) -> None:
        """Wait until all have left, but not longer. Who has not, goes on from its last checkpoint."""
        await self._turns.settle(within_s)

    # How runs enter.

    def _job(self, project: str, job: str) -> Route:
        route = self._routes.get(project, job)
        if route is None:
            raise NotFound(f"there is no job {job!r}; `lambent ls` lists what there is")
        if route.spec.kind is not Kind.JOB:
            raise CallerFault(
                f"{job!r} is a {route.spec.kind.value}, not a job: call it with `lambent invoke {job}`"
            )
        return route

    def _new(
        self,
        route: Route,
        identity: str,
        params: Mapping[str, Param],
        terms: RunTerms,
        datasets: dict[str, int],
    ) -> Run:
        return Run(
            id=identity,
            project=route.project,
            job=route.name,
            for_deployment=terms.for_deployment or self._trained_by(route.project, route.name),
            revision=route.plan.revision,
            state=RunState.QUEUED,
            params=dict(params),
            after=terms.after,
            priority=route.spec.priority if terms.priority is None else terms.priority,
            max_cost_usd=terms.max_cost_usd or route.spec.max_cost_usd,
            parent=terms.parent,
            index=terms.index,
            created_unix_ms=self._clock.unix_ms(),
            datasets=datasets,
        )

    def _there(self, ids: Sequence[str]) -> set[str]:
        return {identity for identity in ids if self._runs.find(identity) is not None}

    async def _all_accepted(self, runs: Sequence[Run]) -> None:
        await self._book.put_new(runs)
        for run in runs:
            self._turns.enter(run, {}, ())
        if runs[0].parent and self._turns.live.find(runs[0].parent) is None:  # it was over before
            self._turns.cancel_children(runs[0].parent)

    def _trained_by(self, project: str, job: str) -> str:
        users = [r.name for r in self._routes.all() if r.project == project and r.spec.train == job]
        return users[0] if len(users) == 1 else ""

    async def _known(self, project: str, after: Sequence[str]) -> dict[str, RunState]:
        """The runs to start after, and what is stored of them. Raises `NotFound`."""
        if len(after) > AFTER_MAX:
            raise CallerFault(f"a run starts after {AFTER_MAX} others at most, not after {len(after)}")
        return {one: (await self._found(project, one)).state for one in after}

    async def _found(self, project: str, run: str) -> Run:
        found = await asyncio.to_thread(self._runs.find, run)
        if found is None or found.project != project:
            raise _unknown(run)
        return found

    async def _accepted(self, run: Run, known: Mapping[str, RunState], on_end: Sequence[OnEnd] = ()) -> Run:
        """Store it, then let it wait for its turn; also where the caller leaves meanwhile."""

        def enter(made: asyncio.Future[None]) -> None:
            if not made.cancelled() and made.exception() is None:
                self._turns.enter(run, known, on_end)

        made = self._book.ask(run)
        made.add_done_callback(enter)
        await asyncio.shield(made)
        return run


def _anew(run: Run, revision: str) -> Run:
    """A run that is over, as it waits once more: with all its time, and from its last checkpoint."""
    return msgspec.structs.replace(
        run,
        state=moved(run.state, Event.RETRY),
        revision=revision,
        exit="",
        reason="",
        end_asked="",
        warning="",
        ended_unix_ms=None,
        due_unix_ms=0,
        slices=0,
        earlier_ms=run.earlier_ms + run.running_ms,
        running_ms=0,
        attempts=0,
        failed_step=NO_CHECKPOINT,
        failed_by="",
    )


def _unknown(run: str) -> NotFound:
    return NotFound(f"there is no run {run!r}; `lambent runs` lists what there is")


def _id_of(project: str, job: str, key: str) -> str:
    return id_from(hashlib.sha256(f"{project}\n{job}\n{key}".encode()).digest())
