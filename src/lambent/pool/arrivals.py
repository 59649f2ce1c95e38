"""What is expected of each deployment, fed with a counter that the request path only raises."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

import msgspec

from lambent.core.histogram import GAP_S_MAX
from lambent.core.memories import Amount, CrowdMemory, Memory
from lambent.core.policies.base import PolicyName
from lambent.core.policies.prospects import RESOLUTION_S, Outlook, Prospect, Prospects, Wake
from lambent.pool.pool import Pool
from lambent.pool.routes import Route

PUBLISH_S: Final = 60.0  # from one table of the crowd to the next
FRESH_SHARE: Final = 0.05  # of the idle time: for so long a rate is taken to hold
# A gap of which nobody watched more than this share is no gap: who knows what came meanwhile.
UNWATCHED_SHARE_MAX: Final = 0.05
REMEMBERED_MAX: Final = 4096  # deployments, those that were called last

UNKNOWN: Final = Outlook(0.0, inf)
UNRANKED: Final = Outlook(0.0, inf, 0.0)


class DeploymentMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one deployment."""

    project: str
    name: str
    memory: Memory


class ArrivalsMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of all of them, those called last first. `clock` is greedy-dual's."""

    deployments: tuple[DeploymentMemory, ...]
    crowd: CrowdMemory
    clock: Amount


class _Seen:
    __slots__ = ("arrivals", "fresh_until_s", "last_s", "outlook", "prospect", "recalled", "unwatched_s")

    def __init__(self, prospect: Prospect) -> None:
        self.prospect = prospect
        self.arrivals = 0
        self.outlook = UNKNOWN
        self.last_s: float | None = None
        self.fresh_until_s = 0.0
        self.recalled: Memory | None = None  # until the first call after a start
        self.unwatched_s = 0.0


class Arrivals:
    """Prospects by lane: a deploy does not make one forget. Bounded by what is live."""

    def __init__(self, pool: Pool, policy: PolicyName) -> None:
        self._pool: Final = pool
        self._prospects: Final = Prospects(policy)
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._published_s = 0.0

    def sample(self, routes: Sequence[Route], now_s: float) -> int:
        """Look at every counter; how many have moved. Calls between two looks count as one arrival."""
        moved = 0
        for route in routes:
            traffic = self._pool.traffic(*route.lane)
            seen = self._seen.get(route.lane)
            if seen is None:
                seen = self._seen[route.lane] = _Seen(self._prospects.fresh())
            if traffic.arrivals < seen.arrivals:
                seen.arrivals = 0  # the revision was not live for a moment, and its counter began anew
            if traffic.arrivals != seen.arrivals:
                self._arrived(seen, now_s, traffic.arrivals - seen.arrivals)
                seen.arrivals = traffic.arrivals
                moved += 1
            elif traffic.present:
                seen.prospect.busy(now_s)
        if now_s - self._published_s >= PUBLISH_S:
            self._published_s = now_s
            self._prospects.publish()
        return moved

    def outlook(self, project: str, name: str, now_s: float, wake: Wake) -> Outlook:
        """What is to be expected of a deployment that is woken like this."""
        seen = self._seen.get((project, name))
        if seen is None or seen.last_s is None:
            return self._unknown()
        if now_s >= seen.fresh_until_s:
            outlook = seen.outlook = seen.prospect.outlook(now_s, wake)
            fresh_s = max(RESOLUTION_S, FRESH_SHARE * (now_s - seen.last_s))
            seen.fresh_until_s = min(outlook.changes_s, now_s + fresh_s)
        return seen.outlook

    def evicted(self, project: str, name: str) -> None:
        """A deployment went for lack of room."""
        if (seen := self._seen.get((project, name))) is not None:
            seen.prospect.evicted()
            seen.fresh_until_s = -inf

    def forget(self, routes: Sequence[Route]) -> None:
        """Remember these alone."""
        names = {route.lane for route in routes}
        for key in self._seen.keys() - names:
            self._seen.pop(key).prospect.forgotten()

    def memory(self, now_s: float) -> ArrivalsMemory:
        """What is known now."""
        called = [(now_s - seen.last_s, key) for key, seen in self._seen.items() if seen.last_s is not None]
        known = [
            DeploymentMemory(project=key[0], name=key[1], memory=memory)
            for _, key in sorted(called)[:REMEMBERED_MAX]
            if (memory := self._seen[key].prospect.memory(now_s)) is not None
        ]
        return ArrivalsMemory(
            deployments=tuple(known),
            crowd=self._prospects.crowd.memory(),
            clock=self._prospects.priorities.clock,
        )

    def recall(self, memory: ArrivalsMemory, now_s: float, *, unwatched_s: float) -> None:
        """Know what was known, so many seconds ago. Raises `ValueError` for what cannot be."""
        self._prospects.crowd.recall(memory.crowd)
        self._prospects.priorities.clock = memory.clock
        for one in memory.deployments[:REMEMBERED_MAX]:
            last_s = now_s - min(GAP_S_MAX, one.memory.idle_s + unwatched_s)
            seen = _Seen(self._prospects.recalled(one.memory, last_s=last_s, now_s=now_s))
            seen.recalled, seen.unwatched_s = one.memory, unwatched_s
            seen.last_s = last_s
            self._seen[one.project, one.name] = seen

    def _arrived(self, seen: _Seen, now_s: float, calls: int) -> None:
        memory, last_s = seen.recalled, seen.last_s
        seen.recalled = None
        seen.last_s = seen.fresh_until_s = now_s
        if memory is None or last_s is None or seen.unwatched_s <= UNWATCHED_SHARE_MAX * (now_s - last_s):
            seen.prospect.arrive(now_s, calls)
            return
        # This call is taken for its last: what it used to do is known, when it did so before this is not.
        seen.prospect.forgotten()
        seen.prospect = self._prospects.recalled(memory, last_s=now_s, now_s=now_s, calls=calls)

    def _unknown(self) -> Outlook:
        return UNKNOWN if self._prospects.name is PolicyName.ECONOMIC else UNRANKED
