"""Metrics as values: what a counter, a gauge or a histogram stands at, whoever writes that down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What the samples of a family are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Number(msgspec.Struct, frozen=True):
    """Of a counter or a gauge."""

    labels: Mapping[str, str]
    value: float


class Histogram(msgspec.Struct, frozen=True):
    """How many values were at most each of the `edges`, over the last, and what all come to."""

    labels: Mapping[str, str]
    edges: Sequence[float]
    counts: Sequence[int]
    sum: float


class Measured(msgspec.Struct, frozen=True):
    """A family: its name without unit and `_total`, and its points, which are made as they are read."""

    name: str
    kind: Kind
    help: str
    unit: str
    points: Iterator[Number | Histogram]
