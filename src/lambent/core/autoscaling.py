"""How many workers a revision should have: facts, policy and memory in, a number and its reason out.

Two averages of the concurrency, as in Knative's scaler (knative/serving, pkg/autoscaler/scaling): a slow one
that decides in calm times, and a fast one that starts a panic when it outruns the workers. Added here: the
first worker does not wait for an average, the last one goes by a keep-alive of its own, and the fast average
vetoes a shrink.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import Final

import msgspec

from lambent.core.spec import DeploymentSpec, Keep
from lambent.core.window import WINDOW_S_MAX

STABLE_WINDOW_S_MIN: Final = 2.0
BURST_WINDOW_S_MIN: Final = 0.5
BURST_SHARE: Final = 0.1  # of the stable window
GROWTH_MAX: Final = 2.0
PANIC_RATIO: Final = 2.0


class ScalingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a deployment wants. Raises `ValueError` where the numbers contradict each other.

    `target_concurrency` invocations, running or waiting, are one worker's work. `growth_max` is the factor by
    which one decision may raise the number of ready workers, `panic_ratio` how many times the ready workers a
    burst must need to start a panic.
    """

    target_concurrency: float
    workers_min: int
    workers_max: int
    growth_max: float = GROWTH_MAX
    panic_ratio: float = PANIC_RATIO
    stable_window_s: float
    burst_window_s: float
    keep_alive_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.workers_min <= self.workers_max or self.workers_max < 1:
            raise ValueError(f"{self.workers_min} to {self.workers_max} workers is no range")
        if not 0 < self.burst_window_s <= self.stable_window_s <= WINDOW_S_MAX:
            raise ValueError(f"windows of {self.burst_window_s} and {self.stable_window_s} s do not fit")
        if self.target_concurrency <= 0 or self.growth_max <= 1 or self.panic_ratio <= 1:
            raise ValueError("target_concurrency must be above 0, growth_max and panic_ratio above 1")


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen now. Concurrency counts the invocations that run and those that wait.

    `concurrency_stable` and `concurrency_burst` are averages over the policy's windows. `idle_for_s` is the
    time since the last invocation arrived or ended, whichever is later; 0 while there is one.
    """

    concurrency_stable: float
    concurrency_burst: float
    concurrency_now: int
    workers_ready: int
    workers_starting: int
    idle_for_s: float


class Panic(msgspec.Struct, frozen=True):
    """A burst is on: its last sign (monotonic), and the number of workers that must not be undercut."""

    since_s: float
    floor: int


class Reason(StrEnum):
    """Which rule gave the number."""

    STEADY = "steady"  # the slow average
    PANIC = "panic"  # the fast average, or the most that it asked for since the panic began
    WAKE = "wake"  # something waits and there is no worker
    KEEP_ALIVE = "keep_alive"  # the last worker is kept for a while
    IDLE = "idle"  # nothing came for the whole keep-alive
    MINIMUM = "minimum"  # workers_min
    MAXIMUM = "maximum"  # workers_max
    GROWTH = "growth"  # growth_max: the rest follows with the next decisions


class Decision(msgspec.Struct, frozen=True):
    """How many workers there should be, starting ones included, why, and the panic to remember."""

    workers: int
    reason: Reason
    panic: Panic | None


def decide(policy: ScalingPolicy, load: Load, panic: Panic | None, *, now_s: float) -> Decision:
    """The number of workers for this moment. `panic` is the last decision's, `None` for the first."""
    present = load.workers_ready + load.workers_starting
    burst = _needed(load.concurrency_burst, policy)
    panic = _panic(policy, load, panic, burst=burst, now_s=now_s)
    if panic:
        steady = _needed(load.concurrency_stable, policy)
        wanted, reason = max(steady, burst, panic.floor, present), Reason.PANIC
    else:
        wanted, reason = _calm(policy, load, burst=burst, present=present)
    workers, reason = _limited(policy, load, wanted, reason, floor=max(present, panic.floor if panic else 0))
    return Decision(workers, reason, Panic(panic.since_s, floor=workers) if panic else None)


def _needed(concurrency: float, policy: ScalingPolicy) -> int:
    return ceil(concurrency / policy.target_concurrency)


def _panic(
    policy: ScalingPolicy, load: Load, panic: Panic | None, *, burst: int, now_s: float
) -> Panic | None:
    """A panic outlives the burst by one stable window.

    By then the slow average has caught up with the surge and can be trusted to shrink the pool.
    """
    if burst >= policy.panic_ratio * max(1, load.workers_ready):
        return Panic(now_s, floor=panic.floor if panic else 0)
    if panic and now_s - panic.since_s > policy.stable_window_s:
        return None
    return panic


def _calm(policy: ScalingPolicy, load: Load, *, burst: int, present: int) -> tuple[int, Reason]:
    if load.concurrency_now == 0 and load.idle_for_s >= policy.keep_alive_s:
        return 0, Reason.IDLE
    # Growth is left to the slow average, yet nothing that the fast one still needs is given up.
    wanted = max(_needed(load.concurrency_stable, policy), min(burst, present))
    if load.concurrency_now and not present:
        return max(1, wanted), Reason.WAKE
    if wanted or load.concurrency_now:
        return max(1, wanted), Reason.STEADY
    return (1, Reason.KEEP_ALIVE) if present else (0, Reason.STEADY)


def _limited(
    policy: ScalingPolicy, load: Load, wanted: int, reason: Reason, *, floor: int
) -> tuple[int, Reason]:
    """`wanted` inside the policy's bounds. The limit of growth takes away nothing that `floor` granted."""
    low, high = policy.workers_min, policy.workers_max
    step = max(low, floor, ceil(max(1, load.workers_ready) * policy.growth_max))
    if wanted < low:
        return low, Reason.MINIMUM
    if wanted <= min(high, step):
        return wanted, reason
    return (high, Reason.MAXIMUM) if high <= step else (step, Reason.GROWTH)


def policy_for(spec: DeploymentSpec) -> ScalingPolicy:
    """The policy of a deployment. A short keep-alive asks for quick reactions, so the windows follow it.

    What its owner wants hot has a worker at any time.
    """
    stable_window_s = min(WINDOW_S_MAX, max(STABLE_WINDOW_S_MIN, spec.keep_alive_s))
    return ScalingPolicy(
        target_concurrency=float(spec.concurrency),
        workers_min=max(spec.workers_min, int(spec.keep is Keep.HOT)),
        workers_max=spec.workers_max,
        stable_window_s=stable_window_s,
        burst_window_s=max(BURST_WINDOW_S_MIN, BURST_SHARE * stable_window_s),
        keep_alive_s=spec.keep_alive_s,
    )
