"""Who may wait: the bounds of a deployment's queue and of its project's, and what is said over them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import inf
from typing import Final

from lambent.clock import Clock
from lambent.core.admission import (
    Bound,
    Depth,
    Verdict,
    offer,
    refusal_due_s,
    retry_after_s,
    served_per_s,
)
from lambent.core.errors import (
    DeadlinePassed,
    HoldExpired,
    LambentError,
    ProjectQueueFull,
    QueueFull,
    StillLoading,
)
from lambent.gateway.lane import Lane
from lambent.gateway.turn import Turn
from lambent.pool.pool import Pool

PROJECT_QUEUE_DEPTH_MAX: Final = 5000
PROJECTS_TOLD_MAX: Final = 1000  # whose refusals are counted; the longest silent is forgotten first


class Queues:
    """Counts those who wait, by project. The lanes count for themselves."""

    def __init__(self, pool: Pool, clock: Clock, *, project_queue_depth_max: int) -> None:
        self._pool: Final = pool
        self._clock: Final = clock
        self._project_max: Final = project_queue_depth_max
        self._waiting: Final[dict[str, int]] = {}

    def waiting(self, project: str) -> int:
        """How many of a project's invocations wait for a slot."""
        return self._waiting.get(project, 0)

    def enter(self, project: str) -> None:
        """One more waits."""
        self._waiting[project] = self.waiting(project) + 1

    def leave(self, project: str) -> None:
        """One waits no more."""
        if left := self._waiting[project] - 1:
            self._waiting[project] = left
        else:
            del self._waiting[project]

    def refusal(self, lane: Lane, lanes: Iterable[Lane]) -> QueueFull | None:
        """What is said where one more of `lane` is too much. `lanes` are those of every deployment."""
        spec, project = lane.route.spec, lane.route.project
        waiting = self.waiting(project)
        offered = offer(Depth(len(lane.waiters), spec.queue_depth_max), Depth(waiting, self._project_max))
        if offered.verdict is Verdict.WAIT:
            return None
        if offered.bound is Bound.DEPLOYMENT:
            return QueueFull(
                f"{spec.name!r} has {len(lane.waiters)} invocations waiting, its maximum (queue_depth_max)",
                retry_after_s=self.retry_after_s(lane),
            )
        per_s = sum(self._per_s(one) for one in lanes if one.waiters and one.route.project == project)
        return ProjectQueueFull(
            f"the project {project!r} has {waiting} invocations waiting, the maximum of all its deployments "
            "together (LAMBENT_PROJECT_QUEUE_DEPTH_MAX)",
            retry_after_s=retry_after_s(queued=waiting, per_s=per_s),
        )

    def too_long(self, lane: Lane, turn: Turn) -> LambentError:
        """What is said to one who waited as long as its deployment holds, or until its own deadline."""
        what, retry_after_s = f"no worker of {lane.route.name!r} was free", self.retry_after_s(lane)
        if lane.route.needs_model:
            what = f"the model of {lane.route.name!r} was not trained"
        if turn.hold_s is None:
            said = f"{what} before the caller's deadline: nothing ran"
            return DeadlinePassed(said, retry_after_s=retry_after_s)
        crew = self._pool.crew(lane.route.plan.revision)
        if crew is not None and crew.starting and not crew.members:
            said = f"{lane.route.name!r} was not ready within {turn.hold_s:g} s: it is still being loaded"
            return StillLoading(said, retry_after_s=retry_after_s)
        return HoldExpired(f"{what} within {turn.hold_s:g} s", retry_after_s=retry_after_s)

    def retry_after_s(self, lane: Lane) -> float:
        """Seconds until those who wait there now will have been served."""
        return retry_after_s(queued=len(lane.waiters), per_s=self._per_s(lane))

    def _per_s(self, lane: Lane) -> float:
        spec, traffic = lane.route.spec, lane.traffic
        # Where nothing has ended for longer than a run takes, or ever, that is what is known of a run.
        stuck_s = self._clock.now_s() - traffic.moved_s if traffic.present else 0.0
        return served_per_s(
            run_s=max(traffic.run_s, stuck_s),
            workers=self._pool.workers_may(lane.route.plan.revision),
            concurrency=spec.concurrency,
        )


class Refusals:
    """Says the many refusals of one project at a pace that leaves the event loop to others."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._next_s: Final[dict[str, float]] = {}

    async def pause(self, project: str, *, until_s: float = inf) -> None:
        """Return when one more may be said: at once, or after two seconds or at `until_s` at the latest."""
        now_s = self._clock.now_s()
        due_s = refusal_due_s(self._next_s.pop(project, 0.0), now_s)
        self._next_s[project] = due_s
        if len(self._next_s) > PROJECTS_TOLD_MAX:
            del self._next_s[next(iter(self._next_s))]
        due_s = min(due_s, until_s)
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
