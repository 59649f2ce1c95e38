"""What a wake is made of, and how many wakes add up: a closed set of parts, a histogram of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from math import ceil, isfinite, log2
from typing import Final

import msgspec


class Part(StrEnum):
    """A part of a cold start, in the order of time.

    All but the first and the last are parts of the wake itself; those two belong to the worker's first call.
    """

    QUEUE = "queue"  # the first call waited while no wake of its worker went on
    EXEC = "exec"  # an interpreter was started
    IMPORT = "import"  # its packages were imported
    FORK = "fork"  # a template, a worker, or both were forked
    LOAD = "load"  # a model's files were read, its `load` ran
    SPAWN = "spawn"  # a program of its own was started
    LISTEN = "listen"  # it came to listen on its port
    READY = "ready"  # and to answer 2xx on its path
    INIT = "init"  # the code was imported; a program came to ask for its first invocation
    PRACTICE = "practice"  # the template ran what no user code sees
    PROBE = "probe"  # a fork of the template was tried, once in a revision's life
    RESTORE = "restore"  # a fork was made a worker: random numbers, hooks, limits
    OTHER = "other"  # the rest: messages, a busy machine
    FIRST_RUN = "first_run"  # the first call in user code


ASIDE: Final = frozenset({Part.QUEUE, Part.OTHER, Part.FIRST_RUN})
TOLD: Final = frozenset(Part) - ASIDE

# The histogram: from 1/16 ms on, eight bins to a doubling; the last one is open.
LEAST_MS: Final = 2.0**-4
BINS_A_DOUBLING: Final = 8
DOUBLINGS: Final = 24


class Bucket(msgspec.Struct, frozen=True):
    """How many took `from_ms` or more and less than `to_ms`, which is None where there is no bound."""

    from_ms: float
    to_ms: float | None
    count: int


def parts_of(*told_ms: Mapping[str, float]) -> dict[str, float]:
    """The parts of a wake added up from what several processes told of it, milliseconds each.

    A worker may say anything. What is no part of a wake or no duration is left out: names become labels of
    metrics and parts of headers.
    """
    parts_ms: dict[str, float] = {}
    for told in told_ms:
        for name, took_ms in told.items():
            if name in TOLD and isfinite(took_ms) and took_ms >= 0:
                parts_ms[name] = parts_ms.get(name, 0.0) + took_ms
    return parts_ms


def with_rest(parts_ms: Mapping[str, float], total_ms: float) -> dict[str, float]:
    """`parts_ms` with what of the total is in none of them.

    There is no rest where the parts exceed the total: this wake has joined a load that had begun before it.
    """
    return {**parts_ms, Part.OTHER.value: max(0.0, total_ms - sum(parts_ms.values()))}


def waited_aside_s(*, arrived_s: float, started_s: float, began_s: float, ready_s: float) -> float:
    """How long the call that ran from `started_s` on waited outside the wake from `began_s` to `ready_s`."""
    during_s = min(started_s, ready_s) - max(arrived_s, began_s)
    return max(0.0, started_s - arrived_s - max(0.0, during_s))


class Durations:
    """Counts of durations in bins that grow with them: at most `DOUBLINGS * BINS_A_DOUBLING` numbers.

    A quantile is off by at most 4.5 % of itself. The idea is that of DDSketch (Masson et al., VLDB'19, §2).
    """

    __slots__ = ("bins", "count", "max_ms", "min_ms")

    def __init__(self) -> None:
        self.bins: Final[dict[int, int]] = {}
        self.count = 0
        self.min_ms = self.max_ms = 0.0

    def add(self, took_ms: float) -> None:
        """One more."""
        bin_ = _bin(took_ms)
        self.bins[bin_] = self.bins.get(bin_, 0) + 1
        self.min_ms = min(self.min_ms, took_ms) if self.count else took_ms
        self.max_ms = max(self.max_ms, took_ms)
        self.count += 1

    def quantile_ms(self, share: float) -> float:
        """The least duration that `share` of all do not exceed; 0 where there are none."""
        rank = max(1, ceil(share * self.count))
        for bin_ in sorted(self.bins):
            rank -= self.bins[bin_]
            if rank <= 0:
                middle_ms = LEAST_MS * 2 ** ((bin_ + 0.5) / BINS_A_DOUBLING)
                return min(self.max_ms, max(self.min_ms, middle_ms))
        return 0.0

    def buckets(self) -> Iterator[Bucket]:
        """By doublings, from the first that holds any to the last that does."""
        counts: dict[int, int] = {}
        for bin_, count in self.bins.items():
            doubling = bin_ // BINS_A_DOUBLING
            counts[doubling] = counts.get(doubling, 0) + count
        for doubling in range(min(counts, default=0), max(counts, default=-1) + 1):
            from_ms = LEAST_MS * 2**doubling if doubling else 0.0
            to_ms = LEAST_MS * 2 ** (doubling + 1) if doubling + 1 < DOUBLINGS else None
            yield Bucket(from_ms, to_ms, counts.get(doubling, 0))

    @classmethod
    def together(cls, several: Iterable[Durations]) -> Durations:
        """All of them in one."""
        whole = cls()
        for one in several:
            if not one.count:
                continue
            for bin_, count in one.bins.items():
                whole.bins[bin_] = whole.bins.get(bin_, 0) + count
            whole.min_ms = min(whole.min_ms, one.min_ms) if whole.count else one.min_ms
            whole.max_ms = max(whole.max_ms, one.max_ms)
            whole.count += one.count
        return whole


def _bin(took_ms: float) -> int:
    if took_ms < LEAST_MS:
        return 0
    return min(int(log2(took_ms / LEAST_MS) * BINS_A_DOUBLING), DOUBLINGS * BINS_A_DOUBLING - 1)
