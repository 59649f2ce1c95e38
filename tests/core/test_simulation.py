"""The simulator counts by hand-checkable rules, and the same trace always comes to the same."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.core.budgeted import greedy_dual, greedy_dual_at
from lambent.core.comparison import Policy, compare
from lambent.core.outcomes import Anatomy, Outcome, alive_or_dead, fit_price, tempered
from lambent.core.planned import planned
from lambent.core.policies.base import PolicyName
from lambent.core.policies.forecast import Foreseen
from lambent.core.policies.greedy_dual import GreedyDual
from lambent.core.policies.windows import FixedKeepAlive, HybridHistogram
from lambent.core.simulation import Tape, Trace, TraceRevision, replay

GIB = 2**30
ANATOMY = Anatomy(environments=1)
Calls = list[tuple[int, int]]


def trace(calls: Calls, *, ticks: int = 600, sizes: tuple[int, ...] = (GIB, GIB)) -> Trace:
    ordered = sorted(set(calls))
    return Trace(
        name="by hand",
        resolution_s=60.0,
        ticks=ticks,
        revisions=[TraceRevision(name=f"r{n}", app=f"a{n}", memory_bytes=b) for n, b in enumerate(sizes)],
        tick=array("l", [tick for tick, _ in ordered]),
        revision=array("l", [revision for _, revision in ordered]),
        calls=array("l", [2 for _ in ordered]),
    )


def every(minutes: int, revision: int = 0, *, until: int = 600) -> Calls:
    return [(tick, revision) for tick in range(0, until, minutes)]


def fixed(calls: Calls, keep_minutes: int, *, ticks: int = 600) -> Outcome:
    made = trace(calls, ticks=ticks)
    (tape,) = replay(made, FixedKeepAlive(2, keep_minutes * 60.0))
    return alive_or_dead(tape, made, 0.0, ANATOMY)


@pytest.mark.parametrize(
    ("calls", "keep_minutes", "colds", "wasted_minutes"),
    [
        pytest.param([(0, 0)], 10, 1, 10, id="kept for so many minutes after the one of the call"),
        pytest.param([(0, 0), (10, 0)], 10, 1, 9 + 10, id="a call in the last of them is warm"),
        pytest.param([(0, 0), (11, 0)], 10, 2, 10 + 10, id="one later is not"),
        pytest.param([(0, 0), (1, 0), (2, 0)], 10, 1, 10, id="minutes with calls are not wasted"),
        pytest.param([(0, 0), (0, 1)], 10, 2, 20, id="revisions are counted apart"),
        pytest.param([(595, 0)], 10, 1, 4, id="the trace's end ends the waste"),
    ],
)
def test_a_fixed_keep_alive(calls: Calls, keep_minutes: int, colds: int, wasted_minutes: int) -> None:
    outcome = fixed(calls, keep_minutes)
    assert outcome.cold_starts == colds
    assert outcome.wasted_gb_s == pytest.approx(60 * wasted_minutes)
    assert outcome.used_gb_s == pytest.approx(60 * len(calls))
    assert (outcome.invocations, outcome.wake_s) == (2 * len(calls), 2.0 * colds)


def test_the_hybrid_histogram_comes_back_for_a_timer_and_lets_go_in_between() -> None:
    made = trace(every(60))
    _, tape = replay(made, HybridHistogram(2), cuts=[120])
    outcome = alive_or_dead(tape, made, 0.0, ANATOMY)
    # Head 60 min less 10 % and tail 61 min and 10 %: the 54th to the 59th minute is wasted, none is cold.
    assert outcome.cold_starts == 0
    assert outcome.wasted_gb_s == pytest.approx(60 * 6 * 8, rel=0.02)


def test_the_hybrid_histogram_keeps_four_hours_while_it_knows_nothing() -> None:
    made = trace([(0, 0)])
    (tape,) = replay(made, HybridHistogram(2))
    assert alive_or_dead(tape, made, 0.0, ANATOMY).wasted_gb_s == pytest.approx(60 * 240)


def test_a_forecast_keeps_a_timer_for_less_than_the_hybrid_histogram() -> None:
    made = trace(every(60))
    _, tape = replay(made, Foreseen(2, 60.0), cuts=[300])
    at_equal_memory = fit_price(alive_or_dead, tape, made, ANATOMY, wasted_gb_s=60.0 * 6 * 5)
    outcome = alive_or_dead(tape, made, at_equal_memory, ANATOMY)
    assert outcome.cold_starts == 0
    assert outcome.wasted_gb_s <= 60.0 * 6 * 5


def test_greedy_dual_keeps_what_is_called_often_and_is_small() -> None:
    store = GreedyDual(3)
    assert store.arrive(0, 1, 1000.0) == []
    assert store.arrive(0, 1, 1000.0) is None
    assert store.arrive(1, 2, 1000.0) == []
    assert store.arrive(2, 2, 1000.0) == [1]  # larger, and called once
    assert store.arrive(0, 1, 1000.0) is None
    assert store.arrive(3, 9, 1000.0) == []  # larger than all: served, not kept
    assert store.used_bytes == 3


def test_greedy_dual_fills_its_budget_and_no_more() -> None:
    made = trace([*every(7), *every(11, 1)])
    roomy, tight = (greedy_dual(made, ANATOMY, budget_bytes=b)[0] for b in (2 * GIB, GIB))
    assert roomy.cold_starts == 2
    assert tight.cold_starts > 40
    assert tight.wasted_gb_s + tight.used_gb_s <= 600 * 60 + 60


def test_parts_of_a_trace_add_up_to_the_whole() -> None:
    made = trace([*every(7), *every(60, 1)])
    (whole,) = replay(made, Foreseen(2, 60.0))
    parts = replay(made, Foreseen(2, 60.0), cuts=[100, 450])

    def total(tape: Tape) -> int:
        return sum(tape.idle_ticks) + len(tape.call_count)

    # Of each revision every tick after its first call is either idle or has a call.
    assert total(whole) == sum(map(total, parts)) == 2 * 600


@pytest.mark.parametrize("cuts", [[0], [600], [700], [200, 100]])
def test_cuts_that_divide_nothing_are_refused(cuts: list[int]) -> None:
    with pytest.raises(ValueError, match="cuts"):
        replay(trace([(0, 0)]), FixedKeepAlive(2, 60.0), cuts=cuts)


def test_shared_packages_and_forks_make_wakes_short() -> None:
    made = trace([*every(40), *every(60, 1)])
    _, tape = replay(made, Foreseen(2, 60.0), cuts=[300])
    dead = alive_or_dead(tape, made, 1.0, ANATOMY)
    warm = tempered(tape, made, 1.0, ANATOMY)
    assert dead.cold_starts == warm.cold_starts == len(tape.call_count)
    assert warm.wake_s == pytest.approx(dead.wake_s * 300 / 2000)
    assert warm.wasted_gb_s == pytest.approx(ANATOMY.environment_bytes / GIB * 300 * 60)
    free = tempered(tape, made, 0.0, ANATOMY)
    assert (free.cold_starts, free.wakes) == (0, 0)


def test_the_thermostat_s_own_plan_is_replayed_under_a_budget() -> None:
    made = trace([*every(30), *every(45, 1)])
    roomy, tight = (
        planned(made, PolicyName.ECONOMIC, ANATOMY, budget_bytes=budget, from_tick=300)
        for budget in (4 * GIB, GIB + 128 * 2**20)
    )
    assert (roomy.cold_starts, roomy.wake_s) == (0, 0.0)
    assert 0 < tight.wake_s < 0.3 * (len(every(30)) + len(every(45))) / 2
    assert tight.wasted_gb_s + tight.used_gb_s < 2 * (GIB + 128 * 2**20) / GIB * 300 * 60


def test_all_policies_are_compared_on_the_second_half() -> None:
    made = trace([*every(13), *every(60, 1)])
    compared = compare(made, list(Policy), ANATOMY, budget_bytes=3 * GIB)
    assert [row.policy for row in compared.rows] == [
        "fixed", "hybrid", "gdsf", "forecast", "forecast", "economic", "economic",
        "fixed", "hybrid", "gdsf", "economic",
    ]  # fmt: skip
    calls = sum(2 for tick, _ in [*every(13), *every(60, 1)] if tick >= 300)
    assert {row.outcome.invocations for row in compared.rows} == {calls}
    assert compared.rows[1].outcome.cost_usd > 0


def test_a_trace_without_halves_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="halves"):
        compare(trace([(0, 0)], ticks=1), [Policy.FIXED], ANATOMY)


calls_made = st.lists(st.tuples(st.integers(0, 599), st.integers(0, 2)), min_size=1, max_size=60, unique=True)
SIZES = (GIB, 2 * GIB, GIB // 4)


@settings(max_examples=40)
@given(calls_made)
def test_dearer_memory_wastes_no_more_and_saves_no_cold_start(calls: Calls) -> None:
    made = trace(calls, sizes=SIZES)
    (tape,) = replay(made, Foreseen(3, 60.0))
    for reading in (alive_or_dead, tempered):
        seen = [reading(tape, made, price, ANATOMY) for price in (0.0, 1e-16, 1e-14, 1e-13, 1e-12, 1.0)]
        assert sorted(seen, key=lambda one: -one.wasted_gb_s) == seen
        assert sorted(seen, key=lambda one: one.cold_starts) == seen
        assert seen[-1].cold_starts == len(calls)
        assert seen[0].cold_starts == len({revision for _, revision in calls})


@settings(max_examples=40)
@given(calls_made, st.floats(0.0, 1.0))
def test_a_fitted_price_never_wastes_more_than_it_may(calls: Calls, share: float) -> None:
    made = trace(calls, sizes=SIZES)
    (tape,) = replay(made, Foreseen(3, 60.0))
    wish = share * alive_or_dead(tape, made, 0.0, ANATOMY).wasted_gb_s
    price = fit_price(alive_or_dead, tape, made, ANATOMY, wasted_gb_s=wish)
    assert alive_or_dead(tape, made, price, ANATOMY).wasted_gb_s <= wish * 1.001


@settings(max_examples=20)
@given(calls_made)
def test_the_same_trace_comes_to_the_same(calls: Calls) -> None:
    made = trace(calls, sizes=SIZES)
    assert compare(made, list(Policy), ANATOMY) == compare(made, list(Policy), ANATOMY)


@settings(max_examples=20)
@given(calls_made)
def test_what_comes_later_changes_nothing_before_it(calls: Calls) -> None:
    cut = 300
    early = [(tick, revision) for tick, revision in calls if tick < cut]
    whole, part = (
        replay(trace(some, sizes=SIZES), Foreseen(3, 60.0), cuts=[cut])[0] for some in (calls, early)
    )
    assert list(whole.call_rate) == list(part.call_rate)
    assert list(whole.idle_rate) == list(part.idle_rate)


def test_equal_memory_is_found_for_greedy_dual() -> None:
    made = trace([*every(7), *every(11, 1), *every(90, 2)], sizes=SIZES)
    wished = greedy_dual(made, ANATOMY, budget_bytes=3 * GIB, cuts=[300])[1].wasted_gb_s
    found = greedy_dual_at(made, ANATOMY, wasted_gb_s=wished, cuts=[300])[1]
    assert found.wasted_gb_s == pytest.approx(wished, rel=0.01)
