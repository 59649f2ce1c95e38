"""What a tape of the simulator comes to at a price of memory, and the price that meets a budget.

Two readings of the same tape. `alive_or_dead` is what the literature measures: a revision is in memory as a
whole or not at all. `tempered` has Lambent's temperatures: its packages are shared and stay, its template is
kept while its own bytes are worth what they save, its worker likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import sqrt
from typing import Final

import msgspec

from lambent.core.pricing import GIB, PLANS, UsageClass, price, without_free_allowance
from lambent.core.simulation import Tape, Trace

COST_PLAN: Final = "aws-lambda"
PRICE_MIN, PRICE_MAX = 1e-24, 1.0
CLOSE_ENOUGH: Final = 0.0005
BISECTIONS_MAX: Final = 60


class Anatomy(msgspec.Struct, frozen=True, kw_only=True):
    """What temperatures cost: milliseconds to wake from each, and bytes to hold each.

    `environments` templates of `environment_bytes` are always resident and shared; a primed revision holds
    what its memory has beyond its environment (at least a tenth of it), a hot worker `worker_bytes` more. The
    milliseconds are of the size that Lambent measures for torch (DESIGN, section 2); the bytes are an
    assumption, for no public trace tells environments.
    """

    cold_ms: float = 2000.0
    warm_ms: float = 300.0
    primed_ms: float = 10.0
    environments: int = 20
    environment_bytes: int = 200 * 2**20
    worker_bytes: int = 16 * 2**20

    def primed_bytes(self, memory_bytes: int) -> int:
        """What a revision of this size holds beyond its environment."""
        return max(memory_bytes // 10, memory_bytes - self.environment_bytes, 1)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would have cost.

    `cold_starts` found less than a primed revision; with temperatures a call that finds a primed one without
    a worker waits too, for a fork, and is counted in `wakes`. `wake_ms_…` are percentiles over the wakes.
    `app_cold_percent_p75` is ATC'20's measure: over the apps that were called, the 75th percentile of the
    share of their calls that were cold starts. `cost_usd` is what the memory, used and wasted, would cost at
    AWS Lambda's price of a GB-second.
    """

    invocations: int
    cold_starts: int
    wakes: int
    wake_s: float
    wake_ms_p50: float
    wake_ms_p99: float
    wasted_gb_s: float
    used_gb_s: float
    app_cold_percent_p75: float
    cost_usd: float

    @property
    def cold_percent(self) -> float:
        """Cold starts in a hundred calls."""
        return 100 * self.cold_starts / self.invocations if self.invocations else 0.0


Reading = Callable[[Tape, Trace, float, Anatomy], Outcome]


def alive_or_dead(tape: Tape, trace: Trace, price: float, anatomy: Anatomy) -> Outcome:
    """Kept as a whole while its calls per second and byte are at least `price`; each miss is a cold wake."""
    least = [price * revision.memory_bytes for revision in trace.revisions]
    sizes = [revision.memory_bytes for revision in trace.revisions]
    wasted = sum(
        ticks * sizes[revision]
        for revision, rate, ticks in zip(tape.idle_revision, tape.idle_rate, tape.idle_ticks, strict=True)
        if rate > 0 and rate >= least[revision]
    )
    colds = [0] * len(sizes)
    for revision, rate in zip(tape.call_revision, tape.call_rate, strict=True):
        if rate <= 0 or rate < least[revision]:
            colds[revision] += 1
    return summed(tape, trace, wasted, colds, {anatomy.cold_ms: sum(colds)})


def tempered(tape: Tape, trace: Trace, price: float, anatomy: Anatomy) -> Outcome:
    """Each step, to primed and to hot, is held while what it saves is worth its own bytes.

    The price is that of `alive_or_dead`, where a byte saves a whole cold wake; a step that saves a part of
    one is held from a rate that is higher in proportion.
    """
    steps = [_steps(revision.memory_bytes, price, anatomy) for revision in trace.revisions]
    wasted = anatomy.environments * anatomy.environment_bytes * (tape.until_tick - tape.from_tick)
    for revision, rate, ticks in zip(tape.idle_revision, tape.idle_rate, tape.idle_ticks, strict=True):
        step = steps[revision]
        if rate > 0 and rate >= step.primed_rate:
            wasted += ticks * (step.hot_bytes if rate >= step.hot_rate else step.primed_bytes)
    colds, forks = [0] * len(steps), 0
    for revision, rate in zip(tape.call_revision, tape.call_rate, strict=True):
        if rate <= 0 or rate < steps[revision].primed_rate:
            colds[revision] += 1
        elif rate < steps[revision].hot_rate:
            forks += 1
    return summed(tape, trace, wasted, colds, {anatomy.primed_ms: forks, anatomy.warm_ms: sum(colds)})


def fit_price(reading: Reading, tape: Tape, trace: Trace, anatomy: Anatomy, *, wasted_gb_s: float) -> float:
    """The price at which a reading wastes `wasted_gb_s`, by bisection; the dearer one where it jumps over it.

    The waste falls as the price rises. The result is within 0.05 % of the wish wherever the trace has that
    many different stretches, and wastes less rather than more where it has not.
    """
    low, high = PRICE_MIN, PRICE_MAX
    for _ in range(BISECTIONS_MAX):
        middle = sqrt(low * high)
        wasted = reading(tape, trace, middle, anatomy).wasted_gb_s
        low, high = (middle, high) if wasted > wasted_gb_s else (low, middle)
        if abs(wasted - wasted_gb_s) <= CLOSE_ENOUGH * wasted_gb_s:
            return middle
    return high


def summed(
    tape: Tape, trace: Trace, wasted: float, colds: Sequence[int], wakes: Mapping[float, int]
) -> Outcome:
    """The sums over a tape: `wasted` in bytes × ticks, cold starts by revision, wakes by milliseconds."""
    gb_s = trace.resolution_s / GIB
    used = sum(trace.revisions[revision].memory_bytes for revision in tape.call_revision)
    return Outcome(
        invocations=sum(tape.call_count),
        cold_starts=sum(colds),
        wakes=sum(wakes.values()),
        wake_s=sum(took_ms * number for took_ms, number in wakes.items()) / 1000,
        wake_ms_p50=_wake_ms(wakes, 0.50),
        wake_ms_p99=_wake_ms(wakes, 0.99),
        wasted_gb_s=wasted * gb_s,
        used_gb_s=used * gb_s,
        app_cold_percent_p75=_app_cold_percent(tape, trace, colds),
        cost_usd=_cost_usd((wasted + used) * gb_s),
    )


class _Steps(msgspec.Struct, frozen=True):
    """From which rate on a revision is primed and hot, and what it then holds."""

    primed_rate: float
    hot_rate: float
    primed_bytes: int
    hot_bytes: int


def _steps(memory_bytes: int, price: float, anatomy: Anatomy) -> _Steps:
    primed_bytes = anatomy.primed_bytes(memory_bytes)
    dear = price * anatomy.cold_ms
    primed_rate = dear * primed_bytes / (anatomy.warm_ms - anatomy.primed_ms)
    hot_rate = max(primed_rate, dear * anatomy.worker_bytes / anatomy.primed_ms)
    return _Steps(primed_rate, hot_rate, primed_bytes, primed_bytes + anatomy.worker_bytes)


def _wake_ms(wakes: Mapping[float, int], share: float) -> float:
    needed, seen = share * sum(wakes.values()), 0
    for took_ms in sorted(wakes):
        seen += wakes[took_ms]
        if wakes[took_ms] and seen >= needed:
            return took_ms
    return 0.0


def _app_cold_percent(tape: Tape, trace: Trace, colds: Sequence[int]) -> float:
    calls: dict[str, int] = {}
    cold: dict[str, int] = {}
    for revision, count in zip(tape.call_revision, tape.call_count, strict=True):
        app = trace.revisions[revision].app
        calls[app] = calls.get(app, 0) + count
    for revision, number in enumerate(colds):
        app = trace.revisions[revision].app
        cold[app] = cold.get(app, 0) + number
    shares = sorted(100 * cold[app] / number for app, number in calls.items())
    if not shares:
        return 0.0
    place = 0.75 * (len(shares) - 1)
    below = int(place)
    above = min(below + 1, len(shares) - 1)
    return shares[below] + (shares[above] - shares[below]) * (place - below)


def _cost_usd(gb_s: float) -> float:
    plan = without_free_allowance(PLANS[COST_PLAN])
    held = UsageClass(memory_bytes=GIB, invocations=0, billed_ms={plan.meter: round(gb_s * 1000)})
    charge = price(plan, [held])
    return float(charge.duration_usd if charge.total_usd else Decimal(0))
