"""Which runs of jobs may start now, and which running one is to make place for a more important one. Pure.

Runs go by priority, then by age. A run whose job has as many as it may have is passed over; one that the node
has no room for holds up all behind it, so that the small ones do not keep a large one waiting for ever.

A run that waits for runs that it has started rests: its children, which are one deeper, may have its place,
and nobody else may. So the deepest never wait for a place of who waits for them, and no more runs are begun
than there are places at each depth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

import msgspec

Job = tuple[str, str]  # project and name

MEMORY_MARGIN: Final = 1.2  # over what runs of the job were seen to use


class RunTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is wanted, beside its parameters.

    It starts once the runs `after` have succeeded. `priority` is its job's where None. `datasets` are
    versions that it is to have in place of the newest. With a `key` it is one run, asked for once or often.
    """

    for_deployment: str = ""
    after: tuple[str, ...] = ()
    priority: int | None = None
    max_cost_usd: float = 0.0
    datasets: dict[str, int] = {}
    parent: str = ""
    index: int = 0
    key: str = ""


PLAIN: Final = RunTerms()


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A run that could start: what it waited for is there. `order` is its age, the lowest came first."""

    run: str
    job: Job
    order: int
    priority: int = 0
    memory_bytes: int = 0
    depth: int = 0  # of a child one more than of the run that started it


class Going(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has a place. `is_leaving`: it has been asked to give it up; `is_resting`: see above."""

    run: str
    job: Job
    order: int
    priority: int = 0
    memory_bytes: int = 0
    depth: int = 0
    is_leaving: bool = False
    is_resting: bool = False


class Room(msgspec.Struct, frozen=True):
    """What the node has for runs: places, and bytes."""

    places: int
    memory_bytes: int


class Picks(msgspec.Struct, frozen=True):
    """Runs that start, and running ones that are to leave as soon as they can."""

    start: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()


def rank(run: Waiting) -> tuple[int, int, int]:
    """What runs are ordered by: who is to go first has the lowest."""
    return -run.priority, -run.depth, run.order


def memory_needed(limit_bytes: int, seen_bytes: int, room: Room) -> int:
    """How much memory to keep free for a run of a job that may have `limit_bytes`.

    `seen_bytes` is the most that one was seen to use, 0 where none was: it is then taken to need what each
    place has on average. A limit is for what goes wrong, and to reserve it would leave the node empty.
    """
    expected = seen_bytes * MEMORY_MARGIN if seen_bytes else room.memory_bytes / max(1, room.places)
    return int(min(limit_bytes, expected))


def pick(waiting: Iterable[Waiting], going: Sequence[Going], most: Mapping[Job, int], room: Room) -> Picks:
    """What to do now. `waiting` comes in the order of `rank`; `most` says how many runs a job may have."""
    if not any(one.is_resting for one in going):
        return _picked(waiting, going, most, room)[0]
    start: list[str] = []
    ask: dict[str, None] = {}
    now = list(going)
    held_up = -1  # those of this depth and above
    for (_, depth), layer in groupby(waiting, key=lambda one: (one.priority, one.depth)):
        if depth <= held_up:
            continue
        alike = {one.run: one for one in layer}
        seen = [one for one in now if not one.is_resting or one.depth >= depth]
        picks, is_full = _picked(alike.values(), seen, most, room)
        start.extend(picks.start)
        ask.update(dict.fromkeys(picks.ask))
        now.extend(_begun(alike[run]) for run in picks.start)
        if is_full:
            held_up = depth
    return Picks(tuple(start), tuple(ask))


def _begun(run: Waiting) -> Going:
    return Going(
        run=run.run,
        job=run.job,
        order=run.order,
        priority=run.priority,
        memory_bytes=run.memory_bytes,
        depth=run.depth,
    )


def _picked(
    waiting: Iterable[Waiting], going: Sequence[Going], most: Mapping[Job, int], room: Room
) -> tuple[Picks, bool]:
    """The same where all of `going` count, and whether one is held up for want of room."""
    of_job = Counter(one.job for one in going)
    places = room.places - len(going)
    free_bytes = room.memory_bytes - sum(one.memory_bytes for one in going)
    is_idle = not going
    start: list[str] = []
    full: set[Job] = set()
    blocked: Waiting | None = None
    is_full = False
    for run in waiting:
        if run.job in full:
            continue
        if of_job[run.job] >= most.get(run.job, 1):
            full.add(run.job)  # those of it that come after this one are no more important
            blocked = blocked or _may_preempt(run, going)
            continue
        # What is larger than the node runs alone: its job's own limit ends it if that is true.
        if places < 1 or (run.memory_bytes > free_bytes and not is_idle):
            blocked, is_full = blocked or run, True
            break
        start.append(run.run)
        of_job[run.job] += 1
        places -= 1
        free_bytes -= run.memory_bytes
        is_idle = False
    if blocked is None:
        return Picks(tuple(start)), False
    missing = _Missing(
        places=1 - places,
        of_job=1 + of_job[blocked.job] - most.get(blocked.job, 1),
        memory_bytes=blocked.memory_bytes - free_bytes,
    )
    return Picks(tuple(start), _leaving(blocked, going, missing)), is_full


def _may_preempt(run: Waiting, going: Sequence[Going]) -> Waiting | None:
    """The run, where one of its own job is less important."""
    return run if any(one.job == run.job and one.priority < run.priority for one in going) else None


class _Missing:
    """What a run needs more than there is: places, runs of its own job that leave, and bytes."""

    def __init__(self, *, places: int, of_job: int, memory_bytes: int) -> None:
        self._places = places
        self._of_job = of_job
        self._memory_bytes = memory_bytes

    @property
    def needs_its_job(self) -> bool:
        """Whether one of its own job has to leave."""
        return self._of_job > 0

    @property
    def is_met(self) -> bool:
        """Whether it could start."""
        return self._places <= 0 and self._of_job <= 0 and self._memory_bytes <= 0

    def helps(self, one: Going, job: Job) -> bool:
        """Whether it is any use that this one leaves."""
        return not self.is_met and (not self.needs_its_job or one.job == job)

    def left(self, one: Going, job: Job) -> None:
        """It is as good as gone."""
        self._places -= 1
        self._of_job -= one.job == job
        self._memory_bytes -= one.memory_bytes


def _leaving(blocked: Waiting, going: Sequence[Going], missing: _Missing) -> tuple[str, ...]:
    """Who must leave for `blocked`: the least important first, of those the youngest; nobody for nothing."""
    gone = [one for one in going if one.is_leaving]
    for one in gone:
        missing.left(one, blocked.job)
    lesser = sorted(
        (one for one in going if one.priority < blocked.priority and not one.is_leaving),
        key=lambda one: (one.priority, -one.order),
    )
    if missing.needs_its_job:  # and they may be all it needs
        lesser.sort(key=lambda one: one.job != blocked.job)
    asked: list[str] = []
    for one in lesser:
        if missing.helps(one, blocked.job):
            missing.left(one, blocked.job)
            asked.append(one.run)
    return tuple(asked) if missing.is_met or len(asked) + len(gone) == len(going) else ()
