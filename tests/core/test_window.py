"""A level's average is its integral over the window, and remembering it costs constant memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.window import BUCKET_US, BUCKETS_MAX, MARKS, US_PER_S, WINDOW_S_MAX, Level

BUCKET_S = BUCKET_US / US_PER_S

# Changes come after so many microseconds: dense bursts, whole buckets, and pauses longer than the memory.
gaps = st.one_of(
    st.integers(0, 1000), st.integers(0, 3).map(lambda n: n * BUCKET_US), st.integers(0, 90 * US_PER_S)
)
changes = st.lists(st.tuples(gaps, st.integers(0, 50)), max_size=30)


def played(changes: list[tuple[int, int]], *, start_us: int = 0) -> tuple[Level, list[tuple[int, int]], int]:
    """A level after `changes`, the same history as (moment, value), and the moment it ended."""
    level, history, now_us = Level(start_us / US_PER_S), [(start_us, 0)], start_us
    for gap_us, value in changes:
        now_us += gap_us
        level.set(value, now_us / US_PER_S)
        history.append((now_us, value))
    return level, history, now_us


def integral(history: list[tuple[int, int]], from_us: int, until_us: int) -> int:
    ends = [moment for moment, _ in history[1:]] + [max(until_us, history[-1][0])]
    return sum(
        value * max(0, min(end, until_us) - max(start, from_us))
        for (start, value), end in zip(history, ends, strict=True)
    )


def test_a_level_that_was_never_set_is_zero() -> None:
    assert Level(5.0).average(100.0, 10.0) == 0
    assert Level(5.0).average(5.0, 10.0) == 0
    assert Level(5.0).value == 0


def test_what_came_and_went_between_two_ticks_is_counted() -> None:
    level = Level(0.0)
    level.set(4, 10.2)
    level.set(0, 10.3)
    assert level.average(11.0, 1.0) == pytest.approx(0.4)


def test_the_time_before_it_began_counts_as_zero() -> None:
    level = Level(100.0)
    level.set(2, 100.0)
    assert level.average(101.0, 10.0) == pytest.approx(0.2)


def test_the_window_slides_over_a_step() -> None:
    level = Level(0.0)
    level.set(3, 10.0)
    rising = [level.average(now_s, 10.0) for now_s in (10.0, 15.0, 20.0)]
    level.set(1, 20.0)
    falling = [level.average(now_s, 10.0) for now_s in (20.0, 25.0, 30.0, 300.0)]
    assert (rising, falling) == ([0.0, 1.5, 3.0], [3.0, 2.0, 1.0, 1.0])


def test_a_constant_level_averages_to_itself_and_not_a_hair_more_even_after_a_year() -> None:
    level = Level(0.0)
    for second in range(31_536_000, 31_536_100):
        level.set(1, second + 0.1)
        assert level.average(second + 0.7, 0.5) == 1.0
    assert level.average(31_536_099.7, 30.0) == 1.0


def test_nothing_is_left_of_a_burst_once_the_window_has_passed_it() -> None:
    level = Level(0.0)
    level.set(50, 1.23)
    level.set(0, 2.34)
    assert level.average(2.34 + BUCKET_S + 5.0, 5.0) == 0.0


@pytest.mark.parametrize("window_s", [0.0, -1.0, WINDOW_S_MAX + 0.001, float("nan")])
def test_a_window_that_is_not_remembered_is_refused(window_s: float) -> None:
    with pytest.raises(ValueError, match="window"):
        Level(0.0).average(1.0, window_s)


def test_time_that_goes_back_is_refused() -> None:
    level = Level(10.0)
    with pytest.raises(ValueError, match="went back"):
        level.set(1, 9.0)
    with pytest.raises(ValueError, match="went back"):
        level.average(9.0, 1.0)


def test_an_hour_of_silence_and_a_day_of_changes_take_the_same_memory() -> None:
    level = Level(0.0)
    level.set(1, 3600.0)
    for change in range(10_000):
        level.set(change % 7, 3600.0 + change)
    assert len(level._marks) == MARKS  # noqa: SLF001  (the bound itself is what is tested)
    assert level.average(13_599.0, WINDOW_S_MAX) > 0


@given(changes, st.integers(0, BUCKETS_MAX - 1), st.integers(0, 40 * US_PER_S))
def test_a_window_that_starts_on_a_bucket_s_edge_is_exact(
    changes: list[tuple[int, int]], buckets: int, later_us: int
) -> None:
    level, history, end_us = played(changes)
    now_us = end_us + later_us
    from_us = now_us // BUCKET_US * BUCKET_US - buckets * BUCKET_US
    if now_us == from_us:
        return
    seen = level.average(now_us / US_PER_S, (now_us - from_us) / US_PER_S)
    assert seen == integral(history, from_us, now_us) / (now_us - from_us)


@given(changes, st.integers(1000, int(WINDOW_S_MAX) * US_PER_S), st.integers(0, 40 * US_PER_S))
def test_any_window_is_off_by_at_most_the_changes_inside_one_bucket(
    changes: list[tuple[int, int]], window_us: int, later_us: int
) -> None:
    level, history, end_us = played(changes, start_us=7 * US_PER_S)
    now_us = end_us + later_us
    exact = integral(history, now_us - window_us, now_us) / window_us
    inexact_most = 50 * BUCKET_US / window_us
    seen = level.average(now_us / US_PER_S, window_us / US_PER_S)
    assert abs(seen - exact) <= inexact_most
    assert 0 <= seen <= 50


@given(changes, st.integers(1, 600 * US_PER_S))
def test_asking_changes_nothing(changes: list[tuple[int, int]], later_us: int) -> None:
    asked, _, end_us = played(changes)
    silent, _, _ = played(changes)
    asked.average(end_us / US_PER_S + 3.0, 10.0)
    now_s = (end_us + later_us) / US_PER_S + 3.0
    assert asked.average(now_s, 7.0) == silent.average(now_s, 7.0)
