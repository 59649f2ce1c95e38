"""Metrics as OTLP sends them: `Metric` of opentelemetry-proto 1.x, whose requests are those of spans.

A counter is a monotonic sum. Sums and histograms are cumulative, so that a request that is lost takes
nothing along.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, pack
from typing import Final

import msgspec

from lambent.core.points import Histogram, Kind, Measured, Number
from lambent.wire.otlp import field, key_value

_FIXED64: Final = Struct("<Q")
_DOUBLE: Final = Struct("<d")
_CUMULATIVE: Final = b"\x10\x02"  # aggregation_temporality of a Sum and of a Histogram
_MONOTONIC: Final = b"\x18\x01"
# Which field of a Metric holds its points, and what stands behind them.
_DATA: Final = {
    Kind.GAUGE: (b"\x2a", b""),
    Kind.COUNTER: (b"\x3a", _CUMULATIVE + _MONOTONIC),
    Kind.HISTOGRAM: (b"\x4a", _CUMULATIVE),
}
# What Prometheus's names of units are in UCUM: who translates back finds the names of the page.
_UNITS: Final = {"seconds": "s", "bytes": "By"}


class Period(msgspec.Struct, frozen=True):
    """From when on is counted, and until when: nanoseconds since 1970."""

    start_unix_ns: int
    end_unix_ns: int

    @property
    def written(self) -> bytes:
        """As both kinds of points have it."""
        return b"\x11" + _FIXED64.pack(self.start_unix_ns) + b"\x19" + _FIXED64.pack(self.end_unix_ns)


def points(found: Iterable[Number | Histogram], period: Period) -> bytes:
    """Some points of one metric, to be joined with others."""
    at = period.written
    return b"".join(
        [
            field(b"\x0a", _number(one, at) if isinstance(one, Number) else _histogram(one, at))
            for one in found
        ]
    )


def metric(measured: Measured, written: Iterable[bytes]) -> bytes:
    """A metric with points that were written, to be put into a request."""
    tag, behind = _DATA[measured.kind]
    return field(
        b"\x12",
        field(b"\x0a", measured.name.encode())
        + field(b"\x12", measured.help.encode())
        + field(b"\x1a", _UNITS.get(measured.unit, measured.unit).encode())
        + field(tag, b"".join([*written, behind])),
    )


def _number(point: Number, at: bytes) -> bytes:
    labels = [field(b"\x3a", key_value(name, value)) for name, value in point.labels.items()]
    return b"".join([*labels, at, b"\x21", _DOUBLE.pack(point.value)])


def _histogram(point: Histogram, at: bytes) -> bytes:
    labels = [field(b"\x4a", key_value(name, value)) for name, value in point.labels.items()]
    count, edges = len(point.counts), len(point.edges)
    return b"".join(
        [
            *labels,
            at,
            b"\x21" + _FIXED64.pack(sum(point.counts)),
            b"\x29" + _DOUBLE.pack(point.sum),
            field(b"\x32", pack(f"<{count}Q", *point.counts)),
            field(b"\x3a", pack(f"<{edges}d", *point.edges)),
        ]
    )
