"""Runs take turns: each starts when there is room, runs in slices, and is seen to its end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError, NotFound, PlatformFault
from lambent.core.running import Job, Room
from lambent.core.slicing import (
    BACKOFF_S_MAX,
    FINAL,
    Again,
    Asked,
    End,
    Event,
    ExitWord,
    Facts,
    How,
    RunState,
    SliceEnd,
    ended_as,
    moved,
    next_step,
)
from lambent.core.spec import DeploymentSpec, Kind
from lambent.jobs.book import Book
from lambent.jobs.diary import Diary
from lambent.jobs.folders import Folders
from lambent.jobs.judging import Judging
from lambent.jobs.leaving import Leave
from lambent.jobs.recorder import Recorder
from lambent.jobs.results import Results
from lambent.jobs.runs import Live, LiveRuns, OnEnd
from lambent.jobs.slices import Over, Slices, terms_of
from lambent.pool.routes import Route, Routes
from lambent.storage.base import Model, Run, Runs
from lambent.wire.oneshot import MODEL_DIR, JobResult

log = logging.getLogger(__name__)


class Turns:
    """The runs that are not over, and all that happens to them until they are."""

    def __init__(
        self,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        runs: Runs,
        book: Book,
        routes: Routes,
        pinned: Callable[[str], Route],
        folders: Folders,
        slices: Slices,
        results: Results,
        judging: Judging,
        recorder: Recorder,
        room: Room,
    ) -> None:
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._runs: Final = runs
        self._book: Final = book
        self._routes: Final = routes
        self._pinned: Final = pinned
        self._folders: Final = folders
        self._slices: Final = slices
        self._results: Final = results
        self._judging: Final = judging
        self._recorder: Final = recorder
        self.live: Final = LiveRuns(room, self._spec_of)
        self._working: Final[set[asyncio.Task[None]]] = set()
        self._is_stirred = self._is_paused = False

    async def restore(self) -> None:
        """Take up what an earlier server left, before anything is started."""
        unfinished = await asyncio.to_thread(self._runs.unfinished)
        await asyncio.to_thread(self._folders.begin, {run.id for run in unfinished})
        for run in unfinished:
            queued = msgspec.structs.replace(run, state=RunState.QUEUED)
            self.live.enter(self._diary(queued), waits=run.after)
        for live in self.live:
            self._look_at_waits(live, {})
        for live in self.live:
            if live.run.parent:
                self._spawn(self._cancel_orphan(live), f"look after {live.run.job}")
        if unfinished:
            log.info("runs_taken_up", extra={"count": len(unfinished)})

    def pause(self) -> None:
        """Start nothing more, and let what runs commit its state and leave. For good: the server stops."""
        self._is_paused = True
        for live in self.live:
            if live.leave is not None:
                live.leave.ask(Asked.STOP)

    async def settle(self, within_s: float) -> None:
        """Wait until all have left, but not longer. Who has not, goes on from its last checkpoint."""
        if self._working:
            await asyncio.wait(self._working, timeout=within_s)

    def enter(self, run: Run, known: Mapping[str, RunState], on_end: Sequence[OnEnd]) -> None:
        """One more that is stored. `known` is what was stored of the runs that it is to start after."""
        there = self.live.find(run.id)
        if there is not None:  # asked for twice at once
            there.on_end.extend(on_end)
            return
        live = self.live.enter(self._diary(run), waits=run.after, on_end=on_end)
        self._look_at_waits(live, known)

    async def cancel(self, live: Live) -> None:
        """Let it end now. That it is wanted is on disk when this returns. Raises what the store raises."""
        live.diary.change(end_asked=ExitWord.CANCELLED.value)
        await self._book.put(live.run)
        await self._leave_now(live)

    async def _leave_now(self, live: Live) -> None:
        if live.leave is not None:
            live.leave.ask(Asked.END)
        elif live.run.state is RunState.QUEUED:
            await self._end(live, ended_as(ExitWord.CANCELLED))

    def rest(self, run: str, *, is_resting: bool) -> None:
        """It waits for its children, which may have its place meanwhile, or does not any more."""
        self.live.rest(run, is_resting=is_resting)
        self._stir()

    # What it waits for.

    def _diary(self, run: Run) -> Diary:
        self._recorder.enter(run)
        return Diary(self._book, self._clock, self._tasks, run, self._recorder)

    def _look_at_waits(self, live: Live, known: Mapping[str, RunState]) -> None:
        """Let it start after those that have succeeded; `known` is what was stored of those that are over."""
        for one in tuple(live.waits):
            other = self.live.find(one)
            state = other.run.state if other else known.get(one)
            if state is RunState.SUCCEEDED:
                live.waits.discard(one)
            elif state in FINAL:
                self._spawn(self._end(live, _doomed(one, state)), f"end {live.run.job}")
                return
            elif other is None:  # it ended after somebody looked
                self._spawn(self._look_again(live), f"look again at {live.run.job}")
                return
        if not live.waits:
            self._wait_for_turn(live)

    async def _look_again(self, live: Live) -> None:
        stored = [await asyncio.to_thread(self._runs.find, one) for one in live.waits]
        self._look_at_waits(live, {one.id: one.state for one in stored if one})

    # Turns.

    def _wait_for_turn(self, live: Live) -> None:
        """It waits for nothing else, but perhaps for a while after a failure."""
        if live.run.end_asked:  # just before the server died; who cancelled it was told yes
            self._spawn(self._end(live, ended_as(live.run.end_asked)), f"end {live.run.job}")
            return
        after_s = (live.run.due_unix_ms - self._clock.unix_ms()) / 1e3
        if after_s > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(min(after_s, BACKOFF_S_MAX), self._take_turn, live)
        else:
            self._take_turn(live)

    def _take_turn(self, live: Live) -> None:
        if self.live.find(live.run.id) is live and live.run.state is RunState.QUEUED:
            self.live.ready(live)
            self._stir()

    def cancel_children(self, parent: str) -> None:
        """Nobody waits for them any more."""
        for child in self.live.children(parent):
            self._spawn(self._cancel_orphan(child), f"cancel {child.run.job}")

    async def _cancel_orphan(self, live: Live) -> None:
        """Cancel a run whose parent is over without success, as often as it takes to store that."""
        if live.run.parent in self.live.ids() or live.run.state in FINAL:
            return
        parent = await asyncio.to_thread(self._runs.find, live.run.parent)
        if parent is None or parent.state not in FINAL - {RunState.SUCCEEDED} or live.run.state in FINAL:
            return
        live.diary.change(end_asked=ExitWord.CANCELLED.value)
        await self._book.insist(live.run)
        await self._leave_now(live)

    def _stir(self) -> None:
        """Look who may start, once for all that changes at this moment."""
        if not self._is_stirred:
            self._is_stirred = True
            asyncio.get_running_loop().call_soon(self._pick)

    def _pick(self) -> None:
        self._is_stirred = False
        if self._is_paused:
            return
        picks = self.live.picks()
        for run in picks.ask:
            if (live := self.live.find(run)) and live.leave:
                live.leave.ask(Asked.PREEMPTED)
        for run in picks.start:
            if live := self.live.find(run):
                self._begin(live)

    def _begin(self, live: Live) -> None:
        leave = self.live.take_place(live)
        now_unix_ms = self._clock.unix_ms()
        live.diary.change(
            state=moved(live.run.state, Event.TURN),
            slices=live.run.slices + 1,
            started_unix_ms=live.run.started_unix_ms or now_unix_ms,
            reason="",
        )
        self._book.ask(live.run).add_done_callback(_seen)
        task = self._spawn(self._see_slice(live, leave), f"run {live.run.job}")
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _spec_of(self, job: Job) -> DeploymentSpec | None:
        route = self._routes.get(*job)
        return route.spec if route else None

    def _spawn(self, story: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(story, name=name)

    # Slices and ends.

    async def _see_slice(self, live: Live, leave: Leave) -> None:
        over = await self._worked(live, leave)
        result, model = over.result, None
        used_bytes = over.used.rss_bytes_max if over.used else 0
        try:
            end = self._judged(over.end)
            if end.how is How.FINISHED and result is not None and not _is_cancelled(live.run):
                folder = self._folders.of(live.run.id) / MODEL_DIR
                accept = self._judging.accept_of(live.run)
                model = await self._results.register(live.run, result, folder, accept=accept)
        except LambentError as error:
            how = How.GONE if isinstance(error, PlatformFault) else How.REFUSED
            end = SliceEnd(how, error=error.message)
        except Exception as error:
            log.exception("run_crashed", extra={"run": live.run.id})
            end = SliceEnd(How.REFUSED, error=f"the platform failed: {error}")
        spec = live.route.spec if live.route else DeploymentSpec(name=live.run.job, kind=Kind.JOB)
        step = next_step(_facts(live.run), end, terms_of(spec), jitter=random.random())
        self.live.give_back(live, used_bytes=used_bytes)
        self._stir()
        match step:
            case Again():
                self._go_on(live, step, end)
            case End():
                await self._end(live, step, result, model)

    async def _worked(self, live: Live, leave: Leave) -> Over:
        """A slice, seen to its end. What is wrong with us ends the run and not the server."""
        try:
            live.route = live.route or await self._route_of(live.run)
            return await self._slices.work(live.route, live.diary, self._folders.of(live.run.id), leave)
        except NotFound as error:
            return Over(SliceEnd(How.REMOVED, error=f"its job is no more: {error.message}"))
        except Exception as error:
            log.exception("run_crashed", extra={"run": live.run.id})
            return Over(SliceEnd(How.REFUSED, error=f"the platform failed: {error}"))

    async def _route_of(self, run: Run) -> Route:
        """The code that it was started with, although another may be active by now."""
        if not run.revision:  # of an older server
            route = self._routes.get(run.project, run.job)
            if route is None:
                raise NotFound(f"there is no job {run.job!r}")
            return route
        active = self._routes.of_revision(run.revision)
        return await asyncio.to_thread(self._pinned, run.revision) if active is None else active

    def _judged(self, end: SliceEnd) -> SliceEnd:
        """Whoever dies while the server stops dies of that."""
        if self._is_paused and end.how in (How.GONE, How.OVERRAN):
            return SliceEnd(How.OVERRAN, Asked.STOP)
        return end

    def _go_on(self, live: Live, again: Again, end: SliceEnd) -> None:
        facts = again.facts
        live.diary.change(
            state=moved(live.run.state, Event.SLICE_OVER),
            attempts=facts.attempts,
            failed_step=facts.failed_step,
            failed_by=facts.failed_by,
            reason=end.error,
            due_unix_ms=self._clock.unix_ms() + int(again.after_s * 1e3) if again.after_s else 0,
        )
        self._book.ask(live.run).add_done_callback(_seen)
        about = {"run": live.run.id, "job": live.run.job, "how": end.how.value, "asked": end.asked.value}
        log.info("slice_over", extra={**about, "step": live.run.step})
        self._wait_for_turn(live)

    async def _end(
        self, live: Live, end: End, result: JobResult | None = None, model: Model | None = None
    ) -> None:
        """Its last state: stored as often as it takes, told to who waits for it."""
        self.live.withdraw(live)
        live.diary.end(end, now_unix_ms=self._clock.unix_ms(), result=result, model=model)
        run = live.run
        about = {"run": run.id, "job": run.job, "state": run.state.value, "reason": run.reason}
        log.info("run_ended", extra=about)
        others = frozenset(self.live.ids()) - {run.id}
        await asyncio.to_thread(self._folders.clear, run, others)
        is_stored = await live.diary.store()
        self._recorder.leave(run)
        for on_end in live.on_end:
            on_end(run)
        while not is_stored:
            is_stored = await live.diary.store()
        for waiting in self.live.leave(live):
            self._look_at_waits(waiting, {run.id: run.state})
        if run.state is not RunState.SUCCEEDED:
            self.cancel_children(run.id)
        self._stir()


def _doomed(other: str, state: RunState) -> End:
    said = (
        f"run {other}, after which it was to start, is {state.value}; `lambent retry {other}` lets it go on"
    )
    return End(RunState.FAILED, ExitWord.DEPENDENCY_FAILED, said)


def _is_cancelled(run: Run) -> bool:
    return run.end_asked == ExitWord.CANCELLED


def _facts(run: Run) -> Facts:
    return Facts(
        step=run.step,
        attempts=run.attempts,
        failed_step=run.failed_step,
        failed_by=run.failed_by,
        end_asked=run.end_asked,
    )


def _seen(stored: asyncio.Future[None]) -> None:
    """What a run is meanwhile is stored if there is room: its end is insisted on."""
    if not stored.cancelled():
        stored.exception()
