"""The highest rate that a rule sustains, and what is left of its goodput beyond it. Virtual time, seeded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final

import msgspec

from benchmarks.batching.models import CURVES, LONE_S, Curve, poisson
from benchmarks.batching.simulator import Adaptive, Fixed, Result, Rule, run

SHARE: Final = 0.99  # that must be in time
COARSE: Final = 1.08
FINE_STEPS: Final = 3
RATE_MIN: Final = 20.0
MAX_BATCH: Final = 64

Arrivals = Callable[[float, int, Random], Sequence[float]]
BASELINES: Final[Mapping[str, Callable[[], Rule]]] = MappingProxyType(
    {
        "no batching": lambda: Fixed(1, 0.0),
        "8 in 10 ms": lambda: Fixed(8, 0.010),
        "32 in 50 ms": lambda: Fixed(32, 0.050),
    }
)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What is served, by how many workers, and within which target: that many times L(1)."""

    model: str
    target_ratio: float
    curves: Mapping[str, Curve] = CURVES
    lone_s: Mapping[str, float] = LONE_S
    workers: int = 1
    arrivals: Arrivals = poisson
    count: int = 12_000
    seeds: Sequence[int] = (1, 2)

    @property
    def target_s(self) -> float:
        """The latency target."""
        return self.lone_s[self.model] * self.target_ratio


def simulate(setting: Setting, rule: Rule, rate: float, seed: int, *, give_up: float = 1.0) -> Result:
    """One run of one seed; the same seed brings the same arrivals to every rule."""
    arrivals = setting.arrivals(rate, setting.count, Random(seed))
    return run(
        rule, setting.curves[setting.model], arrivals, Random(seed + 1),
        target_s=setting.target_s, workers=setting.workers, give_up=give_up,
    )  # fmt: skip


def sustains(setting: Setting, make: Callable[[], Rule], rate: float) -> bool:
    """Whether enough is in time at this rate, with every seed."""
    return all(
        simulate(setting, make(), rate, seed, give_up=1 - SHARE).share >= SHARE for seed in setting.seeds
    )


def highest_rate(setting: Setting, make: Callable[[], Rule], *, rate_max: float) -> float:
    """The highest rate a second that is sustained, to 1 %; 0 for none above `RATE_MIN`.

    Searched from above: a rule that waits for company fails at low rates, too, and may pass above them.
    """
    rate = rate_max
    while not sustains(setting, make, rate):
        rate /= COARSE
        if rate < RATE_MIN:
            return 0.0
    above = rate * COARSE
    for _ in range(FINE_STEPS):
        middle = (rate * above) ** 0.5
        if sustains(setting, make, middle):
            rate = middle
        else:
            above = middle
    return rate


def goodput(setting: Setting, rate: float) -> float:
    """Answers in time a second, of the adaptive rule at this rate: the mean over the seeds."""
    runs = [simulate(setting, adaptive(setting), rate, seed) for seed in setting.seeds]
    return sum(result.goodput for result in runs) / len(runs)


def adaptive(setting: Setting) -> Rule:
    """Ours, which is told the target and nothing else."""
    return Adaptive(MAX_BATCH, setting.target_s)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Highest rates, and goodput over goodput at saturation.

    `peak` is held against the most goodput at any rate up to the double, the harder measure.
    """

    setting: Setting
    ours: float
    baselines: Mapping[str, float]
    overload: float
    peak: float

    @property
    def ratio(self) -> float:
        """Ours over the best of the baselines."""
        return self.ours / max(1e-9, *self.baselines.values())


def judge(setting: Setting) -> Verdict:
    """Search for everybody's highest rate, then double ours."""
    curve = setting.curves[setting.model]
    rates = (size / curve(size, Random(0)) for size in (1, 2, 4, 8, 16, 32, MAX_BATCH))
    rate_max = 1.1 * setting.workers * max(*rates, 1 / setting.lone_s[setting.model])
    ours = highest_rate(setting, lambda: adaptive(setting), rate_max=rate_max)
    levels = [goodput(setting, ours * factor) for factor in (1.0, 1.2, 1.4, 1.7, 2.0)]
    return Verdict(
        setting=setting,
        ours=ours,
        baselines={name: highest_rate(setting, make, rate_max=rate_max) for name, make in BASELINES.items()},
        overload=levels[-1] / levels[0],
        peak=levels[-1] / max(levels),
    )
