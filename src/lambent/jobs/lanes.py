"""What each deployment has in the durable queue: counted in memory, so that nothing is asked for in vain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from lambent.core.errors import QueueFull
from lambent.storage.tickets import Share, Ticket

OPEN_MAX: Final = 100_000
OPEN_BYTES_MAX: Final = 4 << 30
DEAD_MAX: Final = 10_000
RETRY_AFTER_S: Final = 1.0
DEAD_RETRY_AFTER_S: Final = 60.0  # somebody must look at them


class DeadLettersFull(QueueFull):
    """A deployment has so many dead letters that one more could not be kept."""

    code = "dead_letters_full"


class Lane:
    """One deployment's part. `running` has the ids of those that run, with their order keys.

    `look`: there may be something to start.
    """

    __slots__ = ("dead", "deployment", "look", "open", "project", "running")

    def __init__(self, project: str, deployment: str) -> None:
        self.project: Final = project
        self.deployment: Final = deployment
        self.open = 0
        self.dead = 0
        self.look = True
        self.running: Final[dict[str, str]] = {}

    def bars(self, ticket: Ticket) -> bool:
        """Whether it runs, or another with its order key does."""
        if ticket.id in self.running:
            return True
        return bool(ticket.order_key) and ticket.order_key in self.running.values()


class Lanes:
    """Every deployment that has something in the queue."""

    def __init__(self) -> None:
        self._lanes: Final[dict[tuple[str, str], Lane]] = {}
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
            self.open += share.open
            self.open_bytes += share.open_bytes

    def admit(self, lane: Lane, size_bytes: int) -> None:
        """Raise `QueueFull` where one more is too much, `DeadLettersFull` where nobody clears up."""
        if lane.dead >= DEAD_MAX:
            raise DeadLettersFull(
                f"{lane.deployment!r} has {lane.dead} dead letters, the maximum: look at them with "
                f"`lambent dlq ls {lane.deployment}`, then redrive or purge them",
                retry_after_s=DEAD_RETRY_AFTER_S,
            )
        if self.open >= OPEN_MAX:
            raise QueueFull(
                f"{self.open} asynchronous invocations wait, the maximum", retry_after_s=RETRY_AFTER_S
            )
        if self.open_bytes + size_bytes > OPEN_BYTES_MAX:
            raise QueueFull(
                f"the asynchronous invocations that wait have {self.open_bytes} bytes, and no more than "
                f"{OPEN_BYTES_MAX} are kept",
                retry_after_s=RETRY_AFTER_S,
            )

    def enter(self, lane: Lane, count: int, size_bytes: int) -> None:
        """So many are open now that were not."""
        lane.open += count
        self.open += count
        self.open_bytes += size_bytes
        lane.look = True

    def leave(self, lane: Lane, size_bytes: int) -> None:
        """One is not open any more."""
        lane.open -= 1
        self.open -= 1
        self.open_bytes -= size_bytes
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
        """Time has passed: anything may be due."""
        for lane in self._lanes.values():
            lane.look = True

    def in_turn(self) -> Iterator[Lane]:
        """Those to look at. Each is put behind the others, so that the first is another one next time."""
        for key, lane in [*self._lanes.items()]:
            if lane.open and lane.look:
                self._lanes[key] = self._lanes.pop(key)
                yield lane

    def drop_if_idle(self, lane: Lane) -> None:
        """Nothing is kept for a deployment that has nothing here."""
        if not (lane.open or lane.dead or lane.running):
            self._lanes.pop((lane.project, lane.deployment), None)
