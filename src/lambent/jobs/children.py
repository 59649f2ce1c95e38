"""Runs that runs start: asked for over the stream of a worker, and waited for without holding a place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Final, Protocol

import msgspec

from lambent.core.composing import ASKS_MAX
from lambent.core.errors import CallerFault, LambentError, NotFound, PlatformFault
from lambent.core.invocation import JSON, FunctionError, Status
from lambent.core.running import RunTerms
from lambent.core.slicing import FINAL, Asked, RunState
from lambent.core.spec import Kind, Param
from lambent.jobs.diary import UNKEPT
from lambent.jobs.leaving import Leave
from lambent.jobs.turns import Turns
from lambent.pool.routes import Routes
from lambent.storage.base import Run, Runs
from lambent.wire.fanning import AWAIT, START, EndsRequest, EndsView, MapRequest, MapView, RunEnd
from lambent.wire.frames import Ask, Drop, FromCall, Told, unheard
from lambent.wire.typed import from_json

ENDS_BYTES_MAX: Final = 4 << 20  # of the results in one answer, of which there is one at least

# For one answer: where an end cannot be stored, nobody is told of it a second time.
WAIT_S: Final = 20.0

Tell = Callable[[Told, bytes], None]

log = logging.getLogger(__name__)


class Others(Protocol):
    """What a run asks of deployments that are no jobs."""

    def hear(self, said: FromCall, body: bytes, /) -> None: ...

    def end(self) -> None: ...


class Starts(Protocol):
    """Who starts runs."""

    async def start_all(
        self, project: str, job: str, items: Sequence[Mapping[str, Param]], *, terms: RunTerms
    ) -> Sequence[str]: ...

    async def cancel(self, project: str, run: str) -> Run: ...


class Children:
    """Starts runs for runs, and knows how they ended."""

    def __init__(
        self, starts: Starts, turns: Turns, runs: Runs, routes: Routes, tasks: asyncio.TaskGroup
    ) -> None:
        self.starts: Final = starts
        self.turns: Final = turns
        self.tasks: Final = tasks
        self._runs: Final = runs
        self._routes: Final = routes

    def asks(self, run: Run, leave: Leave, others: Others | None, tell: Tell) -> ChildAsks:
        """What one slice of a run asks for."""
        return ChildAsks(self, run, leave, others, tell)

    def is_job(self, project: str, deployment: str) -> bool:
        """Whether what is asked for is a run."""
        route = self._routes.get(project, deployment)
        return route is not None and route.spec.kind is Kind.JOB

    async def ends(
        self, project: str, runs: Sequence[str], *, wait_s: float = WAIT_S, leave: Leave | None = None
    ) -> Sequence[RunEnd]:
        """How the first of `runs` ended, up to one that is not over.

        Waits for one, but not longer than `wait_s`, or until `leave` is asked. Raises `NotFound` where one is
        none of the project's.
        """
        await self._wait(runs[0], wait_s, leave)
        over = list(takewhile(lambda run: self.turns.live.find(run) is None, runs))
        return await asyncio.to_thread(self._ends, project, over)

    async def _wait(self, run: str, wait_s: float, leave: Leave | None) -> None:
        live = self.turns.live.find(run)
        if live is None:
            return
        ended = asyncio.Event()

        def hear(_: Run) -> None:
            ended.set()

        live.on_end.append(hear)
        waits: list[asyncio.Task[object]] = [asyncio.create_task(ended.wait())]
        if leave is not None:
            waits.append(asyncio.create_task(leave.asked.wait()))
        try:
            await asyncio.wait(waits, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            live.on_end.remove(hear)

    def _ends(self, project: str, over: Sequence[str]) -> Sequence[RunEnd]:
        """Blocks."""
        ends: list[RunEnd] = []
        size_bytes = 0
        for one in over:
            run = self._runs.find(one)
            if run is None or run.project != project:
                raise NotFound(f"there is no run {one!r}; `lambent runs` lists what there is")
            size_bytes += len(run.result)
            if run.state not in FINAL or (ends and size_bytes > ENDS_BYTES_MAX):
                break
            ends.append(end_of(run))
        return ends


class ChildAsks:
    """What one slice asks for: runs are seen to here, all else elsewhere. Implements `slices.Asks`."""

    def __init__(self, children: Children, run: Run, leave: Leave, others: Others | None, tell: Tell) -> None:
        self._children: Final = children
        self._run: Final = run
        self._leave: Final = leave
        self._others: Final = others
        self._tell: Final = tell
        self._open: Final[dict[int, asyncio.Task[None]]] = {}
        self._resting = 0

    def hear(self, said: FromCall, body: bytes) -> None:
        """The run asks for one more, or does not want one any more."""
        if isinstance(said, Drop) and said.ask_id in self._open:
            self._open[said.ask_id].cancel()
        elif isinstance(said, Ask) and self._is_for_here(said):
            if said.ask_id in self._open:
                return
            task = self._children.tasks.create_task(self._answer(said, body), name=f"for {self._run.job}")
            self._open[said.ask_id] = task
            task.add_done_callback(lambda _: self._open.pop(said.ask_id, None))
        elif self._others is not None:
            self._others.hear(said, body)
        elif isinstance(said, Ask):
            self._tell(*unheard(said))

    def end(self) -> None:
        """The slice is over."""
        for task in tuple(self._open.values()):
            task.cancel()
        if self._others is not None:
            self._others.end()

    def _is_for_here(self, ask: Ask) -> bool:
        about_runs = ask.content_type in (START, AWAIT)
        return about_runs or self._children.is_job(self._run.project, ask.deployment)

    async def _answer(self, ask: Ask, body: bytes) -> None:
        try:
            status, result = Status.OK, await self._result(ask, body)
        except msgspec.DecodeError as error:
            status, result = Status.FAILED, _said(CallerFault(f"{ask.deployment}: {error}"))
        except LambentError as error:
            status, result = Status.FAILED, _said(error)
        except asyncio.CancelledError:
            status, result = Status.CANCELLED, _said(CallerFault("nobody waits for it any more"))
        except Exception:  # the top of a task: a fault of ours must not end the server
            log.exception("ask_crashed", extra={"deployment": ask.deployment})
            status, result = Status.FAILED, _said(PlatformFault("it could not be run"))
        self._tell(Told(ask.call_id, ask.ask_id, status, JSON), result)

    async def _result(self, ask: Ask, body: bytes) -> bytes:
        if len(self._open) > ASKS_MAX:  # a worker is the side that is not trusted
            raise CallerFault(f"a call may have {ASKS_MAX} others under way")
        if ask.content_type == START:
            return await self._mapped(from_json(body, MapRequest))
        if ask.content_type == AWAIT:
            wanted = from_json(body, EndsRequest)
            ends = await self._ends(wanted.runs)
            return msgspec.json.encode(EndsView(tuple(ends), self._leave.why is not Asked.NOT))
        return await self._called(ask, from_json(body or b"{}", dict[str, Param]))

    async def _mapped(self, wanted: MapRequest) -> bytes:
        terms = RunTerms(
            priority=self._run.priority if wanted.priority is None else wanted.priority,
            max_cost_usd=wanted.max_cost_usd,
            datasets=wanted.datasets,
            parent=self._run.id,
            index=wanted.first,
            key=f"{self._run.id}/{wanted.key}",
        )
        starts = self._children.starts
        runs = await starts.start_all(self._run.project, wanted.job, wanted.items, terms=terms)
        return msgspec.json.encode(MapView(tuple(runs)))

    async def _called(self, ask: Ask, params: dict[str, Param]) -> bytes:
        """One run that lasts no longer than who waits for it."""
        project, starts = self._run.project, self._children.starts
        terms = RunTerms(parent=self._run.id, priority=self._run.priority)
        [run] = await starts.start_all(project, ask.deployment, [params], terms=terms)
        try:
            async with asyncio.timeout(ask.timeout_ms / 1e3 or None):
                while not (ends := await self._ends([run], leaves=False)):
                    pass
        except (asyncio.CancelledError, TimeoutError) as error:
            self._children.tasks.create_task(_cancelled(starts, project, run), name="cancel a child")
            if isinstance(error, asyncio.CancelledError):
                raise
            raise ChildFailed(
                "Lambent.DeadlinePassed", f"it took longer than {ask.timeout_ms / 1e3:g} s"
            ) from None
        if ends[0].kind:
            raise ChildFailed(ends[0].kind, ends[0].message)
        return msgspec.json.encode(ends[0].value)

    async def _ends(self, runs: Sequence[str], *, leaves: bool = True) -> Sequence[RunEnd]:
        turns = self._children.turns
        self._resting += 1
        if self._resting == 1:
            turns.rest(self._run.id, is_resting=True)
        try:
            return await self._children.ends(self._run.project, runs, leave=self._leave if leaves else None)
        finally:
            self._resting -= 1
            if not self._resting:
                turns.rest(self._run.id, is_resting=False)


class ChildFailed(LambentError):
    """A run that was waited for has failed."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind: Final = kind


def end_of(run: Run) -> RunEnd:
    """How a run that is over ended, for who waits for it."""
    if run.state is not RunState.SUCCEEDED:
        return RunEnd(run=run.id, kind=run.exit or run.state.value, message=run.reason)
    if run.warning.startswith(UNKEPT):
        return RunEnd(run=run.id, kind="result_not_kept", message=run.warning)
    return RunEnd(run=run.id, value=msgspec.Raw(run.result.encode() or b"null"))


async def _cancelled(starts: Starts, project: str, run: str) -> None:
    try:
        await starts.cancel(project, run)
    except LambentError as error:  # it ended meanwhile, or the disk is full and it goes on
        log.info("child_not_cancelled", extra={"run": run, "error": error.message})


def _said(error: LambentError) -> bytes:
    kind = error.kind if isinstance(error, ChildFailed) else f"Lambent.{type(error).__name__}"
    return msgspec.json.encode(FunctionError(error.message, kind))
