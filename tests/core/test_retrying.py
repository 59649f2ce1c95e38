"""Retries: how long to wait, and when it is enough."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.retrying import Dead, DeadReason, Retry, RetryPolicy, next_delay_s, next_try

POLICY = RetryPolicy(attempts_max=3, first_s=1.0, factor=2.0, cap_s=10.0, age_max_s=60.0)


@pytest.mark.parametrize(
    ("retry", "longest_s"), [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (10_000_000, 10.0)]
)
def test_waits_double_up_to_the_cap(retry: int, longest_s: float) -> None:
    assert next_delay_s(POLICY, retry, jitter=1.0) == longest_s


def test_jitter_spreads_from_nothing_to_the_whole_wait() -> None:
    assert [next_delay_s(POLICY, 2, jitter=jitter) for jitter in (0.0, 0.25, 0.5)] == [0.0, 1.0, 2.0]


def test_a_factor_of_one_waits_the_same_each_time() -> None:
    steady = RetryPolicy(attempts_max=9, first_s=3.0, factor=1.0, cap_s=10.0, age_max_s=60.0)
    assert [next_delay_s(steady, retry, jitter=1.0) for retry in (0, 5, 10_000)] == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("attempts", "age_s", "expected"),
    [
        pytest.param(1, 0.0, Retry(0.5), id="after the first failure"),
        pytest.param(2, 0.0, Retry(1.0), id="after the second"),
        pytest.param(3, 0.0, Dead(DeadReason.ATTEMPTS), id="three were allowed"),
        pytest.param(4, 0.0, Dead(DeadReason.ATTEMPTS), id="more than were allowed"),
        pytest.param(1, 59.5, Retry(0.5), id="just young enough"),
        pytest.param(1, 59.6, Dead(DeadReason.AGE), id="would be too old by then"),
        pytest.param(3, 99.0, Dead(DeadReason.ATTEMPTS), id="too many and too old"),
    ],
)
def test_what_comes_after_a_failure(attempts: int, age_s: float, expected: Retry | Dead) -> None:
    assert next_try(POLICY, attempts, age_s=age_s, jitter=0.5) == expected


def test_the_reason_reads_as_words() -> None:
    assert f"{DeadReason.ATTEMPTS}" == "no attempts left"


@pytest.mark.parametrize(
    "wrong",
    [{"attempts_max": 0}, {"first_s": 0.0}, {"first_s": 11.0}, {"factor": 0.5}],
    ids=str,
)
def test_numbers_that_make_no_series_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no series"):
        RetryPolicy(**(msgspec.structs.asdict(POLICY) | wrong))


policies = st.builds(
    RetryPolicy,
    attempts_max=st.integers(1, 50),
    first_s=st.floats(0.001, 10),
    factor=st.floats(1, 10),
    cap_s=st.floats(10, 1000),
    age_max_s=st.floats(0, 10_000),
)


@given(policies, st.floats(0, 1, exclude_max=True))
def test_every_series_ends_within_its_attempts_and_its_age(policy: RetryPolicy, jitter: float) -> None:
    attempts, age_s = 1, 0.0
    while isinstance(verdict := next_try(policy, attempts, age_s=age_s, jitter=jitter), Retry):
        assert 0 <= verdict.after_s <= policy.cap_s
        attempts, age_s = attempts + 1, age_s + verdict.after_s
    assert attempts <= policy.attempts_max
    assert age_s <= policy.age_max_s


@given(policies, st.integers(0, 100))
def test_the_longest_wait_never_shrinks(policy: RetryPolicy, retry: int) -> None:
    earlier, later = (next_delay_s(policy, each, jitter=1.0) for each in (retry, retry + 1))
    assert earlier <= later <= policy.cap_s
