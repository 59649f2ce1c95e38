"""Knative's autoscaler as a pure policy, to compare with: nothing of it is in the server.

After knative/serving: `pkg/autoscaler/scaling/autoscaler.go` (Scale),
`pkg/autoscaler/aggregation/bucketing.go` (TimedFloat64Buckets),
`pkg/activator/handler/concurrency_reporter.go` (what is counted),
`pkg/reconciler/autoscaling/kpa/scaler.go` (bounds and scale to zero). Defaults are those of
`config/core/configmaps/autoscaler.yaml`, the target that of a container with a concurrency of its own.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil, floor
from typing import Final

import msgspec

BUCKET_S: Final = 1.0
REQUEUE_S: Final = (
    3.0  # scaler.go: an inactive revision that is proxied already is looked at again after this
)


class KpaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of `config-autoscaler` that matter here, in seconds and shares, with their defaults."""

    container_concurrency: float = 1.0
    target_utilisation: float = 0.7
    stable_window_s: float = 60.0
    panic_window_s: float = 6.0  # 10 % of the stable window
    panic_threshold: float = 2.0
    scale_up_rate_max: float = 1000.0
    scale_down_rate_max: float = 2.0
    target_burst_capacity: float = 211.0
    scale_to_zero_grace_s: float = 30.0
    tick_s: float = 2.0
    scale_min: int = 0
    scale_max: int = 0  # 0 is none

    @property
    def target(self) -> float:
        """The concurrency that one pod should have; never below 0.01, as `TargetMin`."""
        return max(0.01, self.container_concurrency * self.target_utilisation)


class Buckets:
    """An average over the last seconds, one bucket each. Over a shorter time where there is less."""

    def __init__(self, window_s: float) -> None:
        self._buckets = [0.0] * ceil(window_s / BUCKET_S)
        self._total = 0.0
        self._first: int | None = None
        self._last: int | None = None

    def empty(self, now_s: float) -> bool:
        """Nothing was recorded for the whole window."""
        return self._last is None or floor(now_s / BUCKET_S) - self._last > len(self._buckets)

    def record(self, now_s: float, value: float) -> None:
        """Add `value` to the bucket of this second."""
        now, size = floor(now_s / BUCKET_S), len(self._buckets)
        if self._last is None or self._first is None or now - self._last >= size:
            self._buckets, self._total = [0.0] * size, 0.0
            self._first = self._last = now
        for passed in range(self._last + 1, now + 1):
            self._total -= self._buckets[passed % size]
            self._buckets[passed % size] = 0.0
        self._last = max(self._last, now)
        self._buckets[now % size] += value
        self._total += value

    def average(self, now_s: float) -> float:
        """Over the buckets that count, to six digits as there."""
        if self._last is None or self._first is None:
            return 0.0
        now, size = floor(now_s / BUCKET_S), len(self._buckets)
        if now - self._last >= size:
            return 0.0
        gone = max(0, now - self._last)
        total = self._total - sum(self._buckets[(self._last + 1 + n) % size] for n in range(gone))
        return round(total / min(self._last - self._first + 1, size - gone), 6)


class Panic(msgspec.Struct, frozen=True):
    """Since when, and the most pods that were asked for in it."""

    since_s: float
    pods: int


class Scaled(msgspec.Struct, frozen=True):
    """The answer of one evaluation: pods, spare capacity for a burst, and the panic to remember."""

    pods: int
    excess_burst_capacity: int
    panic: Panic | None


def scale(
    config: KpaConfig, *, stable: float, burst: float, ready: int, panic: Panic | None, now_s: float
) -> Scaled:
    """`autoscaler.Scale`: from the two averages of the concurrency to a number of pods."""
    counted = max(1, ready)
    most, least = ceil(config.scale_up_rate_max * counted), floor(counted / config.scale_down_rate_max)
    stable_pods, burst_pods = ceil(stable / config.target), ceil(burst / config.target)
    if burst_pods / counted >= config.panic_threshold:
        panic = Panic(now_s, panic.pods if panic else 0)
    elif panic and now_s - panic.since_s > config.stable_window_s:
        panic = None
    pods = min(max(stable_pods, least), most)
    if panic:
        pods = max(pods, min(max(burst_pods, least), most), panic.pods)
        panic = Panic(panic.since_s, pods)
    capacity = ready * config.container_concurrency
    excess = floor(capacity - config.target_burst_capacity - burst)
    return Scaled(pods, excess if config.target_burst_capacity else 0, panic)


class State(StrEnum):
    """The condition `Active` of a pod autoscaler."""

    ACTIVATING = "activating"
    ACTIVE = "active"
    INACTIVE = "inactive"


class Kpa:
    """One revision's autoscaler with its metrics, state and bounds. Feed it levels; ask it on each tick."""

    def __init__(self, config: KpaConfig, *, pods: int) -> None:
        self.config: Final = config
        self._stable, self._burst = Buckets(config.stable_window_s), Buckets(config.panic_window_s)
        self._panic: Panic | None = None
        self._pods = pods
        self._state, self._since_s = State.ACTIVATING, 0.0
        self._proxied_since_s: float | None = 0.0
        self._second = 0
        self._level, self._level_s, self._integral = 0, 0.0, 0.0
        self._known, self._told = False, 0.0  # whether the activator counts this revision; told in advance

    def changed(self, present: int, ready: int, now_s: float) -> bool:
        """The number of requests present has changed. True where that is to be acted upon at once.

        The activator tells of the first request at once, and that wakes a revision without pods.
        """
        self._pass(ready, now_s)
        first = present > self._level and not self._known
        self._level = present
        if first:
            self._known, self._told = True, 1.0
            self._record(now_s, 1.0)
        return first and self._pods == 0

    def tick(self, ready: int, now_s: float) -> int:
        """How many pods there should be from now on."""
        self._pass(ready, now_s)
        if self._state is State.ACTIVATING and ready >= max(1, self.config.scale_min):
            self._become(State.ACTIVE, now_s)
        if self._stable.empty(now_s):
            return self._pods
        scaled = scale(
            self.config, stable=self._stable.average(now_s), burst=self._burst.average(now_s),
            ready=ready, panic=self._panic, now_s=now_s,
        )  # fmt: skip
        self._panic = scaled.panic
        wanted = max(self.config.scale_min, scaled.pods)
        self._pods = self._to_zero(now_s) if wanted == 0 else min(wanted, self.config.scale_max or wanted)
        if wanted and self._state is State.INACTIVE:
            self._become(State.ACTIVE if ready else State.ACTIVATING, now_s)
        if scaled.excess_burst_capacity >= 0 and self._pods:
            self._proxied_since_s = None
        elif self._proxied_since_s is None:
            self._proxied_since_s = now_s
        return self._pods

    def _to_zero(self, now_s: float) -> int:
        """`handleScaleToZero`: the stable window as active, then the activator's time in the path."""
        if self._state is State.ACTIVATING:
            return self._pods
        if self._state is State.ACTIVE:
            if now_s - self._since_s < self.config.stable_window_s:
                return 1
            self._become(State.INACTIVE, now_s)
            return self._pods
        if self._proxied_since_s is None:
            self._proxied_since_s = now_s
        grace_ends_s = self._proxied_since_s + self.config.scale_to_zero_grace_s
        # A tick comes every two seconds; the one before the requeue counts, in its favour.
        due_s = max(grace_ends_s, self._since_s + REQUEUE_S - self.config.tick_s)
        return 0 if now_s >= due_s else self._pods

    def _become(self, state: State, now_s: float) -> None:
        if state is not self._state:
            self._state, self._since_s = state, now_s

    def _pass(self, ready: int, now_s: float) -> None:
        """Report each second that is over: its average concurrency, less what was told in advance."""
        while now_s >= (end_s := float(self._second + 1)):
            average = self._integral + self._level * (end_s - self._level_s)
            self._integral, self._level_s = 0.0, end_s
            self._second += 1
            if self._known or ready:
                self._record(end_s, max(0.0, average - self._told))
            self._known, self._told = average > 0, 0.0
        self._integral += self._level * (now_s - self._level_s)
        self._level_s = now_s

    def _record(self, now_s: float, concurrency: float) -> None:
        self._stable.record(now_s, concurrency)
        self._burst.record(now_s, concurrency)
