"""Draws what the simulator found as one self-contained SVG, bare or in an HTML page, without any library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import log10
from pathlib import Path
from typing import Final

from lambent.core.comparison import Comparison
from lambent.core.outcomes import Outcome

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 200, 50, 60
COLORS: Final = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#be185d", "#0f766e")
STEPS: Final = 5


def write_chart(file: Path, comparison: Comparison) -> None:
    """Write the chart; `.html` gets a page around it. Raises `OSError`."""
    drawn = svg(comparison)
    if file.suffix.lower() in {".html", ".htm"}:
        title = escape(comparison.trace)
        drawn = f'<!doctype html><meta charset="utf-8"><title>{title}</title><body>{drawn}</body>\n'
    file.write_text(drawn, "utf-8")


def svg(comparison: Comparison) -> str:
    """Cold starts over wasted memory: a point for each policy, a line for one whose price was varied."""
    policies = list(dict.fromkeys(row.policy for row in comparison.rows))
    color = {policy: COLORS[number % len(COLORS)] for number, policy in enumerate(policies)}
    outcomes = [row.outcome for row in comparison.rows]
    outcomes += [outcome for curve in comparison.curves.values() for outcome in curve]
    scale = _Scale(outcomes)
    parts = [*scale.axes(comparison.trace)]
    for policy, curve in comparison.curves.items():
        points = " ".join("{:.1f},{:.1f}".format(*scale.point(outcome)) for outcome in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color[policy]}" stroke-width="2"/>')
    for row in comparison.rows:
        x, y = scale.point(row.outcome)
        told = f"{row.policy}, {row.knob}: {row.outcome.cold_starts} cold starts"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{color[row.policy]}">'
            f"<title>{escape(told)}</title></circle>"
        )
    for number, policy in enumerate(policies):
        y = TOP + 20 * number
        parts.append(f'<circle cx="{WIDTH - RIGHT + 24}" cy="{y}" r="5" fill="{color[policy]}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 36}" y="{y + 4}">{escape(policy)}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


class _Scale:
    """Wasted GB-hours from left to right, cold starts upwards by powers of ten."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._x_max = max((outcome.wasted_gb_s / 3600 for outcome in outcomes), default=0.0) * 1.05 or 1.0
        logs = [log10(max(1, outcome.cold_starts)) for outcome in outcomes] or [0.0]
        self._y_min, self._y_max = int(min(logs)), int(max(logs)) + 1

    def point(self, outcome: Outcome) -> tuple[float, float]:
        """Where an outcome is drawn."""
        return self._x(outcome.wasted_gb_s / 3600), self._y(log10(max(1, outcome.cold_starts)))

    def axes(self, title: str) -> Iterator[str]:
        """The title, the lines and their numbers."""
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        yield f'<text x="{LEFT}" y="24" font-size="15">Cold starts over wasted memory: {escape(title)}</text>'
        for power in range(self._y_min, self._y_max + 1):
            y = self._y(power)
            yield f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>'
        for step in range(STEPS + 1):
            value = self._x_max * step / STEPS
            x = self._x(value)
            yield f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{value:,.4g}</text>'
        yield f'<line x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="#333"/>'
        middle = (LEFT + right) / 2
        yield f'<text x="{middle}" y="{bottom + 44}" text-anchor="middle">wasted memory, GB-hours</text>'

    def _x(self, value: float) -> float:
        return LEFT + (WIDTH - RIGHT - LEFT) * value / self._x_max

    def _y(self, power: float) -> float:
        height = HEIGHT - BOTTOM - TOP
        return HEIGHT - BOTTOM - height * (power - self._y_min) / max(1, self._y_max - self._y_min)
