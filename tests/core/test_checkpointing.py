"""States are committed and flushed at intervals that lose the least; the newest are kept."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.checkpointing import (
    COMMIT_EVERY_S_MAX,
    COMMIT_EVERY_S_MIN,
    COMMIT_SHARE_MAX,
    FAILS_EVERY_S,
    FLUSH_EVERY_S_MAX,
    FLUSH_EVERY_S_MIN,
    Kept,
    between_failures_s,
    commit_interval_s,
    flush_interval_s,
    surplus,
)

costs = st.floats(0, 1e4)
times = st.floats(1e-3, 1e7)


@pytest.mark.parametrize(
    ("cost_s", "interval_s"),
    [
        pytest.param(0.0, 1.0, id="what costs nothing is not done all the time"),
        pytest.param(0.02, 2.0, id="one hundredth"),
        pytest.param(5.0, 60.0, id="what costs much is done all the same"),
    ],
)
def test_commits_are_a_small_share_of_the_time(cost_s: float, interval_s: float) -> None:
    assert commit_interval_s(cost_s) == pytest.approx(interval_s)


@given(costs)
def test_a_commit_that_takes_less_than_its_bound_costs_no_more_than_its_share(cost_s: float) -> None:
    interval_s = commit_interval_s(cost_s)
    assert COMMIT_EVERY_S_MIN <= interval_s <= COMMIT_EVERY_S_MAX
    if interval_s < COMMIT_EVERY_S_MAX:
        assert cost_s <= COMMIT_SHARE_MAX * interval_s * (1 + 1e-9)


@pytest.mark.parametrize(
    ("running_s", "failures", "mean_s"),
    [
        pytest.param(0, 0, FAILS_EVERY_S, id="nothing is known"),
        pytest.param(10 * FAILS_EVERY_S, 0, 11 * FAILS_EVERY_S, id="long without any"),
        pytest.param(60, 9, (60 + FAILS_EVERY_S) / 10, id="one kill after the other"),
    ],
)
def test_failures_that_were_seen_shorten_the_time_between_them(
    running_s: float, failures: int, mean_s: float
) -> None:
    assert between_failures_s(running_s, failures) == pytest.approx(mean_s)


def test_the_interval_is_that_of_young_where_flushes_are_cheap() -> None:
    assert flush_interval_s(0.5, 3600) == pytest.approx(math.sqrt(2 * 0.5 * 3600), rel=0.02)


def test_where_a_flush_takes_as_long_as_the_machine_lives_it_is_that_time() -> None:
    assert flush_interval_s(100, 50) == 50


def lost(interval_s: float, cost_s: float, mean_s: float) -> float:
    """The share of time that is lost, where failures come at random and restarting is free."""
    return mean_s * math.expm1((interval_s + cost_s) / mean_s) / interval_s


@given(st.floats(0.05, 30), st.floats(600, 1e6))
def test_no_interval_within_the_bounds_loses_much_less(cost_s: float, mean_s: float) -> None:
    best = lost(flush_interval_s(cost_s, mean_s), cost_s, mean_s)
    others = [FLUSH_EVERY_S_MIN * 1.1**n for n in range(51)]
    assert best <= 1.005 * min(lost(other, cost_s, mean_s) for other in others if other <= FLUSH_EVERY_S_MAX)


@given(costs, times)
def test_the_interval_keeps_its_bounds_and_grows_with_the_cost(cost_s: float, mean_s: float) -> None:
    interval_s = flush_interval_s(cost_s, mean_s)
    assert FLUSH_EVERY_S_MIN <= interval_s <= FLUSH_EVERY_S_MAX


@given(st.lists(st.builds(Kept, st.integers(1, 99), st.integers(0, 9)), unique_by=lambda k: k.seq))
def test_the_newest_commits_are_kept(kept: list[Kept]) -> None:
    gone = surplus(kept, 2)
    left = [each for each in kept if each not in gone]
    assert len(left) == min(2, len(kept))
    assert not gone or max(each.seq for each in gone) < min(each.seq for each in left)


def test_the_newest_is_kept_whatever_is_asked_for() -> None:
    assert surplus([Kept(1, 5), Kept(2, 9)], 0) == [Kept(1, 5)]
