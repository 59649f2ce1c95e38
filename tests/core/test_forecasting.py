"""A forecast learns timers and habits, and believes whichever reading of the past has foretold well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.crowd import Crowd
from lambent.core.forecasting import Forecast
from lambent.core.histogram import BINS_KEPT_MAX, GAP_S_MAX, GapHistogram, Grid

MINUTES = Grid(60.0)
SUBSECOND = Grid(0.05)
gaps = st.lists(
    st.one_of(st.integers(1, 20), st.sampled_from([60, 61, 240, 1440])).map(lambda tick: tick * 60.0),
    min_size=1,
    max_size=40,
)


def called(gaps_s: list[float], grid: Grid = MINUTES) -> Forecast:
    forecast = Forecast(grid, Crowd(grid))
    now_s = 100.0
    forecast.arrive(now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        forecast.arrive(now_s)
    return forecast


def within(forecast: Forecast, from_s: float, until_s: float) -> float:
    """The probability that the next arrival is between two times counted from the present."""
    return forecast.survival(from_s) - forecast.survival(until_s)


def test_of_a_revision_that_was_never_called_nothing_is_known() -> None:
    forecast = Forecast(MINUTES, Crowd(MINUTES))
    forecast.advance(1e6)
    assert (forecast.rate, forecast.survival(3600), forecast.last_arrival_s) == (0.0, 1.0, None)
    assert forecast.idle_s(100.0) == 100.0


def test_an_hourly_timer_is_known_to_the_minute_after_a_few_calls() -> None:
    forecast = called([3600.0] * 6)
    assert within(forecast, 3500, 3700) > 0.85
    assert forecast.survival(3400) > 0.9
    forecast.advance(forecast.last_arrival_s + 1800)  # type: ignore[operator]  # it was called
    quiet = forecast.rate
    forecast.advance(forecast.last_arrival_s + 3600)  # type: ignore[operator]  # it was called
    assert forecast.rate > 100 * quiet


def test_a_timer_of_two_seconds_is_told_from_its_neighbours() -> None:
    forecast = called([2.0] * 20, SUBSECOND)
    assert within(forecast, 1.8, 2.2) > 0.9


def test_a_change_of_habit_is_believed_within_a_few_calls() -> None:
    forecast = called([3600.0] * 20 + [600.0] * 8)
    assert within(forecast, 540, 660) > 0.25
    assert within(called([3600.0] * 20 + [600.0] * 30), 540, 660) > 0.6


def test_somebody_new_is_expected_to_do_what_the_crowd_does() -> None:
    crowd = Crowd(MINUTES)
    for _ in range(30):
        other = Forecast(MINUTES, crowd)
        for call in range(4):
            other.arrive(call * 900.0)
    before = Forecast(MINUTES, crowd)
    before.arrive(0.0)
    crowd.publish()
    after = Forecast(MINUTES, crowd)
    after.arrive(0.0)
    assert within(after, 700, 1100) > within(before, 700, 1100)


def test_one_busy_revision_does_not_speak_for_the_crowd() -> None:
    crowd = Crowd(MINUTES)
    busy = Forecast(MINUTES, crowd)
    for call in range(2000):
        busy.arrive(call * 60.0)
    crowd.publish()
    other = Forecast(MINUTES, crowd)
    other.arrive(0.0)
    assert other.survival(90.0) > 0.1


def test_a_clock_that_goes_back_counts_as_now() -> None:
    forecast = called([60.0, 60.0])
    last_s = forecast.last_arrival_s
    forecast.advance(0.0)
    forecast.arrive(0.0)
    assert forecast.last_arrival_s == last_s


@given(gaps, st.floats(0, 1e6), st.floats(0, 1e5), st.floats(0, 1e5))
def test_survival_falls_from_one_and_probabilities_add_up(
    gaps_s: list[float], idle_s: float, first_s: float, more_s: float
) -> None:
    forecast = called(gaps_s)
    forecast.advance((forecast.last_arrival_s or 0.0) + idle_s)
    early, late = forecast.survival(first_s), forecast.survival(first_s + more_s)
    assert 0 <= late <= early <= 1
    assert forecast.survival(0) == 1
    whole = within(forecast, 0, first_s) + within(forecast, first_s, first_s + more_s)
    assert whole == pytest.approx(1 - late)


@given(gaps, st.floats(0.001, 1e5))
def test_the_expected_idle_time_lies_between_nothing_and_all_of_it(
    gaps_s: list[float], seconds: float
) -> None:
    forecast = called(gaps_s)
    expected = forecast.idle_s(seconds)
    assert seconds * forecast.survival(seconds) * (1 - 1e-9) <= expected <= seconds * (1 + 1e-9)


@given(gaps, st.floats(1, 1e5))
def test_asking_changes_nothing(gaps_s: list[float], seconds: float) -> None:
    asked, silent = called(gaps_s), called(gaps_s)
    asked.outlook(seconds)
    later_s = (asked.last_arrival_s or 0.0) + seconds
    for forecast in (asked, silent):
        forecast.advance(later_s)
    assert (asked.rate, asked.changes_s) == (silent.rate, silent.changes_s)
    assert asked.changes_s > later_s


@given(gaps)
def test_looking_often_and_looking_once_tell_the_same(gaps_s: list[float]) -> None:
    often, once = called(gaps_s), called(gaps_s)
    last_s = often.last_arrival_s or 0.0
    for step in range(1, 120):
        often.advance(last_s + step * 90.0)
    once.advance(last_s + 119 * 90.0)
    assert often.rate == pytest.approx(once.rate, rel=0.02)


def test_however_many_gaps_its_memory_is_bounded() -> None:
    histogram = GapHistogram(SUBSECOND)
    for call in range(5000):
        histogram.add(0.05 * 1.0031**call % GAP_S_MAX)
    assert len(histogram.keys) == len(histogram.counts) == BINS_KEPT_MAX
    assert histogram.keys == sorted(histogram.counts)
    assert histogram.weight(histogram.total) == pytest.approx(100.0)  # 1 / (1 - 0.99)


@pytest.mark.parametrize("resolution_s", [0.0, -1.0, 1e6, float("nan")])
def test_a_resolution_that_makes_no_grid_is_refused(resolution_s: float) -> None:
    with pytest.raises(ValueError, match="resolution"):
        Grid(resolution_s)


@given(st.sampled_from([MINUTES, SUBSECOND]), st.floats(0, 2 * GAP_S_MAX))
def test_every_gap_has_one_bin_and_coarse_bins_are_made_of_whole_fine_ones(grid: Grid, gap_s: float) -> None:
    fine, coarse = grid.fine(gap_s), grid.coarse(gap_s)
    assert grid.fine_edges_s[fine] <= gap_s < grid.fine_end_s(fine)
    assert grid.coarse_edges_s[coarse] <= grid.fine_edges_s[fine]
    assert grid.fine_end_s(fine) <= grid.coarse_end_s(coarse)


def test_what_is_recalled_foretells_as_before_by_another_clock() -> None:
    crowd = Crowd(MINUTES)
    forecast = Forecast(MINUTES, crowd)
    now_s = 0.0
    for gap_s in [3600.0, 3600.0, 600.0, 3600.0, 3600.0, 3600.0]:
        forecast.arrive(now_s)
        now_s += gap_s
    now_s -= 1800.0
    forecast.advance(now_s)
    crowd.publish()
    memory = forecast.memory(now_s)
    assert memory is not None
    other = Crowd(MINUTES)
    other.recall(crowd.memory())
    again = Forecast.recalled(MINUTES, other, memory, last_s=50.0 - memory.idle_s, now_s=50.0)
    for seconds in (60.0, 1700.0, 1900.0, 7200.0):
        assert again.survival(seconds) == pytest.approx(forecast.survival(seconds), rel=0.02)
    assert again.memory(50.0) == memory


def test_silence_while_nobody_watched_is_no_evidence() -> None:
    forecast = called([3600.0] * 6)
    memory = forecast.memory(100.0 + 6 * 3600.0)
    assert memory is not None
    crowd = Crowd(MINUTES)
    heard = crowd.memory()
    again = Forecast.recalled(MINUTES, crowd, memory, last_s=-GAP_S_MAX, now_s=0.0)
    assert crowd.memory() == heard
    assert again.rate >= 0.0
    after = again.memory(0.0)
    assert after is not None
    assert (after.trusts, after.gaps) == (memory.trusts, memory.gaps)


@given(gaps, st.floats(0.0, 1e18), st.floats(-1e12, 1e12))
def test_no_idle_time_makes_a_recalled_forecast_impossible(
    gaps_s: list[float], idle_s: float, now_s: float
) -> None:
    memory = called(gaps_s).memory(1e9)
    assert memory is not None
    again = Forecast.recalled(MINUTES, Crowd(MINUTES), memory, last_s=now_s - idle_s, now_s=now_s)
    assert 0.0 <= again.rate < float("inf")
    assert 0.0 <= again.survival(3600.0) <= 1.0
    again.arrive(now_s + 1.0)
    assert again.memory(now_s) is not None
