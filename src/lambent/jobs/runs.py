"""The runs that are not over: who waits for what, who goes next, and who is to make place."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from lambent.core.composing import DEPTH_MAX
from lambent.core.running import Going, Job, Picks, Room, Waiting, memory_needed, pick, rank
from lambent.core.slicing import Asked
from lambent.core.spec import DeploymentSpec
from lambent.jobs.diary import Diary
from lambent.jobs.leaving import Leave
from lambent.pool.routes import Route
from lambent.storage.base import Run

OnEnd = Callable[[Run], None]


class Live:
    """A run that is not over. `order` is its age; `waits` are the runs that it starts after."""

    __slots__ = ("diary", "leave", "on_end", "order", "route", "turn", "waits")

    def __init__(self, diary: Diary, order: int, waits: Iterable[str], on_end: Iterable[OnEnd] = ()) -> None:
        self.diary: Final = diary
        self.order: Final = order
        self.waits: Final = set(waits)
        self.on_end: Final = list(on_end)
        self.route: Route | None = None  # with its revision, once that was looked for
        self.leave: Leave | None = None  # while it has a place
        self.turn: Waiting | None = None  # while it waits for one

    @property
    def run(self) -> Run:
        """As it stands now."""
        return self.diary.run

    @property
    def job(self) -> Job:
        """Whose run it is."""
        return self.run.project, self.run.job


class LiveRuns:
    """All of them, in the order in which they take their turns."""

    def __init__(self, room: Room, spec_of: Callable[[Job], DeploymentSpec | None]) -> None:
        self._room: Final = room
        self._spec_of: Final = spec_of
        self._all: Final[dict[str, Live]] = {}
        self._ready: Final[list[Waiting]] = []  # sorted by `rank`
        self._going: Final[dict[str, Going]] = {}
        self._dependents: Final[dict[str, set[str]]] = {}
        self._children: Final[dict[str, set[str]]] = {}  # by the run that started them
        self._seen_bytes: Final[dict[Job, int]] = {}
        self._orders = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Live]:
        return iter(tuple(self._all.values()))

    def ids(self) -> Collection[str]:
        """Of all of them."""
        return self._all.keys()

    def find(self, run: str) -> Live | None:
        """The run of that id, where it is not over."""
        return self._all.get(run)

    def enter(self, diary: Diary, *, waits: Iterable[str] = (), on_end: Iterable[OnEnd] = ()) -> Live:
        """One more. It is not ready before somebody says so."""
        self._orders += 1
        live = Live(diary, self._orders, waits, on_end)
        self._all[live.run.id] = live
        for other in live.waits:
            self._dependents.setdefault(other, set()).add(live.run.id)
        if live.run.parent:
            self._children.setdefault(live.run.parent, set()).add(live.run.id)
        return live

    def children(self, run: str) -> Sequence[Live]:
        """The runs that this one has started and that are not over."""
        return [self._all[child] for child in self._children.get(run, ())]

    def rest(self, run: str, *, is_resting: bool) -> None:
        """It waits for its children, or does not any more."""
        if (going := self._going.get(run)) is not None:
            self._going[run] = msgspec.structs.replace(going, is_resting=is_resting)

    def _depth(self, live: Live) -> int:
        """How many runs have started one another down to this one, as far as they are not over."""
        depth, above = 0, self._all.get(live.run.parent)
        while above is not None and depth < DEPTH_MAX:
            depth, above = depth + 1, self._all.get(above.run.parent)
        return depth

    def ready(self, live: Live) -> None:
        """It waits for nothing but its turn."""
        spec = self._spec_of(live.job)
        limit_bytes = spec.memory_bytes if spec else 0
        live.turn = Waiting(
            run=live.run.id,
            job=live.job,
            order=live.order,
            priority=live.run.priority,
            depth=self._depth(live),
            memory_bytes=memory_needed(limit_bytes, self._seen_bytes.get(live.job, 0), self._room),
        )
        insort(self._ready, live.turn, key=rank)

    def picks(self) -> Picks:
        """Who is to start now, and who is to make place."""
        jobs = {one.job for one in self._ready}
        most = {job: spec.workers_max for job in jobs if (spec := self._spec_of(job))}
        going = [self._standing(one) for one in self._going.values()]
        return pick(self._ready, going, most, self._room)

    def take_place(self, live: Live) -> Leave:
        """It runs from now on. Returns that by which it is asked to leave."""
        turn = live.turn
        if turn is None:
            raise RuntimeError(f"run {live.run.id} is {live.run.state} and waits for no turn")
        self.withdraw(live)
        live.leave = leave = Leave()
        self._going[live.run.id] = Going(
            run=turn.run,
            job=turn.job,
            order=turn.order,
            priority=turn.priority,
            memory_bytes=turn.memory_bytes,
            depth=turn.depth,
        )
        return leave

    def give_back(self, live: Live, *, used_bytes: int = 0) -> None:
        """It has no place any more; `used_bytes` is the most memory that it had."""
        live.leave = None
        self._going.pop(live.run.id, None)
        if used_bytes:
            self._seen_bytes[live.job] = max(used_bytes, self._seen_bytes.get(live.job, 0))

    def leave(self, live: Live) -> Sequence[Live]:
        """It is over. Returns those that are to start after it."""
        self.withdraw(live)
        self._all.pop(live.run.id, None)
        for other in live.waits:
            self._dependents.get(other, set()).discard(live.run.id)
        if (siblings := self._children.get(live.run.parent)) is not None:
            siblings.discard(live.run.id)
            if not siblings:
                del self._children[live.run.parent]
        waiting = [self._all[run] for run in self._dependents.pop(live.run.id, set()) if run in self._all]
        return sorted(waiting, key=lambda one: one.order)

    def why_it_waits(self, live: Live) -> str:
        """What a queued run waits for, as a sentence."""
        run = live.run
        if live.waits:
            return f"waits for {', '.join(sorted(live.waits))}"
        if live.turn is None:
            return f"tries again soon: {run.reason}" if run.reason else ""
        spec = self._spec_of(live.job)
        of_job = sum(one.job == live.job for one in self._going.values())
        if spec is not None and of_job >= spec.workers_max:
            return (
                f"waits for its turn: {of_job} runs of {run.job} are under way, as many as workers_max says"
            )
        if self._going:
            return f"waits for its turn: {len(self._going)} runs are under way on this machine"
        return ""

    def _standing(self, going: Going) -> Going:
        live = self._all[going.run]
        if live.leave is None or live.leave.why is Asked.NOT:
            return going
        return msgspec.structs.replace(going, is_leaving=True)

    def withdraw(self, live: Live) -> None:
        """It waits for no turn any more."""
        if live.turn is not None:
            del self._ready[bisect_left(self._ready, rank(live.turn), key=rank)]
            live.turn = None
