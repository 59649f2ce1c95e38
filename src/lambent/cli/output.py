"""How values look: JSON for programs, aligned text for people."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Final

import click
import msgspec

SECOND_MS: Final = 1000
NOTE_CHARS_MAX: Final = 80
BAR_CHARS_MAX: Final = 40
AGES: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
COLORS: Final = {"hot": "red", "primed": "yellow", "ok": "green", "degraded": "yellow", "failed": "red"}


def emit_json(value: object) -> None:
    """`value` as indented JSON on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print rows under a header, each column as wide as its widest cell, those in `right` flush right."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    click.echo(click.style(_aligned(header, header, widths, right), bold=True))
    for row in cells:
        click.echo(_aligned(row, header, widths, right))


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line; pairs without a value are left out."""
    told = [(name, one_line(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def one_line(text: str) -> str:
    """`text` without line breaks and without control characters, which could drive the reader's terminal."""
    return "".join(char if char.isprintable() else "·" for char in " ".join(text.split()))


def shortened(text: str) -> str:
    """The beginning of a text that need not be read in full."""
    line = one_line(text)
    return line if len(line) <= NOTE_CHARS_MAX else line[: NOTE_CHARS_MAX - 1] + "…"


def size(size_bytes: int) -> str:
    """Bytes in MiB or GiB."""
    mebibytes = size_bytes / 2**20
    return f"{mebibytes / 1024:.2f} GiB" if mebibytes >= 1024 else f"{mebibytes:.1f} MiB"


def plural(count: int, noun: str) -> str:
    """A number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def age(unix_ms: int, *, now_unix_ms: int) -> str:
    """How long ago something was, in its largest whole unit."""
    seconds = max(0, now_unix_ms - unix_ms) // SECOND_MS
    for unit, unit_s in AGES:
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit} ago"
    return "just now"


def bar(count: int, most: int) -> str:
    """As long as a count's share of the greatest: nothing for none, and a short one for very few."""
    if not count:
        return ""
    mark = "█" if can_print("█") else "#"
    return mark * max(1, round(BAR_CHARS_MAX * count / most))


def duration(milliseconds: float) -> str:
    """Milliseconds, from a second on in seconds."""
    return f"{milliseconds:.1f} ms" if milliseconds < SECOND_MS else f"{milliseconds / SECOND_MS:.1f} s"


def lasting(seconds: float) -> str:
    """How long something takes, in its two largest units."""
    whole = max(0, round(seconds))
    for (unit, unit_s), (below, below_s) in pairwise(AGES):
        if whole >= unit_s:
            rest = whole % unit_s // below_s
            return f"{whole // unit_s} {unit} {rest} {below}" if rest else f"{whole // unit_s} {unit}"
    return f"{whole} s"


def dollars(amount: float) -> str:
    """Dollars with cents, or with enough digits to see an amount below a cent."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.8f}"


def when(unix_ms: int | None) -> str:
    """Local date and time, empty for None."""
    from datetime import UTC, datetime

    if unix_ms is None:
        return ""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def parts(milliseconds: dict[str, float]) -> str:
    """Named parts of a time, longest first."""
    ordered = sorted(milliseconds.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {duration(took)}" for name, took in ordered)


def numbers(values: dict[str, float]) -> str:
    """Named numbers, such as the metrics of a run."""
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(values.items()))


def can_print(text: str) -> bool:
    """Whether standard output has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _aligned(row: Sequence[str], header: Sequence[str], widths: Sequence[int], right: Collection[str]) -> str:
    padded = [
        cell.rjust(width) if title in right else cell.ljust(width)
        for cell, title, width in zip(row, header, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()
