"""Curves are drawn in the room there is, with the characters there are, whatever their values."""

from __future__ import annotations

import io
import math
from contextlib import redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.cli.curves import chart, sparkline

numbers = st.floats(allow_nan=False, allow_infinity=False)


either_encoding = pytest.mark.parametrize("encoding", ["utf-8", "ascii"])


def printing(encoding: str) -> redirect_stdout[io.TextIOWrapper]:
    """A terminal of this encoding."""
    return redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding=encoding))


@either_encoding
def test_a_line_goes_from_the_lowest_to_the_highest(encoding: str) -> None:
    with printing(encoding):
        drawn = sparkline([0, 1, 2, 3, 4, 5, 6, 7])
    assert drawn == ("▁▂▃▄▅▆▇█" if encoding == "utf-8" else "_.:-=+*#")


@either_encoding
def test_many_values_are_drawn_by_their_means(encoding: str) -> None:
    with printing(encoding):
        drawn = sparkline([0.0] * 500 + [1.0] * 500, width=10)
    low, high = ("▁", "█") if encoding == "utf-8" else ("_", "#")
    assert drawn == low * 5 + high * 5


def test_what_does_not_change_is_in_the_middle() -> None:
    assert len(set(sparkline([3.0] * 20))) == 1
    assert sparkline([]) == ""


@given(st.lists(numbers, max_size=300), st.integers(1, 50))
def test_whatever_the_values_a_line_has_its_width(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(width, len(values))


@either_encoding
def test_a_chart_has_its_bounds_beside_it_and_its_steps_below(encoding: str) -> None:
    with printing(encoding):
        lines = chart(range(101), [math.exp(-step / 20) for step in range(101)], width=30, height=4)
    assert len(lines) == 6
    assert lines[0].startswith("       1 ")
    assert lines[3].startswith("0.006738 ")
    assert lines[5].split() == ["0", "100"]
    assert lines[5].endswith("100")
    assert len(lines[5]) == len(lines[4]) == 8 + 2 + 30
    for line in lines:
        line.encode(encoding)


def test_a_falling_line_falls() -> None:
    lines = chart([0, 10], [1.0, 0.0], width=4, height=2)
    assert lines == ["1 │⠑⢄", "0 │  ⠑⢄", "  └────", "   0 10"]


@pytest.mark.parametrize("height", [1, 2, 5])
def test_a_single_point_is_a_chart(height: int) -> None:
    lines = chart([7], [2.5], width=5, height=height)
    assert len(lines) == height + 2
    assert lines[-1].strip() == "7"
    assert chart([], []) == []


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), numbers), min_size=1, max_size=60))
def test_whatever_the_points_a_chart_has_its_size(points: list[tuple[int, float]]) -> None:
    lines = chart([step for step, _ in points], [value for _, value in points], width=20, height=5)
    assert len(lines) == 7
    side = len(lines[5]) - 20
    assert all(len(line) <= side + 20 for line in lines[:6])
