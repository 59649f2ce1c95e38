"""Draws curves in a terminal: one line of blocks, or a chart of braille dots with its axes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from lambent.cli.output import can_print

BLOCKS: Final = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS: Final = "_.:-=+*#"
BRAILLE: Final = 0x2800
# The bit of each dot of a braille character, by its row and column.
DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
ROW_DOTS, COLUMN_DOTS = 4, 2
WIDTH: Final = 60
HEIGHT: Final = 6


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """The course of `values` in at most `width` characters, each the mean of what falls into it."""
    if not values:
        return ""
    blocks = BLOCKS if can_print(BLOCKS) else PLAIN_BLOCKS
    columns = min(width, len(values))
    edges = [round(index * len(values) / columns) for index in range(columns + 1)]
    # Halves first: the sum of values near the largest float would be infinite.
    means = [sum(value / (end - start) for value in values[start:end]) for start, end in pairwise(edges)]
    low, high = min(means), max(means)
    return "".join(blocks[_level(mean, low, high, len(blocks) - 1)] for mean in means)


def chart(
    steps: Sequence[int], values: Sequence[float], *, width: int = WIDTH, height: int = HEIGHT
) -> list[str]:
    """`values` over `steps` as lines of text: `height` rows of `width` characters, and their axes."""
    if not steps:
        return []
    rows = (
        _braille(steps, values, width, height)
        if can_print(chr(BRAILLE))
        else _stars(steps, values, width, height)
    )
    low, high = _number(min(values)), _number(max(values))
    side = max(len(low), len(high))
    edge, corner, line = ("│", "└", "─") if can_print("│└─") else ("|", "+", "-")
    names = [high, *[""] * (height - 2), low] if height > 1 else [high]
    first, last = str(steps[0]), str(steps[-1])
    gap = max(1, width - len(first) - len(last))
    below = first if len(steps) == 1 else f"{first}{' ' * gap}{last}"
    return [
        *(f"{name.rjust(side)} {edge}{row}".rstrip() for name, row in zip(names, rows, strict=True)),
        f"{' ' * side} {corner}{line * width}",
        f"{' ' * side}  {below}",
    ]


def _braille(steps: Sequence[int], values: Sequence[float], width: int, height: int) -> list[str]:
    cells = [[0] * width for _ in range(height)]
    for x, y in _dots(steps, values, width * COLUMN_DOTS, height * ROW_DOTS):
        cells[y // ROW_DOTS][x // COLUMN_DOTS] |= DOTS[y % ROW_DOTS][x % COLUMN_DOTS]
    return ["".join(chr(BRAILLE + cell) if cell else " " for cell in row) for row in cells]


def _stars(steps: Sequence[int], values: Sequence[float], width: int, height: int) -> list[str]:
    cells = [[" "] * width for _ in range(height)]
    for x, y in _dots(steps, values, width, height):
        cells[y][x] = "*"
    return ["".join(row) for row in cells]


def _dots(steps: Sequence[int], values: Sequence[float], columns: int, rows: int) -> set[tuple[int, int]]:
    """Where there is a dot: column and row, from the top left. Neighbours are joined."""
    low, high, first, last = min(values), max(values), min(steps), max(steps)
    dots: set[tuple[int, int]] = set()
    before: tuple[int, int] | None = None
    for step, value in zip(steps, values, strict=True):
        x = round((step - first) / (last - first) * (columns - 1)) if last > first else 0
        y = rows - 1 - _level(value, low, high, rows - 1)
        dots |= _joined(before or (x, y), (x, y))
        before = (x, y)
    return dots


def _joined(start: tuple[int, int], end: tuple[int, int]) -> set[tuple[int, int]]:
    """The dots of a straight line."""
    (x0, y0), (x1, y1) = start, end
    length = max(abs(x1 - x0), abs(y1 - y0), 1)
    return {
        (x0 + round((x1 - x0) * part / length), y0 + round((y1 - y0) * part / length))
        for part in range(length + 1)
    }


def _level(value: float, low: float, high: float, most: int) -> int:
    """Where `value` is between the two, as a whole number from 0 to `most`; halfway where they are one."""
    span = high / 2 - low / 2  # halves: the distance between two finite numbers may be infinite
    return round((value / 2 - low / 2) / span * most) if span > 0 else most // 2


def _number(value: float) -> str:
    return f"{value:.4g}"
