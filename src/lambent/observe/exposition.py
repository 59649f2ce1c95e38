"""Metrics as text: the lines of counters, gauges and histograms, in two formats, and which one is asked for.

The formats are Prometheus's text exposition format 0.0.4 and OpenMetrics 1.0.0. Their samples are written
alike; what they say about a family of samples differs, and where the text ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final

import msgspec

from lambent.core.points import Histogram, Kind, Measured, Number


class Format(StrEnum):
    """A format, by its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


VERSIONS: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("application", "openmetrics-text"): frozenset({"", "1.0.0", "0.0.1"}),
    ("text", "plain"): frozenset({"", "0.0.4"}),
}
END: Final = "# EOF\n"


class Family(msgspec.Struct, frozen=True):
    """Samples of one name, for a counter without `_total`. `unit` is the end of a name that has one."""

    name: str
    kind: Kind
    help: str
    unit: str = ""

    def head(self, format_: Format) -> str:
        """The lines before its samples."""
        is_open = format_ is Format.OPENMETRICS
        name = self.name if is_open or self.kind is not Kind.COUNTER else f"{self.name}_total"
        unit = f"# UNIT {name} {self.unit}\n" if is_open and self.unit else ""
        text = _escaped(self.help)
        return f"# HELP {name} {text}\n# TYPE {name} {self.kind}\n{unit}"

    def measured(self, points: Iterable[Number | Histogram]) -> Measured:
        """The same as values, under a name from which OpenTelemetry's rules make this one."""
        name = self.name.removesuffix(f"_{self.unit}").replace("lambent_", "lambent.", 1)
        return Measured(name, self.kind, self.help, self.unit, iter(points))


class Buckets:
    """A histogram: how many values were at most each of its edges, and what they come to.

    Its lines are made when they are read after it changed, and kept until it changes again.
    """

    __slots__ = ("_bucket", "_count", "_counts", "_edges", "_ends", "_labels", "_sum", "_text", "_total")

    def __init__(self, family: Family, edges: Sequence[float], labels: Mapping[str, str]) -> None:
        inner = _inner(labels)
        self._labels: Final = labels
        self._edges: Final = edges
        self._counts: Final = [0] * (len(edges) + 1)
        self._ends: Final = tuple(f'le="{edge}"}} ' for edge in (*map(float, edges), "+Inf"))
        self._bucket: Final = f"{family.name}_bucket{{{inner},"
        self._count: Final = f"{family.name}_count{{{inner}}}"
        self._total: Final = f"{family.name}_sum{{{inner}}}"
        self._sum = 0.0
        self._text = ""

    def add(self, counts: Sequence[int], sum_: float) -> None:
        """So many more of each bucket, which come to `sum_`."""
        for place, count in enumerate(counts):
            self._counts[place] += count
        self._sum += sum_
        self._text = ""

    def put(self, place: int, value: float) -> None:
        """One more value, of the bucket at `place`."""
        self._counts[place] += 1
        self._sum += value
        self._text = ""

    def point(self) -> Histogram:
        """As it stands."""
        return Histogram(self._labels, self._edges, tuple(self._counts), self._sum)

    def text(self) -> str:
        """Its lines."""
        if not self._text:
            bucket, totals = self._bucket, list(accumulate(self._counts))
            lines = [f"{bucket}{end}{total}.0\n" for end, total in zip(self._ends, totals, strict=True)]
            lines.append(f"{self._count} {totals[-1]}.0\n{self._total} {self._sum}\n")
            self._text = "".join(lines)
        return self._text


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line."""
    inner = _inner(labels)
    return f"{name}{{{inner}}} {float(value)}\n" if inner else f"{name} {float(value)}\n"


def asked_for(accept: str) -> Format:
    """The format that a scraper would rather have (RFC 9110, section 12.5.1); text for who does not say."""
    wishes = {Format.TEXT: -1.0, Format.OPENMETRICS: -1.0}
    for kind, sub, version, weight in _ranges(accept):
        if version in VERSIONS.get((kind, sub), ()):
            format_ = Format.TEXT if kind == "text" else Format.OPENMETRICS
            wishes[format_] = max(wishes[format_], weight)
    wish = wishes[Format.OPENMETRICS]
    return Format.OPENMETRICS if wish > 0 and wish >= wishes[Format.TEXT] else Format.TEXT


def _ranges(accept: str) -> Iterator[tuple[str, str, str, float]]:
    for one in accept.lower().split(","):
        media, *parameters = (part.strip() for part in one.split(";"))
        kind, _, sub = media.partition("/")
        said = {name.strip(): value.strip(' "') for name, _, value in (p.partition("=") for p in parameters)}
        try:
            weight = float(said.get("q", "1"))
        except ValueError:
            continue
        yield kind, sub, said.get("version", ""), weight


def _inner(labels: Mapping[str, str]) -> str:
    """What stands between the braces."""
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
