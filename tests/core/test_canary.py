"""When a revision on trial goes back, goes on or takes over."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.canary import (
    PROMOTE_CALLS_MIN,
    SLOW_SHARE_MAX,
    Action,
    Guard,
    Tally,
    evidence,
    judge,
    upper_edge,
)

BOTH = Guard(max_error_rate=0.05, max_p95_ms=300)
WELL = Tally(1000, 0, 1000, 0)
rates = st.floats(0.001, 0.999)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    calls = draw(st.integers(0, 5000))
    timed = draw(st.integers(0, calls))
    return Tally(calls, draw(st.integers(0, calls)), timed, draw(st.integers(0, timed)))


@pytest.mark.parametrize(
    ("old", "new", "action", "told"),
    [
        pytest.param(WELL, Tally(), Action.GO_ON, "", id="nothing is known yet"),
        pytest.param(WELL, Tally(1, 1), Action.GO_ON, "", id="one failure is no proof"),
        pytest.param(WELL, Tally(2, 2), Action.GO_ON, "", id="nor are two"),
        pytest.param(WELL, Tally(5, 5), Action.ROLL_BACK, "5 of 5 calls failed", id="five of five are"),
        pytest.param(WELL, Tally(20, 3), Action.GO_ON, "", id="a little over the bound takes more calls"),
        pytest.param(WELL, Tally(300, 45), Action.ROLL_BACK, "45 of 300", id="and is found with them"),
        pytest.param(WELL, Tally(2000, 90), Action.GO_ON, "", id="within the bound is well"),
        pytest.param(Tally(9, 0), Tally(6, 6), Action.ROLL_BACK, "0 of 9", id="few calls of the old one"),
        pytest.param(Tally(), Tally(6, 6), Action.ROLL_BACK, "0 of 0", id="none of the old one"),
        pytest.param(Tally(900, 500), Tally(100, 55), Action.GO_ON, "", id="the old one is as bad"),
        pytest.param(Tally(900, 300), Tally(100, 90), Action.ROLL_BACK, "300 of 900", id="it is worse"),
        pytest.param(
            WELL, Tally(40, 0, 40, 30), Action.ROLL_BACK, "30 of 40 calls took longer than 300 ms", id="slow"
        ),
        pytest.param(WELL, Tally(400, 0, 400, 18), Action.GO_ON, "", id="one in twenty may be slow"),
        pytest.param(
            Tally(900, 0, 900, 400), Tally(100, 0, 100, 50), Action.GO_ON, "", id="both became slow"
        ),
    ],
)
def test_a_trial_is_judged(old: Tally, new: Tally, action: Action, told: str) -> None:
    verdict = judge(BOTH, old=old, new=new, age_s=60)
    assert verdict.action is action
    assert told in verdict.reason


@pytest.mark.parametrize(
    ("age_s", "new", "action", "told"),
    [
        (59, Tally(100, 0, 100, 0), Action.GO_ON, "takes over in 1 s"),
        (60, Tally(19, 0, 19, 0), Action.GO_ON, "so far it had 19"),
        (60, Tally(100, 0, 100, 0), Action.PROMOTE, "well for 60 s and 100 calls"),
        (60, Tally(100, 9, 100, 0), Action.GO_ON, "9 of 100"),
        (60, Tally(100, 0, 100, 9), Action.GO_ON, "9 of 100"),
        (60, Tally(100, 90, 100, 0), Action.ROLL_BACK, "90 of 100"),
    ],
)
def test_it_takes_over_by_itself_only_when_asked_and_well(
    age_s: float, new: Tally, action: Action, told: str
) -> None:
    guard = Guard(max_error_rate=0.05, max_p95_ms=300, promote_after_s=60)
    verdict = judge(guard, old=WELL, new=new, age_s=age_s)
    assert verdict.action is action
    assert told in verdict.reason


@given(tallies(), tallies(), st.floats(0, 1e6))
def test_without_bounds_nothing_happens(old: Tally, new: Tally, age_s: float) -> None:
    assert judge(Guard(), old=old, new=new, age_s=age_s).action is Action.GO_ON


@given(tallies(), tallies(), rates, st.floats(0, 1e6))
def test_what_keeps_its_bound_never_goes_back(old: Tally, new: Tally, rate: float, age_s: float) -> None:
    verdict = judge(Guard(max_error_rate=rate), old=old, new=new, age_s=age_s)
    if new.failed <= rate * new.calls:
        assert verdict.action is Action.GO_ON


@given(tallies(), tallies(), rates)
def test_who_is_no_worse_than_the_old_one_never_goes_back(old: Tally, new: Tally, rate: float) -> None:
    verdict = judge(Guard(max_error_rate=rate), old=old, new=new, age_s=0)
    if old.calls >= PROMOTE_CALLS_MIN and new.failed * old.calls <= old.failed * new.calls:
        assert verdict.action is Action.GO_ON


@given(tallies(), tallies())
def test_it_never_takes_over_with_few_calls_or_more_failures_than_both_bounds(old: Tally, new: Tally) -> None:
    verdict = judge(Guard(max_error_rate=0.05, promote_after_s=1), old=old, new=new, age_s=1e9)
    if verdict.action is Action.PROMOTE:
        assert new.calls >= PROMOTE_CALLS_MIN
        excuse = upper_edge(old.failed, old.calls) if old.calls else 0.0
        assert new.failed / new.calls <= max(0.05, excuse)


@given(st.integers(1, 2000), st.data(), rates)
def test_one_more_failure_never_speaks_for_it(calls: int, data: st.DataObject, rate: float) -> None:
    failed = data.draw(st.integers(0, calls - 1))
    assert evidence(failed, calls, rate) <= evidence(failed + 1, calls, rate) + 1e-9


@given(st.integers(1, 5000), st.data())
def test_the_edge_is_above_what_was_seen(calls: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, calls))
    assert hits / calls <= upper_edge(hits, calls) + 1e-12 <= 1 + 1e-9


def test_looking_after_every_call_does_not_fool_it() -> None:
    # At the very bound, the worst case that is still allowed.
    dice, wrong, trials = random.Random(4), 0, 300
    for _ in range(trials):
        slow = 0
        for calls in range(1, 401):
            slow += dice.random() < SLOW_SHARE_MAX
            if judge(BOTH, old=WELL, new=Tally(calls, 0, calls, slow), age_s=0).action is not Action.GO_ON:
                wrong += 1
                break
    assert wrong <= 3  # 0.3 are allowed on average; more than 3 once in four thousand seeds


@pytest.mark.parametrize(("rate", "within"), [(1.0, 6), (0.5, 30), (0.2, 150)])
def test_the_worse_it_is_the_sooner_it_goes_back(rate: float, within: int) -> None:
    dice = random.Random(7)
    for _ in range(50):
        failed = 0
        for calls in range(1, 3 * within):
            failed += dice.random() < rate
            if judge(BOTH, old=WELL, new=Tally(calls, failed), age_s=0).action is Action.ROLL_BACK:
                break
        else:
            pytest.fail(f"{failed} of {calls} were not enough")
