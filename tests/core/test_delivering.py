"""Messages to somebody else's server: taken, given up, or sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.delivering import RETRY, GivenUp, Taken, after_answer
from lambent.core.retrying import DeadReason, Retry


@pytest.mark.parametrize(
    ("status", "retry_after_s", "attempts", "age_s", "verdict"),
    [
        pytest.param(200, 0.0, 1, 0.0, Taken(), id="a yes"),
        pytest.param(299, 60.0, 16, 1e9, Taken(), id="a late yes is one"),
        pytest.param(410, 60.0, 1, 0.0, GivenUp("it wants none"), id="a no for good"),
        pytest.param(500, 0.0, 1, 0.0, Retry(1.0), id="the first retry comes soon"),
        pytest.param(0, 0.0, 3, 0.0, Retry(9.0), id="no answer is tried again, later each time"),
        pytest.param(429, 300.0, 1, 0.0, Retry(300.0), id="a receiver that names a time is not asked before"),
        pytest.param(503, 1e9, 1, 0.0, Retry(RETRY.cap_s), id="nor much later than others"),
        pytest.param(500, 0.0, 16, 0.0, GivenUp(DeadReason.ATTEMPTS), id="all tries were made"),
        pytest.param(302, 0.0, 5, RETRY.age_max_s, GivenUp(DeadReason.AGE), id="it is too old"),
    ],
)
def test_one_answer(
    status: int, retry_after_s: float, attempts: int, age_s: float, verdict: Taken | Retry | GivenUp
) -> None:
    told = after_answer(status, retry_after_s=retry_after_s, attempts=attempts, age_s=age_s, jitter=1.0)
    assert told == verdict


@given(
    st.integers(0, 999), st.floats(0, 1e9), st.integers(1, 100), st.floats(0, 1e9), st.floats(0, 1)
)  # fmt: skip
def test_no_wait_is_longer_than_the_cap_and_no_message_is_sent_for_ever(
    status: int, retry_after_s: float, attempts: int, age_s: float, jitter: float
) -> None:
    told = after_answer(status, retry_after_s=retry_after_s, attempts=attempts, age_s=age_s, jitter=jitter)
    if isinstance(told, Retry):
        assert 0 <= told.after_s <= RETRY.cap_s
        assert attempts < RETRY.attempts_max
        assert age_s <= RETRY.age_max_s
