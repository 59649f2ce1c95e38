"""Curves stay small whatever is logged, keep what was logged as it was, and go on after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.series import (
    NAMES_MAX,
    POINTS_MAX,
    POINTS_MIN,
    RUN_POINTS_MAX,
    STEP_MAX,
    Batch,
    Curve,
    Points,
    Series,
)


def value_at(step: int) -> float:
    return step / 8


def logged(curve: Curve, steps: Sequence[int]) -> Curve:
    for step in steps:
        curve.add(step, value_at(step), unix_ms=step)
    return curve


def sent(worker: Curve, server: Curve, *, unix_ms: int = 0) -> int:
    """Everything that waits; the answer is how many points went over."""
    points = 0
    while (batch := worker.take()) is not None:
        server.merge(batch, unix_ms)
        points += len(batch.steps) + 1
    return points


def test_what_was_logged_is_all_there_while_it_is_little() -> None:
    points = logged(Curve(), range(500)).points()
    assert points.steps == list(range(500))
    assert points.values == [value_at(step) for step in range(500)]
    assert points.unix_ms == list(range(500))
    assert points.stride == 1


@pytest.mark.parametrize("count", [1, 2, 997, 998, 999, 1000, 1001, 1997, 5000, 65_536, 100_001])
def test_the_first_and_the_last_are_exact_and_the_rest_lies_evenly(count: int) -> None:
    points = logged(Curve(), range(count)).points()
    assert (points.steps[0], points.steps[-1]) == (0, count - 1)
    assert min(count, POINTS_MAX // 2 - 1) <= len(points.steps) <= POINTS_MAX
    gaps = {after - before for before, after in pairwise(points.steps[:-1])}
    assert gaps <= {points.stride}
    assert points.values == [value_at(step) for step in points.steps]


def test_of_many_points_few_go_over_to_the_server() -> None:
    worker, server, points = Curve(), Curve(), 0
    for start in range(0, 200_000, 10_000):
        logged(worker, range(start, start + 10_000))
        points += sent(worker, server)
    assert points < 5 * POINTS_MAX  # and 500 more for each time that there are twice as many
    assert server.points().steps == worker.points().steps


@given(
    st.lists(st.integers(1, 400), max_size=30),
    st.integers(4, 60),
    st.integers(4, 60),
    st.integers(1, 50),
)
def test_however_points_are_sent_what_arrives_was_logged_and_is_spread(
    portions: list[int], worker_max: int, server_max: int, batch_max: int
) -> None:
    worker, server, step = Curve(worker_max), Curve(server_max), 0
    for portion in portions:
        logged(worker, range(step, step + portion))
        step += portion
        batch = worker.take(batch_max)
        if batch is not None:
            server.merge(batch, 0)
    sent(worker, server)
    points = server.points()
    assert len(points.steps) <= server_max
    assert points.values == [value_at(at) for at in points.steps]
    assert points.steps == sorted(set(points.steps))
    if step:
        assert (points.steps[0], points.steps[-1]) == (0, step - 1)
        widest = 4 * max(step / worker_max, step / server_max, 1)
        assert max((after - before for before, after in pairwise(points.steps)), default=0) <= widest


def test_after_a_restart_points_are_replaced_and_not_doubled() -> None:
    server = Curve()
    sent(logged(Curve(), range(100)), server)
    again = Curve()
    for step in range(60, 140):  # the checkpoint was of step 59
        again.add(step, -1.0)
    sent(again, server)
    points = server.points()
    assert points.steps == list(range(140))
    assert points.values == [value_at(step) for step in range(60)] + [-1.0] * 80


def test_a_restart_from_nothing_leaves_nothing_of_before() -> None:
    server = Curve()
    sent(logged(Curve(), range(100)), server)
    sent(logged(Curve(), range(3)), server)
    assert server.points().steps == [0, 1, 2]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.integers(8, 100))
def test_whatever_falls_the_curve_is_that_of_an_unbroken_run(kills: list[int], points_max: int) -> None:
    """Each worker goes on from a checkpoint that is at most as far as the one before had come."""
    server, begin, end = Curve(points_max), 0, 0
    for far in kills:
        worker = Curve(points_max)
        for step in range(begin, begin + far + 1):
            worker.add(step, value_at(step))
            if step % 7 == 0:
                sent(worker, server)
        sent(worker, server)
        end = begin + far
        begin += far // 2
    points = server.points()
    assert (points.steps[0], points.steps[-1]) == (0, end)
    assert points.steps == sorted(set(points.steps))
    assert points.values == [value_at(step) for step in points.steps]
    assert len(points.steps) <= points_max


def test_a_curve_that_was_stored_goes_on_where_it_was() -> None:
    server = Curve()
    sent(logged(Curve(), range(5000)), server)
    restored = Curve.of(server.points())
    assert restored.points() == server.points()
    sent(logged(Curve(), range(4000, 9000)), restored)
    points = restored.points()
    assert (points.steps[0], points.steps[-1]) == (0, 8999)
    assert points.steps == sorted(set(points.steps))
    assert len(points.steps) <= POINTS_MAX


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    worker, server = Series(), Series()
    worker.add("loss", 1.0)
    worker.skip("loss")
    worker.skip("loss")
    server.merge(worker.take(), 0)
    worker.skip("loss")
    server.merge(worker.take(), 0)
    assert server.points()["loss"] == Points([0], [1.0], [0], 1, 3)
    assert worker.take() == {}


def test_without_a_step_a_metric_counts_its_own_from_where_it_was() -> None:
    before = Series()
    for _ in range(40):
        before.add("loss", 1.0)
    assert before.next_steps() == {"loss": 40}
    series = Series({**before.next_steps(), "rare": 3})
    series.add("loss", 1.0)
    series.add("loss", 2.0)
    series.add("accuracy", 0.5)
    series.add("loss", 3.0, step=100)
    series.add("loss", 4.0)
    points = series.points()
    assert points["loss"].steps == [40, 41, 100, 101]
    assert points["accuracy"].steps == [0]
    assert series.next_steps() == {"loss": 102, "accuracy": 1, "rare": 3}


def test_a_step_at_the_end_of_all_steps_has_none_after_it() -> None:
    series = Series()
    series.add("loss", 1.0, step=STEP_MAX)
    series.add("loss", 2.0)
    assert series.points()["loss"].steps == [STEP_MAX, STEP_MAX]


def test_a_thousand_names_share_the_room_of_a_run_and_more_are_passed_over() -> None:
    worker, server = Series(), Series()
    for name in range(NAMES_MAX + 50):
        for step in range(120):
            worker.add(f"m{name}", value_at(step), step)
    while taken := worker.take():
        server.merge(taken, 0)
    for series in (worker, server):
        points = series.points()
        assert len(points) == NAMES_MAX
        assert sum(len(one.steps) for one in points.values()) <= RUN_POINTS_MAX
        assert all(len(one.steps) >= POINTS_MIN and one.steps[-1] == 119 for one in points.values())


def test_a_batch_is_bounded_and_the_rest_comes_with_the_next() -> None:
    worker, server = Series(), Series()
    for name in ("a", "b", "c"):
        for step in range(900):
            worker.add(name, value_at(step), step)
    portions = 0
    while taken := worker.take(500):
        assert sum(len(batch.steps) for batch in taken.values()) <= 500
        server.merge(taken, 0)
        portions += 1
    assert portions > 5
    assert all(one.steps == list(range(900)) for one in server.points().values())


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(Batch(0, 1, [], [], 0, 0.0), id="empty"),
        pytest.param(Batch(7, 1, [1, 2, 3], [1.0], 3, 3.0), id="values are missing"),
        pytest.param(Batch(STEP_MAX, STEP_MAX, [5] * 5000, [1.0] * 5000, -STEP_MAX, 1.0), id="wild numbers"),
        pytest.param(Batch(0, 1, [-STEP_MAX], [1e308], STEP_MAX, -1e308), id="wild values"),
    ],
)
def test_whatever_a_worker_says_the_curve_stays_bounded(batch: Batch) -> None:
    curve = Curve(32)
    for _ in range(5):
        curve.merge(batch, 1)
        points = curve.points()
        assert len(points.steps) == len(points.values) == len(points.unix_ms) <= 32
