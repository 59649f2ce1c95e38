"""The table of run times: what it has learnt, what it makes of the unseen, and how it forgets."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.latency import GROUPS_MAX, KNOTS, ROWS_MAX, LatencyTable, LatencyTables, Tail


def learnt(
    fixed_s: float, row_s: float, *, noise: float = 0.0, seed: int = 1, count: int = 600
) -> LatencyTable:
    table, random = LatencyTable(), Random(seed)
    for _ in range(count):
        rows = random.randint(1, 64)
        table.observe(rows, (fixed_s + row_s * rows) * random.lognormvariate(0, noise))
    return table


def learnt_at(*sizes: int) -> LatencyTable:
    table = LatencyTable()
    for _ in range(50):
        for size in (1, *sizes):
            table.observe(size, 0.004 + 0.0005 * size)
    return table


def test_nothing_is_known_at_first() -> None:
    table = LatencyTable()
    assert (table.mid_s(1), table.tail_s(64), table.known()[0], table.batches) == (0.0, 0.0, [], 0)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("rows", [1, 5, 20, 37, 64])
def test_the_curve_is_found_between_the_sizes_that_are_kept(rows: int, noise: float) -> None:
    table = learnt(0.003, 0.0009, noise=noise, count=3000)
    true_s = 0.003 + 0.0009 * rows
    assert table.mid_s(rows) == pytest.approx(true_s, rel=0.02 + noise / 2)
    assert table.tail_s(rows) == pytest.approx(true_s * (1 + 1.3 * noise), rel=0.15 + noise / 2)


def test_an_outlier_moves_next_to_nothing() -> None:
    table = learnt(0.004, 0.0, noise=0.02)
    before_s = table.mid_s(8)
    table.observe(8, 4.0)
    assert table.mid_s(8) == pytest.approx(before_s, rel=0.05)


def test_the_first_run_which_warms_up_does_not_count_for_long() -> None:
    table = LatencyTable()
    table.observe(1, 2.0)
    table.observe(1, 0.005)
    assert table.mid_s(1) == 0.005


def test_one_slow_run_of_a_new_size_makes_it_no_dearer_than_without_any_gain() -> None:
    table = learnt_at(8)
    table.observe(12, 0.5)
    assert table.mid_s(12) == pytest.approx(table.mid_s(8) * 12 / 8)
    assert table.tail_s(12) <= 1.2 * table.mid_s(12)


def test_a_new_size_that_is_dearer_than_without_any_gain_is_found_out() -> None:
    table = learnt_at(8)
    for _ in range(100):
        table.observe(12, 0.05)
    assert table.mid_s(12) == pytest.approx(0.05, rel=0.1)


def test_beyond_what_was_seen_the_tail_assumes_no_gain_and_the_median_that_the_gain_goes_on() -> None:
    table = LatencyTable()
    for rows in (1, 2, 4) * 5:
        table.observe(rows, 0.004 + 0.001 * rows)
    assert table.tail_s(8) == pytest.approx(2 * table.tail_s(4))
    assert table.mid_s(8) == pytest.approx(0.012, rel=0.1)


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_a_machine_that_changes_its_speed_changes_all_sizes(factor: float) -> None:
    table, random = learnt(0.004, 0.0005, noise=0.05), Random(2)
    before_s = {rows: table.mid_s(rows) for rows in (1, 8, 64)}
    for _ in range(20):
        table.observe(8, (0.004 + 0.0005 * 8) * factor * random.lognormvariate(0, 0.05))
    for rows, was_s in before_s.items():
        assert table.mid_s(rows) == pytest.approx(was_s * factor, rel=0.3)


def test_one_size_that_changes_is_learnt_without_the_others() -> None:
    table = learnt(0.004, 0.0005, noise=0.05)
    for _ in range(100):
        table.observe(32, 0.030)
        for rows in (1, 2, 4, 8):
            table.observe(rows, 0.004 + 0.0005 * rows)
    assert table.mid_s(32) == pytest.approx(0.030, rel=0.05)
    assert table.mid_s(4) == pytest.approx(0.006, rel=0.05)


@pytest.mark.parametrize(("rows", "run_s"), [(0, 1.0), (ROWS_MAX + 1, 1.0), (1, 0.0), (1, float("nan"))])
def test_what_cannot_be_is_refused(rows: int, run_s: float) -> None:
    with pytest.raises(ValueError, match="no batch"):
        LatencyTable().observe(rows, run_s)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 1000)), max_size=200))
def test_more_rows_never_take_less(seen: list[tuple[int, int]]) -> None:
    table = LatencyTable()
    for rows, ticks in seen:
        table.observe(rows, ticks / 1000)
    mids = [table.mid_s(rows) for rows in range(1, 400)]
    tails = [table.tail_s(rows) for rows in range(1, 400)]
    assert all(b >= a * (1 - 1e-9) for a, b in pairwise(mids))
    assert all(b >= a * (1 - 1e-9) for a, b in pairwise(tails))
    if seen:
        low_s, high_s = min(t for _, t in seen) / 1000, max(t for _, t in seen) / 1000
        assert all(low_s / 300 <= mid_s <= high_s * 300 for mid_s in mids)


def test_the_largest_size_is_a_knot() -> None:
    assert list(KNOTS) == sorted(set(KNOTS))
    assert KNOTS[-1] == ROWS_MAX


def test_groups_are_bounded_and_the_one_asked_for_longest_ago_is_forgotten() -> None:
    tables = LatencyTables()
    for number in range(GROUPS_MAX):
        tables.of(str(number)).observe(1, 1.0)
    tables.of("0")
    tables.of("one more")
    assert tables.of("0").batches == 1
    assert tables.of("1").batches == 0


def test_a_tail_is_what_nine_of_ten_keep_within_and_outliers_are_one_step() -> None:
    tail, random = Tail(), Random(1)
    assert tail.tail_s == 0.0
    for _ in range(3000):
        tail.observe(random.uniform(0.0, 0.010))
    assert tail.tail_s == pytest.approx(0.009, rel=0.1)
    before_s = tail.tail_s
    for took_s in (60.0, 0.0, -1.0, float("inf"), float("nan")):
        tail.observe(took_s)
    assert before_s <= tail.tail_s < 1.03 * before_s
