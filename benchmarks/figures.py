"""A measured line, what it is held against, and the table of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec


class Sense(StrEnum):
    """Which side of its bound an aim wants."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


class Unit(StrEnum):
    """What a figure counts."""

    MS = "ms"
    US = "µs"
    PER_S = "/s"
    MIB = "MiB"
    S2 = "s²"
    S = "s"
    PERCENT = "%"
    COUNT = ""


class Sample(msgspec.Struct, frozen=True):
    """Repeated measurements of one thing, in one unit."""

    values: tuple[float, ...]
    unit: Unit

    @property
    def median(self) -> float:
        """The figure that is claimed."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{_number(self.median)} {self.unit}".rstrip()

    @property
    def spread(self) -> str:
        """Lowest and highest, and of how many."""
        if len(self.values) == 1:
            return ""
        return f"{_number(min(self.values))}–{_number(max(self.values))} of {len(self.values)}"


class Aim(msgspec.Struct, frozen=True):
    """A bound on a line's ratio where it has one, else on its measured figure."""

    sense: Sense
    bound: float


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    `ratio` is `measured / against` unless `inverse`, then it is `against / measured`: how many times faster.
    """

    topic: str
    what: str
    measured: Sample
    beside: str = ""
    against: Sample | None = None
    inverse: str = ""
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How the two figures compare, or None where there is one only."""
        if self.against is None:
            return None
        ours, theirs = self.measured.median, self.against.median
        return theirs / ours if self.inverse else ours / theirs

    @property
    def reached(self) -> bool | None:
        """Whether the aim was reached in this run, or None where there is none."""
        if self.aim is None:
            return None
        figure = self.measured.median if self.ratio is None else self.ratio
        return figure >= self.aim.bound if self.aim.sense is Sense.AT_LEAST else figure <= self.aim.bound


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be measured, and why."""

    topic: str
    what: str
    why: str


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A remark that belongs to several lines."""

    topic: str
    text: str


Measured = Line | Missing | Note
HEADINGS: Final = ("what", "measured", "lowest–highest", "beside", "reference", "ratio", "aim", "verdict")


def table(lines: Iterable[Measured]) -> str:
    """The lines in columns, a heading for each topic, notes below."""
    lines = list(lines)
    cells = [HEADINGS, *(_cells(line) for line in lines if isinstance(line, Line))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    out = [_aligned(HEADINGS, widths), "  ".join("-" * width for width in widths)]
    topic = ""
    for line in lines:
        if line.topic != topic:
            topic = line.topic
            out.append(f"[{topic}]")
        out += _shown(line, widths)
    return "\n".join(out)


def as_record(line: Measured) -> dict[str, object]:
    """The line for a program: medians and every value they come from."""
    if not isinstance(line, Line):
        return msgspec.structs.asdict(line)
    return {
        "topic": line.topic,
        "what": line.what,
        "unit": line.measured.unit,
        "measured": line.measured.median,
        "values": line.measured.values,
        "beside": line.beside,
        "reference": line.against.median if line.against else None,
        "reference_values": line.against.values if line.against else (),
        "ratio": line.ratio,
        "ratio_is": "reference / measured" if line.inverse else "measured / reference",
        "aim": f"{line.aim.sense} {line.aim.bound:g}" if line.aim else None,
        "reached": line.reached,
        "note": line.note,
    }


def _shown(line: Measured, widths: Sequence[int]) -> Sequence[str]:
    match line:
        case Line():
            return [_aligned(_cells(line), widths), *([f"    {line.note}"] if line.note else [])]
        case Missing():
            return [f"{line.what}: not measured, {line.why}"]
        case Note():
            return [f"    {line.text}"]


def _cells(line: Line) -> Sequence[str]:
    ratio = (
        "" if line.ratio is None else f"{_number(line.ratio)}×{' ' + line.inverse if line.inverse else ''}"
    )
    aim = ""
    if line.aim:
        unit = f" {line.measured.unit}".rstrip() if line.ratio is None else "×"
        aim = f"{line.aim.sense} {line.aim.bound:,.7g}{unit}"
    verdict = {None: "", True: "reached", False: "not reached"}[line.reached]
    reference = str(line.against) if line.against else ""
    return (line.what, str(line.measured), line.measured.spread, line.beside, reference, ratio, aim, verdict)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
