"""What is simulated: how long three kinds of model take for a batch, and when invocations arrive. All seeded.

The curves have the shapes that were measured of such models on two cores; the noise is drawn once a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from random import Random
from types import MappingProxyType
from typing import Final

Curve = Callable[[int, Random], float]  # rows, noise → seconds


def weight_bound_mlp(rows: int, random: Random) -> float:
    """Reading the weights is nearly all of it: 4 ms, and 0.05 ms more a row."""
    return (0.004 + 0.00005 * rows) * exp(random.gauss(0, 0.05))


def small_cnn(rows: int, random: Random) -> float:
    """2 ms a row, and up to 15 % more for each row of a batch, whose activations leave the cache."""
    worse = 1.0 if rows == 1 else random.uniform(1.0, 1.15)
    return 0.002 * rows * worse * exp(random.gauss(0, 0.03))


def tiny_transformer(rows: int, random: Random) -> float:
    """3 ms, 0.9 ms a row, and one batch in 200 that takes from two to six times as long."""
    slow = min(6.0, 2.0 * random.paretovariate(2.0)) if random.random() < 0.005 else 1.0
    return (0.003 + 0.0009 * rows) * slow * exp(random.gauss(0, 0.1))


CURVES: Final[Mapping[str, Curve]] = MappingProxyType(
    {"weight-bound MLP": weight_bound_mlp, "small CNN": small_cnn, "tiny transformer": tiny_transformer}
)
LONE_S: Final[Mapping[str, float]] = MappingProxyType(
    {"weight-bound MLP": 0.00405, "small CNN": 0.002, "tiny transformer": 0.0039}
)  # L(1) without noise


def poisson(rate: float, count: int, random: Random) -> Sequence[float]:
    """Arrival times of `count` invocations, `rate` a second."""
    now_s, times = 0.0, []
    for _ in range(count):
        now_s += random.expovariate(rate)
        times.append(now_s)
    return times


def bursty(rate: float, count: int, random: Random) -> Sequence[float]:
    """The same rate on average: half a second at 1.5 times of it, half a second at 0.5 times, in turn."""
    now_s, times = 0.0, []
    while len(times) < count:
        level = 1.5 if int(now_s * 2) % 2 else 0.5
        now_s += random.expovariate(rate * level)
        times.append(now_s)
    return times
