"""Wakes taken apart and added up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.waking import (
    BINS_A_DOUBLING,
    DOUBLINGS,
    Bucket,
    Durations,
    parts_of,
    waited_aside_s,
    with_rest,
)

durations_ms = st.floats(min_value=0.07, max_value=900_000.0)


def counted(*took_ms: float) -> Durations:
    durations = Durations()
    for one in took_ms:
        durations.add(one)
    return durations


def test_what_several_processes_told_of_one_part_is_added_up() -> None:
    assert parts_of({"fork": 1.0, "import": 5.0}, {"fork": 2.0}) == {"fork": 3.0, "import": 5.0}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"x\r\nSet-Cookie: a": 1.0}, id="a name that is none"),
        pytest.param({"queue": 1.0}, id="what only the server can know"),
        pytest.param({"load": math.nan}, id="no number"),
        pytest.param({"load": math.inf}, id="no end"),
        pytest.param({"load": -1.0}, id="less than nothing"),
    ],
)
def test_a_worker_that_tells_nonsense_is_not_believed(told: dict[str, float]) -> None:
    assert parts_of({"fork": 1.0}, told) == {"fork": 1.0}


def test_the_parts_and_the_rest_are_the_whole() -> None:
    assert with_rest({"fork": 2.0, "load": 3.0}, 7.0) == {"fork": 2.0, "load": 3.0, "other": 2.0}


def test_a_wake_that_joined_an_earlier_load_has_no_rest() -> None:
    assert with_rest({"load": 300.0}, 7.0)["other"] == 0.0


@pytest.mark.parametrize(
    ("arrived_s", "started_s", "waited_s"),
    [
        pytest.param(10.0, 15.0, 0.0, id="the call that asked for the wake"),
        pytest.param(7.0, 15.0, 3.0, id="it waited for another worker before"),
        pytest.param(12.0, 15.0, 0.0, id="it came in the middle"),
        pytest.param(10.0, 17.0, 2.0, id="it was not its turn at once"),
        pytest.param(40.0, 40.0, 0.0, id="the worker had been ready for long"),
        pytest.param(40.0, 41.0, 1.0, id="and it waited nevertheless"),
    ],
)
def test_what_a_call_waited_beside_the_wake(arrived_s: float, started_s: float, waited_s: float) -> None:
    """The wake goes from 10 to 15."""
    seen = waited_aside_s(arrived_s=arrived_s, started_s=started_s, began_s=10.0, ready_s=15.0)
    assert seen == waited_s


def test_buckets_are_doublings_without_gaps() -> None:
    assert list(counted(1.0, 1.9, 2.0, 9.0).buckets()) == [
        Bucket(1.0, 2.0, 2),
        Bucket(2.0, 4.0, 1),
        Bucket(4.0, 8.0, 0),
        Bucket(8.0, 16.0, 1),
    ]


def test_the_outer_buckets_take_what_lies_beyond_them() -> None:
    first, *_, last = counted(0.0, 1e12).buckets()
    assert (first, last.to_ms, last.count) == (Bucket(0.0, 0.125, 1), None, 1)


def test_nothing_has_no_buckets_and_no_quantile() -> None:
    assert (list(Durations().buckets()), Durations().quantile_ms(0.5)) == ([], 0.0)


def test_a_single_duration_is_every_quantile_of_itself() -> None:
    assert (counted(3.3).quantile_ms(0.5), counted(3.3).quantile_ms(0.99)) == (3.3, 3.3)


@given(st.lists(durations_ms, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_near_the_true_one(took_ms: list[float], share: float) -> None:
    true_ms = sorted(took_ms)[max(1, math.ceil(share * len(took_ms))) - 1]
    assert counted(*took_ms).quantile_ms(share) == pytest.approx(true_ms, rel=0.045)


@given(st.lists(st.lists(durations_ms, max_size=30), max_size=4))
def test_together_they_are_as_if_counted_in_one(several: list[list[float]]) -> None:
    together = Durations.together(counted(*one) for one in several)
    whole = counted(*(took_ms for one in several for took_ms in one))
    assert list(together.buckets()) == list(whole.buckets())
    assert (together.count, together.min_ms, together.max_ms) == (whole.count, whole.min_ms, whole.max_ms)


@given(st.lists(st.floats(min_value=0.0, max_value=1e300), max_size=300))
def test_memory_is_bounded(took_ms: list[float]) -> None:
    assert len(counted(*took_ms).bins) <= DOUBLINGS * BINS_A_DOUBLING
    assert sum(bucket.count for bucket in counted(*took_ms).buckets()) == len(took_ms)
