"""Every metric, declared once with a sentence.

A scrape of hundreds of deployments must be cheap, for nothing else is answered meanwhile: each one's lines
are kept until it changes, and a page is made in pieces between which others have their turn.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec

from lambent.core.points import Kind, Measured, Number
from lambent.observe.exposition import END, Buckets, Family, Format, sample

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Coarser, since each wake has several parts: a scrape of many deployments must not become long.
PART_SECONDS: Final = (0.001, 0.01, 0.1, 1, 10)
PIECE_LINES: Final = 1000  # about half a millisecond of work

INVOCATIONS: Final = Family(
    "lambent_invocations",
    Kind.COUNTER,
    "Invocations that ended, by how they ended and what the temperature was on arrival.",
)
RUN: Final = Family(
    "lambent_run_seconds", Kind.HISTOGRAM, "Time in user code or model, per invocation.", "seconds"
)
BILLED: Final = Family("lambent_billed_seconds", Kind.COUNTER, "Time billed.", "seconds")
WAKE: Final = Family(
    "lambent_wake_seconds",
    Kind.HISTOGRAM,
    "From the decision to start a worker until it takes calls, by the temperature that it came from.",
    "seconds",
)
WAKE_PART: Final = Family(
    "lambent_wake_part_seconds",
    Kind.HISTOGRAM,
    "What wakes were made of: exec, import, fork, load, spawn, init, practice, probe, restore, other; "
    "and what the worker's first call was: queue, first_run.",
    "seconds",
)
WORKERS: Final = Family("lambent_workers", Kind.GAUGE, "Live workers.")
QUEUED: Final = Family("lambent_queued", Kind.GAUGE, "Invocations that wait for a slot.")
BUDGET: Final = Family(
    "lambent_memory_budget_bytes", Kind.GAUGE, "What templates and workers may take together.", "bytes"
)
USED: Final = Family(
    "lambent_memory_used_bytes",
    Kind.GAUGE,
    "What templates and workers take (PSS), as last measured.",
    "bytes",
)
PRICE: Final = Family(
    "lambent_memory_price",
    Kind.GAUGE,
    "Milliseconds of waking a second that one more GiB would save, 0 while memory is free.",
)


EXPORTED: Final = Family(
    "lambent_exported_invocations",
    Kind.COUNTER,
    "Invocations whose spans were sent, or were dropped: queue_full, refused, unreachable.",
)


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
    """The invocations of one deployment that ended in one way, added up. Written by each invocation."""

    __slots__ = ("billed_ms", "of", "run_s", "runs")

    def __init__(self, of: _Deployment) -> None:
        self.of: Final = of
        self.runs: Final = [0] * (len(SECONDS) + 1)  # in each bucket, and over the last
        self.run_s = 0.0
        self.billed_ms = 0


class Metrics:
    """The server's metrics. Labels are deployments and words of closed sets: their number is bounded."""

    def __init__(self) -> None:
        self._tallies: Final[dict[tuple[str, str, str], Tally]] = {}
        self._deployments: Final[dict[str, _Deployment]] = {}
        self._exported: Final[dict[str, int]] = {}
        self._levels: Levels | None = None

    def invocation(
        self, deployment: str, status: str, temperature: str, *, run_s: float, billed_ms: int
    ) -> None:
        """One invocation ended."""
        key = (deployment, status, temperature)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = self._of(deployment).tally(status, temperature)
        tally.runs[bisect_left(SECONDS, run_s)] += 1
        tally.run_s += run_s
        tally.billed_ms += billed_ms
        tally.of.invoked = None

    def ended(self, deployment: str) -> Iterator[tuple[str, int, float]]:
        """How the invocations of a deployment ended, how many in each way, and the seconds that they ran."""
        for (of, status, _), tally in self._tallies.items():
            if of == deployment:
                yield status, sum(tally.runs), tally.run_s

    def wake(
        self, deployment: str, temperature: str, *, total_ms: float, parts_ms: Mapping[str, float]
    ) -> None:
        """One worker was started."""
        self._of(deployment).wake(temperature, total_ms / 1e3)
        self.first_call(deployment, parts_ms=parts_ms)

    def first_call(self, deployment: str, *, parts_ms: Mapping[str, float]) -> None:
        """A worker has run its first call: how long that had waited beside the wake, and ran."""
        for part, took_ms in parts_ms.items():
            self._of(deployment).part(part, took_ms / 1e3)

    def exported(self, outcome: str, count: int) -> None:
        """The spans of so many invocations were sent to a receiver, or dropped."""
        self._exported[outcome] = self._exported.get(outcome, 0) + count

    def forget(self, deployment: str) -> None:
        """It is told no more: names come and go, and what is told is bounded by what is deployed."""
        if gone := self._deployments.pop(deployment, None):
            for status, temperature in gone.tallies:
                del self._tallies[deployment, status, temperature]

    def watch(self, levels: Levels) -> None:
        """Report these levels at each scrape."""
        self._levels = levels

    def page(self, format_: Format) -> Iterator[str]:
        """All of them, in pieces. Between two of them anything may happen, but to read each is quick."""
        deployments = list(self._deployments.values())
        yield from _pieces(INVOCATIONS.head(format_), (one.told().invocations for one in deployments))
        yield from _pieces(RUN.head(format_), (one.told().runs for one in deployments))
        yield from _pieces(BILLED.head(format_), (one.told().billed for one in deployments))
        wakes = [buckets for one in deployments for buckets in one.wakes.values()]
        yield from _pieces(WAKE.head(format_), (buckets.text() for buckets in wakes))
        parts = [buckets for one in deployments for buckets in one.parts.values()]
        yield from _pieces(WAKE_PART.head(format_), (buckets.text() for buckets in parts))
        told = (
            sample("lambent_exported_invocations_total", {"outcome": outcome}, count)
            for outcome, count in list(self._exported.items())
        )
        yield from _pieces(EXPORTED.head(format_), told)
        if self._levels is not None:
            yield from _gauges(self._levels, format_)
        if format_ is Format.OPENMETRICS:
            yield END

    def measured(self) -> Iterator[Measured]:
        """All of them as values, which are made when they are read. Anything may happen meanwhile."""
        deployments = list(self._deployments.values())
        yield INVOCATIONS.measured(point for one in deployments for point in one.invocations())
        yield RUN.measured(one.runs().point() for one in deployments if one.tallies)
        yield BILLED.measured(one.billed() for one in deployments if one.tallies)
        wakes = [buckets for one in deployments for buckets in one.wakes.values()]
        yield WAKE.measured(buckets.point() for buckets in wakes)
        parts = [buckets for one in deployments for buckets in one.parts.values()]
        yield WAKE_PART.measured(buckets.point() for buckets in parts)
        told = [Number({"outcome": outcome}, count) for outcome, count in self._exported.items()]
        yield EXPORTED.measured(told)
        if self._levels is not None:
            yield from _levels(self._levels)

    def _of(self, deployment: str) -> _Deployment:
        found = self._deployments.get(deployment)
        if found is None:
            found = self._deployments[deployment] = _Deployment(deployment)
        return found


class _Told(msgspec.Struct, frozen=True):
    """The lines about a deployment's invocations."""

    invocations: str
    runs: str
    billed: str


class _Deployment:
    """What one deployment has counted, and the lines that tell it, `None` since there is more to tell."""

    __slots__ = ("_labels", "invoked", "parts", "tallies", "wakes")

    def __init__(self, name: str) -> None:
        self._labels: Final = {"deployment": name}
        self.tallies: Final[dict[tuple[str, str], Tally]] = {}
        self.invoked: _Told | None = None
        self.wakes: Final[dict[str, Buckets]] = {}
        self.parts: Final[dict[str, Buckets]] = {}

    def tally(self, status: str, temperature: str) -> Tally:
        """A new one."""
        tally = self.tallies[status, temperature] = Tally(self)
        return tally

    def wake(self, temperature: str, took_s: float) -> None:
        """One wake."""
        if (buckets := self.wakes.get(temperature)) is None:
            labels = {**self._labels, "temperature": temperature}
            buckets = self.wakes[temperature] = Buckets(WAKE, SECONDS, labels)
        buckets.put(bisect_left(SECONDS, took_s), took_s)

    def part(self, part: str, took_s: float) -> None:
        """One part of one wake."""
        if (buckets := self.parts.get(part)) is None:
            labels = {**self._labels, "part": part}
            buckets = self.parts[part] = Buckets(WAKE_PART, PART_SECONDS, labels)
        buckets.put(bisect_left(PART_SECONDS, took_s), took_s)

    def told(self) -> _Told:
        """The lines, anew if they are not true any more."""
        if self.invoked is None:
            self.invoked = self._tell() if self.tallies else _Told("", "", "")
        return self.invoked

    def invocations(self) -> list[Number]:
        """How many ended, by how and from what temperature."""
        return [
            Number({**self._labels, "status": str(status), "temperature": str(temperature)}, sum(tally.runs))
            for (status, temperature), tally in self.tallies.items()
        ]

    def runs(self) -> Buckets:
        """How long they ran, whatever came of them."""
        found = Buckets(RUN, SECONDS, self._labels)
        for tally in self.tallies.values():
            found.add(tally.runs, tally.run_s)
        return found

    def billed(self) -> Number:
        """Seconds."""
        return Number(self._labels, sum(tally.billed_ms for tally in self.tallies.values()) / 1e3)

    def _tell(self) -> _Told:
        lines = [sample("lambent_invocations_total", one.labels, one.value) for one in self.invocations()]
        billed = self.billed()
        told = sample("lambent_billed_seconds_total", billed.labels, billed.value)
        return _Told("".join(lines), self.runs().text(), told)


def _pieces(head: str, texts: Iterable[str]) -> Iterator[str]:
    """The head, and the texts behind it, so many at once that a piece has about `PIECE_LINES`."""
    yield head
    piece, lines = [], 0
    for text in texts:
        piece.append(text)
        lines += text.count("\n")
        if lines >= PIECE_LINES:
            yield "".join(piece)
            piece, lines = [], 0
    yield "".join(piece)


def _gauges(levels: Levels, format_: Format) -> Iterator[str]:
    for family, counts in ((WORKERS, levels.workers()), (QUEUED, levels.queued())):
        name = family.name
        yield from _pieces(
            family.head(format_), [sample(name, {"deployment": one}, count) for one, count in counts]
        )
    memory = levels.memory()
    for family, value in ((BUDGET, memory.budget_bytes), (USED, memory.used_bytes), (PRICE, memory.price)):
        yield family.head(format_) + sample(family.name, {}, value)


def _levels(levels: Levels) -> Iterator[Measured]:
    for family, counts in ((WORKERS, levels.workers()), (QUEUED, levels.queued())):
        yield family.measured([Number({"deployment": one}, count) for one, count in counts])
    memory = levels.memory()
    for family, value in ((BUDGET, memory.budget_bytes), (USED, memory.used_bytes), (PRICE, memory.price)):
        yield family.measured([Number({}, value)])
