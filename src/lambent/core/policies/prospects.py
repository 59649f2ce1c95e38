"""What a running node asks of a policy: how likely is a call of this deployment, and how is it ranked?

The policies are those that the simulator compares, and each plan is `keepalive.plan`'s; a table says with
which settings. A policy that has no budget of its own gets one here: where what it wants to keep does not
fit, what was called last is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from lambent.core.crowd import Crowd
from lambent.core.forecasting import Forecast
from lambent.core.histogram import Grid
from lambent.core.keepalive import KeepPolicy
from lambent.core.memories import ForecastMemory, Memory, RankMemory, WindowMemory
from lambent.core.policies.base import PolicyName
from lambent.core.policies.greedy_dual import Priorities
from lambent.core.policies.windows import FixedKeepAlive, HybridHistogram

RESOLUTION_S: Final = 1.0


class Outlook(msgspec.Struct, frozen=True):
    """Arrivals per second, the highest until a wake begun now would be done, and when that changes next.

    `rank` as in `keepalive.Facts`: `None` where the rate alone decides.
    """

    rate: float
    changes_s: float
    rank: float | None = None


class Wake(msgspec.Struct, frozen=True):
    """What its next wake is about: how long before a call it has to begin, what it takes, what it brings."""

    lead_s: float
    cost_ms: float
    size_bytes: int


class Prospect(Protocol):
    """One deployment in a policy's eyes. Times are seconds of one clock that never goes back."""

    def arrive(self, now_s: float, calls: int) -> None:
        """It was called so often, now."""

    def busy(self, now_s: float) -> None:
        """It still runs."""

    def outlook(self, now_s: float, wake: Wake) -> Outlook:
        """What is to be expected, if it was not called until now."""
        ...

    def evicted(self) -> None:
        """It went for lack of room."""

    def forgotten(self) -> None:
        """It is not deployed any more."""

    def memory(self, now_s: float) -> Memory | None:
        """What is known of it; `None` before the first arrival."""
        ...


def rule_of(name: PolicyName, budget_bytes: int) -> KeepPolicy:
    """How `keepalive.plan` runs this policy."""
    return msgspec.structs.replace(RULES[name], budget_bytes=budget_bytes)


class Prospects:
    """Makes the prospects of one policy, and holds what they share."""

    def __init__(self, name: PolicyName, resolution_s: float = RESOLUTION_S) -> None:
        self.name: Final = name
        self._grid: Final = Grid(resolution_s)
        self.crowd: Final = Crowd(self._grid)
        self.priorities: Final = Priorities[object]()

    def fresh(self) -> Prospect:
        """One that was never called."""
        match self.name:
            case PolicyName.ECONOMIC:
                return _Foreseen(Forecast(self._grid, self.crowd))
            case PolicyName.FIXED:
                return _Windowed(FixedKeepAlive(1))
            case PolicyName.HYBRID:
                return _Windowed(HybridHistogram(1))
            case PolicyName.GDSF:
                return _Ranked(self.priorities)

    def recalled(self, memory: Memory, *, last_s: float, now_s: float, calls: int = 0) -> Prospect:
        """One of which this is known, and which was called last at `last_s`, `calls` times then.

        What another policy has learned is of no use: then it was never called. Raises `ValueError` for what
        cannot be.
        """
        made = self.fresh()
        match made, memory:
            case _Foreseen(), ForecastMemory():
                forecast = Forecast.recalled(self._grid, self.crowd, memory, last_s=last_s, now_s=now_s)
                return _Foreseen(forecast)
            case _Windowed(), WindowMemory():
                made.windows.recall(0, memory, last_s=last_s)
            case _Ranked(), RankMemory():
                made.recall(memory, last_s=last_s, calls=calls)
            case _ if calls:
                made.arrive(last_s, calls)
        return made

    def publish(self) -> None:
        """Let what was learned from all count from now on."""
        if self.name is PolicyName.ECONOMIC:
            self.crowd.publish()


# Their published forms know no stickiness; neither fixed keep-alive nor greedy-dual ever comes back early.
RULES: Final[Mapping[PolicyName, KeepPolicy]] = MappingProxyType(
    {
        PolicyName.ECONOMIC: KeepPolicy(budget_bytes=0),
        PolicyName.FIXED: KeepPolicy(budget_bytes=0, lazy=False, prewake_probability=inf, stickiness=1.0),
        PolicyName.HYBRID: KeepPolicy(budget_bytes=0, lazy=False, stickiness=1.0),
        PolicyName.GDSF: KeepPolicy(budget_bytes=0, prewake_probability=inf, stickiness=1.0),
    }
)


class _Foreseen:
    """Ours."""

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast

    def arrive(self, now_s: float, calls: int) -> None:
        # Calls between two looks count as one: their gaps are not known.
        self._forecast.arrive(now_s)

    def busy(self, now_s: float) -> None:
        """Its gaps are from arrival to arrival."""

    def outlook(self, now_s: float, wake: Wake) -> Outlook:
        forecast = self._forecast
        forecast.advance(now_s)
        if forecast.changes_s > now_s + wake.lead_s:
            return Outlook(forecast.rate, forecast.changes_s - wake.lead_s)
        rate = max(stretch.rate for stretch in forecast.outlook(wake.lead_s))
        return Outlook(max(rate, forecast.rate), forecast.changes_s)

    def evicted(self) -> None:
        """Its forecast is of calls, not of memory."""

    def forgotten(self) -> None:
        """What the crowd has learned from it stays."""

    def memory(self, now_s: float) -> Memory | None:
        return self._forecast.memory(now_s)


class _Windowed:
    """Fixed keep-alive and the hybrid histogram: inside a window it is kept, outside it is not."""

    def __init__(self, windows: FixedKeepAlive | HybridHistogram) -> None:
        self.windows = windows

    def arrive(self, now_s: float, calls: int) -> None:
        self.windows.arrive(0, now_s)

    def busy(self, now_s: float) -> None:
        self.windows.busy(0, now_s)

    def outlook(self, now_s: float, wake: Wake) -> Outlook:
        kept, last_s = self.windows.kept_s(0), self.windows.last_arrival_s(0)
        if kept is None or last_s is None:
            return Outlook(0.0, inf, 0.0)
        from_s, until_s = kept[0] - wake.lead_s, kept[1]
        if now_s < from_s and kept[0] > last_s:
            return Outlook(0.0, from_s, 0.0)
        if now_s >= until_s:
            return Outlook(0.0, inf, 0.0)
        return Outlook(inf, until_s, 1.0 / (1.0 + max(0.0, now_s - last_s)))

    def evicted(self) -> None:
        """Its windows are of calls, not of memory."""

    def forgotten(self) -> None:
        """Nothing is shared."""

    def memory(self, now_s: float) -> Memory | None:
        last_s = self.windows.last_arrival_s(0)
        return None if last_s is None else self.windows.memory(0, max(0.0, now_s - last_s))


class _Ranked:
    """Greedy-dual-size-frequency."""

    def __init__(self, priorities: Priorities[object]) -> None:
        self._priorities = priorities
        self._rank = 0.0
        self._calls = 0  # since the last look: a priority is made of what size and cost are then
        self._last_s: float | None = None

    def arrive(self, now_s: float, calls: int) -> None:
        self._calls += calls
        self._last_s = now_s

    def busy(self, now_s: float) -> None:
        """It ranks by calls, however long they take."""

    def outlook(self, now_s: float, wake: Wake) -> Outlook:
        if self._calls:
            size_bytes = max(1, wake.size_bytes)
            self._rank = self._priorities.call(self, size_bytes, wake.cost_ms, times=self._calls)
            self._calls = 0
        return Outlook(0.0, inf, self._rank)

    def evicted(self) -> None:
        self._priorities.evict(self, self._rank)
        self._rank = 0.0

    def forgotten(self) -> None:
        self._priorities.forget(self)

    def memory(self, now_s: float) -> Memory | None:
        if self._last_s is None:
            return None
        calls = self._priorities.calls.get(self, 0)
        return RankMemory(idle_s=max(0.0, now_s - self._last_s), calls=calls, priority=self._rank)

    def recall(self, memory: RankMemory, *, last_s: float, calls: int) -> None:
        self._rank, self._last_s, self._calls = memory.priority, last_s, calls
        if memory.calls:
            self._priorities.calls[self] = memory.calls
