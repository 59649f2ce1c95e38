"""The dispatcher's queue: who waits, who is shed, and what the shed are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.admission import (
    RETRY_AFTER_S_MAX,
    RETRY_AFTER_S_MIN,
    Admission,
    Verdict,
    offer,
    retry_after_s,
    smoothed_run_s,
)


@pytest.mark.parametrize(
    ("queued", "verdict"),
    [
        pytest.param(0, "wait", id="nobody before"),
        pytest.param(9, "wait", id="the last place in the queue"),
        pytest.param(10, "shed", id="the queue is full"),
    ],
)
def test_a_verdict(queued: int, verdict: str) -> None:
    assert offer(queued=queued, queue_depth_max=10, run_s=0.1, workers_max=4).verdict == verdict


def test_a_full_queue_says_when_it_will_have_been_served() -> None:
    admission = offer(queued=100, queue_depth_max=100, run_s=0.5, workers_max=4)
    assert admission == Admission(Verdict.SHED, retry_after_s=12.5)


@pytest.mark.parametrize(
    ("queued", "run_s", "workers_max", "expected_s"),
    [
        pytest.param(1000, 0.0, 4, RETRY_AFTER_S_MIN, id="nothing has been measured yet"),
        pytest.param(10, 0.001, 4, RETRY_AFTER_S_MIN, id="a header counts whole seconds"),
        pytest.param(1000, 2.0, 4, 500.0, id="long runs"),
        pytest.param(100_000, 60.0, 1, RETRY_AFTER_S_MAX, id="longer than an estimate is worth"),
    ],
)
def test_when_to_try_again(queued: int, run_s: float, workers_max: int, expected_s: float) -> None:
    assert retry_after_s(queued=queued, run_s=run_s, workers_max=workers_max) == expected_s


@given(st.integers(0, 100_000), st.integers(1, 100_000), st.floats(0, 1e6))
def test_the_queue_never_grows_past_its_maximum_and_nobody_is_shed_before(
    queued: int, queue_depth_max: int, run_s: float
) -> None:
    admission = offer(queued=queued, queue_depth_max=queue_depth_max, run_s=run_s, workers_max=4)
    if admission.verdict is Verdict.WAIT:
        assert queued + 1 <= queue_depth_max
    if admission.verdict is Verdict.SHED:
        assert queued >= queue_depth_max
        assert RETRY_AFTER_S_MIN <= admission.retry_after_s <= RETRY_AFTER_S_MAX


def test_the_mean_run_time_starts_at_the_first_and_follows_the_later_ones() -> None:
    mean_s = smoothed_run_s(0.0, 2.0)
    assert mean_s == 2.0
    for _ in range(100):
        mean_s = smoothed_run_s(mean_s, 0.5)
    assert mean_s == pytest.approx(0.5, abs=1e-4)
