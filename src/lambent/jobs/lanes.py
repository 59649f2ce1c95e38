"""What each deployment has in the durable queue: counted in memory, so that nothing is asked for in vain."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from math import inf
from typing import Final

import msgspec

from lambent.core.admission import Bound, offer_bytes
from lambent.core.errors import ProjectQueueFull, QueueFull
from lambent.storage.tickets import Share, Ticket

OPEN_MAX: Final = 200_000  # of all projects: one may have as much as is free, alone half
OPEN_BYTES_MAX: Final = 8 << 30
DEAD_MAX: Final = 10_000
RETRY_AFTER_S: Final = 1.0
DEAD_RETRY_AFTER_S: Final = 60.0  # somebody must look at them
TOOK_WEIGHT: Final = 0.2  # of the last run in what a deployment's runs take


class Turn(Enum):
    """What is said to one that waits for a place."""

    COME = "come"
    LEAVE = "leave"


Seat = asyncio.Future[Turn]


class DeadLettersFull(QueueFull):
    """A deployment has so many dead letters that one more could not be kept."""

    code = "dead_letters_full"


class Lane:
    """One deployment's part. `held` has the ids of those that are seen through, with their order keys.

    `running` of them have a place, `ahead` are marked as running before they have one: in `waiting`, or being
    written down. `ready` are due and were read. `look`: there may be more to read. `took_s` is how long a
    place is taken, about.
    """

    __slots__ = (
        "ahead", "dead", "deployment", "held", "look", "open", "project", "ready", "running", "took_s",
        "waiting",
    )  # fmt: skip

    def __init__(self, project: str, deployment: str) -> None:
        self.project: Final = project
        self.deployment: Final = deployment
        self.open = 0
        self.dead = 0
        self.look = True
        self.running = 0
        self.ahead = 0
        self.took_s = inf
        self.held: Final[dict[str, str]] = {}
        self.ready: Final[deque[Ticket]] = deque()
        self.waiting: Final[deque[Seat]] = deque()

    def bars(self, ticket: Ticket) -> bool:
        """Whether it is seen through, or another with its order key is."""
        if ticket.id in self.held:
            return True
        return bool(ticket.order_key) and ticket.order_key in self.held.values()

    def hold(self, count: int) -> list[Ticket]:
        """Up to so many of those that were read ahead; they are seen through from now on."""
        found: list[Ticket] = []
        while self.ready and len(found) < count:
            ticket = self.ready.popleft()
            if not self.bars(ticket):
                self.held[ticket.id] = ticket.order_key
                found.append(ticket)
        return found

    def let_go(self, tickets: Iterable[Ticket]) -> None:
        """They are not seen through after all: they are found in the store when it is read next."""
        for ticket in tickets:
            del self.held[ticket.id]
        self.look = True

    def took(self, seconds: float) -> None:
        """A place was taken for so long."""
        before_s = seconds if self.took_s == inf else self.took_s
        self.took_s = before_s + TOOK_WEIGHT * (seconds - before_s)

    @property
    def stirs(self) -> bool:
        """Whether there may be something to start."""
        return bool(self.look or self.ready or self.waiting)


class Held(msgspec.Struct, frozen=True):
    """What a project has in the queue."""

    open: int = 0
    open_bytes: int = 0


NOTHING: Final = Held()


class Lanes:
    """Every deployment that has something in the queue."""

    def __init__(self) -> None:
        self._lanes: Final[dict[tuple[str, str], Lane]] = {}
        self._running: Final[dict[str, int]] = {}  # by project
        self._shares: Final[dict[str, Held]] = {}  # by project
        self.open = 0
        self.open_bytes = 0

    def of(self, project: str, deployment: str) -> Lane:
        """The lane of a deployment."""
        lane = self._lanes.get((project, deployment))
        if lane is None:
            lane = self._lanes[project, deployment] = Lane(project, deployment)
        return lane

    def restore(self, shares: Iterable[Share]) -> None:
        """What the store has; before anything is counted."""
        for share in shares:
            lane = self.of(share.project, share.deployment)
            lane.open, lane.dead = share.open, share.dead
            self._count(share.project, share.open, share.open_bytes)

    def admit(self, lane: Lane, size_bytes: int) -> None:
        """Raise `QueueFull` where one more is too much, `DeadLettersFull` where nobody clears up."""
        if lane.dead >= DEAD_MAX:
            raise DeadLettersFull(
                f"{lane.deployment!r} has {lane.dead} dead letters, the maximum: look at them with "
                f"`lambent dlq ls {lane.deployment}`, then redrive or purge them",
                retry_after_s=DEAD_RETRY_AFTER_S,
            )
        mine = self._shares.get(lane.project, NOTHING)
        if (bound := _over(1, mine.open, self.open, OPEN_MAX)) is not None:
            raise _full(bound, f"{mine.open} of {self.open} open asynchronous invocations", f"{OPEN_MAX}")
        bound = _over(size_bytes, mine.open_bytes, self.open_bytes, OPEN_BYTES_MAX)
        if bound is not None:
            what = f"{mine.open_bytes} of {self.open_bytes} bytes of open asynchronous invocations"
            raise _full(bound, what, f"{OPEN_BYTES_MAX} bytes")

    def enter(self, lane: Lane, count: int, size_bytes: int) -> None:
        """So many are open now that were not."""
        lane.open += count
        self._count(lane.project, count, size_bytes)
        lane.look = True

    def leave(self, lane: Lane, size_bytes: int) -> None:
        """One is not open any more."""
        lane.open -= 1
        self._count(lane.project, -1, -size_bytes)
        self.drop_if_idle(lane)

    def recount_dead(self, shares: Iterable[Share]) -> None:
        """What has become of the dead letters, as the store says."""
        dead = {(share.project, share.deployment): share.dead for share in shares}
        for key, lane in [*self._lanes.items()]:
            lane.dead = dead.get(key, 0)
            self.drop_if_idle(lane)

    def dead(self, project: str) -> Mapping[str, int]:
        """How many dead letters each deployment of a project has, where it has any."""
        return {
            lane.deployment: lane.dead
            for lane in self._lanes.values()
            if lane.project == project and lane.dead
        }

    def look_everywhere(self) -> None:
        """Time has passed: anything may be due, before what was read ahead as well."""
        for lane in self._lanes.values():
            lane.ready.clear()
            lane.look = True

    def in_turn(self) -> Iterator[Lane]:
        """Those to look at, each time one of the project of which the fewest run now.

        Each is put behind the others, so that the first of its project is another one next time.
        """
        projects: dict[str, deque[tuple[tuple[str, str], Lane]]] = {}
        for key, lane in self._lanes.items():
            if lane.open and lane.stirs:
                projects.setdefault(lane.project, deque()).append((key, lane))
        while projects:
            project = min(projects, key=self.running)
            key, lane = projects[project].popleft()
            if not projects[project]:
                del projects[project]
            if key in self._lanes:  # else it has ended meanwhile
                self._lanes[key] = self._lanes.pop(key)
                yield lane

    def running(self, project: str) -> int:
        """How many of a project's have a place."""
        return self._running.get(project, 0)

    def began(self, lane: Lane) -> None:
        """One more has a place."""
        lane.running += 1
        self._running[lane.project] = self.running(lane.project) + 1

    def ended(self, lane: Lane) -> None:
        """One has given its place back."""
        lane.running -= 1
        if left := self._running[lane.project] - 1:
            self._running[lane.project] = left
        else:
            del self._running[lane.project]

    def _count(self, project: str, count: int, size_bytes: int) -> None:
        self.open += count
        self.open_bytes += size_bytes
        mine = self._shares.get(project, NOTHING)
        mine = Held(mine.open + count, mine.open_bytes + size_bytes)
        if mine == NOTHING:
            self._shares.pop(project, None)
        else:
            self._shares[project] = mine

    def drop_if_idle(self, lane: Lane) -> None:
        """Nothing is kept for a deployment that has nothing here."""
        if not (lane.open or lane.dead or lane.held):
            self._lanes.pop((lane.project, lane.deployment), None)


def _over(more: int, mine: int, taken: int, most: int) -> Bound | None:
    """Whose bound `more` would meet. A project may have as much in the queue as is free in it."""
    return offer_bytes(more, held_bytes=mine, all_bytes=taken, bytes_max=most).bound


def _full(bound: Bound, what: str, most: str) -> QueueFull:
    if bound is Bound.PROJECT:
        return ProjectQueueFull(
            f"the project has {what}, and may have as much as is free of {most}", retry_after_s=RETRY_AFTER_S
        )
    return QueueFull(f"the projects have {what}; no more than {most} are kept", retry_after_s=RETRY_AFTER_S)
