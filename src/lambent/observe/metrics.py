"""Every metric, declared once with a sentence, in a registry of its own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from typing import Final, Protocol

import msgspec
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from lambent.core.spec import Temperature
from lambent.core.waking import Part

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Coarser, since each wake has several parts: a scrape of many deployments must not become long.
PART_SECONDS: Final = (0.001, 0.01, 0.1, 1, 10)
EDGES: Final = (*(str(float(second)) for second in SECONDS), "+Inf")
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class MemoryLevel(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of templates and workers: the budget, what they take, what a GiB is worth."""

    budget_bytes: int
    used_bytes: int
    price: float


class Levels(Protocol):
    """What is true now, asked when somebody scrapes."""

    def workers(self) -> Iterator[tuple[str, int]]:
        """Each deployment and its workers."""

    def queued(self) -> Iterator[tuple[str, int]]:
        """Each deployment and its waiting invocations."""

    def memory(self) -> MemoryLevel:
        """How the memory stands."""


class Tally:
    """The invocations of one deployment that ended in one way, added up."""

    __slots__ = ("billed_ms", "run_s", "runs")

    def __init__(self) -> None:
        self.runs: Final = [0] * (len(SECONDS) + 1)  # in each bucket, and over the last
        self.run_s = 0.0
        self.billed_ms = 0


class Metrics:
    """The server's metrics. Labels are deployments and words of closed sets: their number is bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._tallies: Final[dict[tuple[str, str, str], Tally]] = {}
        self._registry.register(_Invocations(self._tallies))
        self._wakes = Histogram(
            "lambent_wake_seconds",
            "From the decision to start a worker until it takes calls, by the temperature that it came from.",
            ("deployment", "temperature"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._wake_parts = Histogram(
            "lambent_wake_part_seconds",
            "What wakes were made of: exec, import, fork, load, init, practice, probe, restore, other; "
            "and what the worker's first call was: queue, first_run.",
            ("deployment", "part"),
            buckets=PART_SECONDS,
            registry=self._registry,
        )

    def invocation(
        self, deployment: str, status: str, temperature: str, *, run_s: float, billed_ms: int
    ) -> None:
        """One invocation ended."""
        key = (deployment, status, temperature)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        tally.runs[bisect_left(SECONDS, run_s)] += 1
        tally.run_s += run_s
        tally.billed_ms += billed_ms

    def wake(
        self, deployment: str, temperature: str, *, total_ms: float, parts_ms: Mapping[str, float]
    ) -> None:
        """One worker was started."""
        self._wakes.labels(deployment, temperature).observe(total_ms / 1e3)
        self._parts(deployment, parts_ms)

    def first_call(self, deployment: str, *, parts_ms: Mapping[str, float]) -> None:
        """A worker has run its first call: how long that had waited beside the wake, and ran."""
        self._parts(deployment, parts_ms)

    def forget(self, deployment: str) -> None:
        """Its wakes are told no more: names come and go, and what is told is bounded by what is deployed."""
        for histogram, words in ((self._wakes, Temperature), (self._wake_parts, Part)):
            for word in words:
                with suppress(KeyError):  # not every part has been seen
                    histogram.remove(deployment, word.value)

    def _parts(self, deployment: str, parts_ms: Mapping[str, float]) -> None:
        for part, took_ms in parts_ms.items():
            self._wake_parts.labels(deployment, part).observe(took_ms / 1e3)

    def watch(self, levels: Levels) -> None:
        """Report these levels at each scrape."""
        self._registry.register(_Gauges(levels))

    def render(self) -> bytes:
        """The text exposition format 0.0.4."""
        return generate_latest(self._registry)


class _Invocations:
    """Written by each invocation, so it only adds up; what a scrape shows is made when somebody scrapes.

    The library's own counters take a lock for each addition, and there is one thread.
    """

    def __init__(self, tallies: Mapping[tuple[str, str, str], Tally]) -> None:
        self._tallies: Final = tallies

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        invocations = CounterMetricFamily(
            "lambent_invocations",
            "Invocations that ended, by how they ended and what the temperature was on arrival.",
            labels=["deployment", "status", "temperature"],
        )
        runs = HistogramMetricFamily(
            "lambent_run_seconds", "Time in user code or model, per invocation.", labels=["deployment"]
        )
        billed = CounterMetricFamily(
            "lambent_billed_milliseconds", "Milliseconds billed.", labels=["deployment"]
        )
        of_deployment: dict[str, list[Tally]] = {}
        for (deployment, status, temperature), tally in self._tallies.items():
            invocations.add_metric([deployment, str(status), str(temperature)], sum(tally.runs))
            of_deployment.setdefault(deployment, []).append(tally)
        for deployment, tallies in of_deployment.items():
            counts = accumulate(map(sum, zip(*(tally.runs for tally in tallies), strict=True)))
            buckets = list(zip(EDGES, counts, strict=True))
            runs.add_metric([deployment], buckets, sum(tally.run_s for tally in tallies))
            billed.add_metric([deployment], sum(tally.billed_ms for tally in tallies))
        yield invocations
        yield runs
        yield billed


class _Gauges:
    def __init__(self, levels: Levels) -> None:
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        workers = GaugeMetricFamily("lambent_workers", "Live workers.", labels=["deployment"])
        for deployment, count in self._levels.workers():
            workers.add_metric([deployment], count)
        queued = GaugeMetricFamily(
            "lambent_queued", "Invocations that wait for a slot.", labels=["deployment"]
        )
        for deployment, count in self._levels.queued():
            queued.add_metric([deployment], count)
        yield workers
        yield queued
        memory = self._levels.memory()
        yield GaugeMetricFamily(
            "lambent_memory_budget_bytes",
            "What templates and workers may take together.",
            memory.budget_bytes,
        )
        yield GaugeMetricFamily(
            "lambent_memory_used_bytes",
            "What templates and workers take (PSS), as last measured.",
            memory.used_bytes,
        )
        yield GaugeMetricFamily(
            "lambent_memory_price",
            "Milliseconds of waking a second that one more GiB would save, 0 while memory is free.",
            memory.price,
        )
