"""How many workers a revision should have: facts, policy and memory in, a number and its reason out.

What waits decides at once: as many workers as bring everybody present to a slot within the wait that is
allowed, where a worker can be there in that time. What went decides slowly: the most that was needed of late
is kept, for as long as a wake is dear. Between them stand two averages and a panic, as in Knative's scaler
(knative/serving, pkg/autoscaler/scaling): a burst that outran the workers forbids to shrink until it is over.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil, floor, inf
from typing import Final

import msgspec

from lambent.core.spec import DeploymentSpec, Keep
from lambent.core.window import WINDOW_S_MAX

STABLE_WINDOW_S_MIN: Final = 2.0
BURST_WINDOW_S_MIN: Final = 0.5
BURST_SHARE: Final = 0.1  # of the stable window
GROWTH_MAX: Final = 2.0
PANIC_RATIO: Final = 2.0
WAIT_S_MIN: Final = 0.005  # about one wake
WAIT_S: Final = 0.05  # where the owner names no latency target: about what a person does not notice
# A worker that is not needed is kept for so many wakes: the classic bound for renting or buying, with the
# stable window as its end. Below the minimum the ticks would decide.
HOLD_WAKES: Final = 100.0
HOLD_S_MIN: Final = 1.5
SATURATED: Final = 0.9  # of its time a slot works, and somebody waits: more slots get more done
PAUSES: Final = 0.1  # of a worker that are not worth a worker
HEADROOM: Final = 0.4  # of all slots, where a wake takes as long as `SLOW_WAKE_S`; in proportion below
SLOW_WAKE_S: Final = 1.0
PEAKS_MAX: Final = 32
ROUNDING: Final = 1e-9


class ScalingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a deployment wants. Raises `ValueError` where the numbers contradict each other.

    A worker runs `target_concurrency` invocations at once. `wait_s_max` is the wait for a slot that more
    workers need not shorten, where there is no `latency_target_s` (0) for wait and run together. `growth_max`
    is the factor by which one decision may raise the number of workers, `panic_ratio` how many times the
    ready workers a burst must need to start a panic.
    """

    target_concurrency: float
    workers_min: int
    workers_max: int
    wait_s_max: float = WAIT_S
    latency_target_s: float = 0.0
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
        if self.wait_s_max <= 0 or self.latency_target_s < 0:
            raise ValueError("wait_s_max must be above 0, latency_target_s not below")

    def allowed_wait_s(self, run_s: float) -> float:
        """How long one may wait for a slot when the run itself takes `run_s`.

        Of what a latency target leaves beside a mean run, half: the other half is for runs that are longer.
        """
        if not self.latency_target_s:
            return self.wait_s_max
        return max(WAIT_S_MIN, (self.latency_target_s - run_s) / 2)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen now. Concurrency counts the invocations that run and those that wait.

    `concurrency_stable` and `concurrency_burst` are averages over the policy's windows, `concurrency_peak` is
    the most at any moment since the last decision. `idle_for_s` is the time since the last invocation arrived
    or ended, whichever is later; 0 while there is one. `run_s` is the mean run, 0 while none is known; `work`
    is how many seconds of runs end in a second, 0 where runs are too long to tell;
    `wake_s` what a further worker takes to come. `cpu_share` is the CPU time in a second of a run, 0 while
    unknown, and `cores` how many there are. `workers_scheduled` is the minimum for this time of day.
    """

    concurrency_stable: float
    concurrency_burst: float
    concurrency_now: int
    concurrency_peak: int = 0
    workers_ready: int
    workers_starting: int
    idle_for_s: float
    run_s: float = 0.0
    work: float = 0.0
    wake_s: float = 0.0
    cpu_share: float = 0.0
    cores: float = inf
    workers_scheduled: int = 0

    @property
    def workers_present(self) -> int:
        """Workers that serve or will soon."""
        return self.workers_ready + self.workers_starting


class Panic(msgspec.Struct, frozen=True):
    """A burst is on: its last sign (monotonic), and the number of workers that must not be undercut."""

    since_s: float
    floor: int


class Peak(msgspec.Struct, frozen=True):
    """So many workers were needed at that time (monotonic)."""

    at_s: float
    workers: int


class Memory(msgspec.Struct, frozen=True):
    """What one decision leaves to the next. `peaks` fall from the oldest on, at most `PEAKS_MAX`."""

    panic: Panic | None = None
    peaks: tuple[Peak, ...] = ()


class Reason(StrEnum):
    """Which rule gave the number."""

    STEADY = "steady"  # the averages
    WAITING = "waiting"  # those who wait would wait too long
    BUSY = "busy"  # the workers have hardly a pause
    RECENT = "recent"  # so many were needed a moment ago
    PANIC = "panic"  # a burst outran the workers: nothing is given up until it is over
    WAKE = "wake"  # something waits and there is no worker
    KEEP_ALIVE = "keep_alive"  # the last worker is kept for a while
    IDLE = "idle"  # nothing came for the whole keep-alive
    MINIMUM = "minimum"  # workers_min
    SCHEDULE = "schedule"  # the minimum for this time of day
    MAXIMUM = "maximum"  # workers_max
    CORES = "cores"  # each run keeps a core busy: more workers would only take turns
    GROWTH = "growth"  # growth_max: the rest follows with the next decisions


class Decision(msgspec.Struct, frozen=True):
    """How many workers there should be, starting ones included, why, and what to remember."""

    workers: int
    reason: Reason
    memory: Memory


def decide(policy: ScalingPolicy, load: Load, memory: Memory, *, now_s: float) -> Decision:
    """The number of workers for this moment. `memory` is the last decision's, `Memory()` for the first."""
    # Nobody is helped by a worker that comes later than a slot: a wait below a wake is none of its business.
    wait_s = policy.allowed_wait_s(load.run_s)
    soon_s = max(wait_s, load.wake_s)
    waiting = needed(policy, load.concurrency_now, run_s=load.run_s, wait_s=soon_s)
    burst = needed(policy, load.concurrency_burst, run_s=load.run_s, wait_s=wait_s)
    peak = needed(policy, load.concurrency_peak, run_s=load.run_s, wait_s=soon_s)
    busy = _busy(policy, load)
    hold_s = hold(policy, wake_s=load.wake_s)
    peaks = _peaks(memory.peaks, Peak(now_s, max(waiting, peak, burst, busy)), since_s=now_s - hold_s)
    panic = _panic(policy, load, memory.panic, burst=burst, hold_s=hold_s, now_s=now_s)
    wanted, reason = _wanted(
        policy, load, waiting=waiting, burst=burst, busy=busy, recent=peaks[0].workers, panic=panic
    )
    workers, reason = _limited(policy, load, wanted, reason)
    if panic:
        panic = Panic(panic.since_s, floor=max(workers, min(panic.floor, policy.workers_max)))
    return Decision(workers, reason, Memory(panic, peaks))


def needed(policy: ScalingPolicy, concurrency: float, *, run_s: float, wait_s: float) -> int:
    """The fewest workers with which, of so many invocations at once, the last waits no longer than `wait_s`.

    s slots work off n runs of r seconds in n r / s; the last of them starts r before the end. So
    s = n r / (r + wait): a slot for each where runs are long beside the wait, fewer where they are short.
    Unknown runs (0) count as long.
    """
    slots = concurrency * run_s / (run_s + wait_s) if run_s > 0 else concurrency
    return ceil(slots / policy.target_concurrency - ROUNDING)


def _busy(policy: ScalingPolicy, load: Load) -> int:
    """As many as have hardly a pause; if all are so and somebody waits nevertheless, more.

    Callers who wait for each answer before they ask again never wait long, however few workers there are:
    what too few workers cost them is throughput.
    """
    slots = load.workers_ready * policy.target_concurrency
    if slots and not load.workers_starting and load.work >= SATURATED * slots < load.concurrency_now:
        return min(
            ceil(load.concurrency_now / policy.target_concurrency),
            ceil(load.workers_ready * policy.growth_max),
        )
    calm = max(0, ceil(min(load.work, slots) / policy.target_concurrency - PAUSES - ROUNDING))
    return max(calm, min(load.workers_ready, _without_saturation(policy, load)))


def _without_saturation(policy: ScalingPolicy, load: Load) -> int:
    """The fewest whom so much work would not saturate: with fewer, the next look would ask for more."""
    pausing = floor(load.work / (SATURATED * policy.target_concurrency)) + 1
    return min(pausing, ceil(load.concurrency_now / policy.target_concurrency))


def hold(policy: ScalingPolicy, *, wake_s: float) -> float:
    """For how long (s) what was needed is kept: the dearer a wake, the longer, up to the stable window."""
    return max(HOLD_S_MIN, min(policy.keep_alive_s, HOLD_WAKES * wake_s))


def _peaks(peaks: tuple[Peak, ...], newest: Peak, *, since_s: float) -> tuple[Peak, ...]:
    """The falling maxima of the last while, as in Knative's delay window.

    Where there are too many, the last two become one: as late as the one, as many as the other.
    """
    higher = tuple(one for one in peaks if one.at_s > since_s and one.workers > newest.workers)
    if len(higher) == PEAKS_MAX:
        higher = (*higher[:-2], Peak(higher[-1].at_s, higher[-2].workers))
    return (*higher, newest)


def _panic(
    policy: ScalingPolicy, load: Load, panic: Panic | None, *, burst: int, hold_s: float, now_s: float
) -> Panic | None:
    """A panic outlives the last sign of its burst by what is held anyway, or by one burst window."""
    if burst >= policy.panic_ratio * max(1, load.workers_ready):
        return Panic(now_s, floor=panic.floor if panic else 0)
    if panic and now_s - panic.since_s > max(hold_s, policy.burst_window_s):
        return None
    return panic


def _wanted(
    policy: ScalingPolicy,
    load: Load,
    *,
    waiting: int,
    burst: int,
    busy: int,
    recent: int,
    panic: Panic | None,
) -> tuple[int, Reason]:
    """The number before any limit, by the rule that asks for the most."""
    if load.concurrency_now == 0 and load.idle_for_s >= policy.keep_alive_s:
        return 0, Reason.IDLE
    if load.concurrency_now and not load.workers_present:
        return max(1, waiting, burst), Reason.WAKE
    wait_s = policy.allowed_wait_s(load.run_s)
    steady = needed(policy, load.concurrency_stable, run_s=load.run_s, wait_s=wait_s)
    steady = max(steady, floor(steady / (1 - HEADROOM * min(1.0, load.wake_s / SLOW_WAKE_S))))
    least = min(1, load.workers_present) or min(1, load.concurrency_now)
    asked = [
        (max(steady, burst), Reason.STEADY),
        (waiting, Reason.WAITING),
        (busy, Reason.BUSY),
        # A peak that was over before anybody looked keeps a worker and starts none.
        (min(recent, load.workers_present), Reason.RECENT),
        (max(panic.floor, load.workers_present) if panic else 0, Reason.PANIC),
    ]
    wanted, reason = max(asked, key=lambda one: one[0])
    if wanted:
        return wanted, reason
    return least, Reason.KEEP_ALIVE if least else Reason.STEADY


def _limited(policy: ScalingPolicy, load: Load, wanted: int, reason: Reason) -> tuple[int, Reason]:
    """`wanted` inside the bounds. The limits of growth and of cores take away nothing that is there."""
    scheduled = min(load.workers_scheduled, policy.workers_max)
    low = max(policy.workers_min, scheduled)
    if wanted <= low:
        raised = Reason.SCHEDULE if scheduled > policy.workers_min else Reason.MINIMUM
        return low, reason if wanted == low else raised
    for limit, why in (
        (policy.workers_max, Reason.MAXIMUM),
        (max(low, load.workers_present, _useful(policy, load)), Reason.CORES),
        (
            max(low, load.workers_present, ceil(max(1, load.workers_present) * policy.growth_max)),
            Reason.GROWTH,
        ),
    ):
        if wanted > limit:
            wanted, reason = limit, why
    return wanted, reason


def _useful(policy: ScalingPolicy, load: Load) -> int:
    """How many workers the cores can keep at work, each with all of its slots in use."""
    share = load.cpu_share * policy.target_concurrency
    return policy.workers_max if share <= 0 else max(1, ceil(min(load.cores / share, policy.workers_max)))


def policy_for(spec: DeploymentSpec) -> ScalingPolicy:
    """The policy of a deployment. A short keep-alive asks for quick reactions, so the windows follow it.

    What its owner wants hot has a worker at any time.
    """
    stable_window_s = min(WINDOW_S_MAX, max(STABLE_WINDOW_S_MIN, spec.keep_alive_s))
    return ScalingPolicy(
        target_concurrency=float(spec.concurrency),
        workers_min=max(spec.workers_min, int(spec.keep is Keep.HOT)),
        workers_max=spec.workers_max,
        wait_s_max=min(WAIT_S, spec.hold_s / 2),
        latency_target_s=spec.latency_target_ms / 1e3,
        stable_window_s=stable_window_s,
        burst_window_s=max(BURST_WINDOW_S_MIN, BURST_SHARE * stable_window_s),
        keep_alive_s=spec.keep_alive_s,
    )
