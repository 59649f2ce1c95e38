"""A plan keeps what saves most per byte, within its budget, and never undercuts a pin or running work."""

from math import inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.keepalive import ORDER, Facts, KeepPolicy, Plan, Reason, Wakes, floor, plan
from lambent.core.spec import Temperature

T = Temperature
MIB = 2**20
WAKES = Wakes(cold_ms=2000.0, warm_ms=300.0, primed_ms=10.0)
OFTEN, SELDOM = 0.1, 1e-5


def fact(
    revision: str, rate: float, temperature: T = T.COLD, *, environment: str = "torch", **more: object
) -> Facts:
    values: dict[str, object] = {"wakes": WAKES, "primed_bytes": 500 * MIB, "hot_bytes": 16 * MIB, **more}
    return Facts(revision=revision, environment=environment, temperature=temperature, rate=rate, **values)  # type: ignore[arg-type]  # the fields that a row of a table names


def planned(facts: list[Facts], budget_mib: int, **policy: float) -> Plan:
    environments = {one.environment: 200 * MIB for one in facts}
    return plan(facts, KeepPolicy(budget_bytes=budget_mib * MIB, **policy), environments, now_s=0.0)


def told(made: Plan, revision: str = "a") -> tuple[T, Reason]:
    assignment = made.assignments[revision]
    return assignment.temperature, assignment.reason


WINDOWS = {"lazy": False, "stickiness": 1.0}
EVICTING = {"prewake_probability": inf, "stickiness": 1.0}
FIXED = {**WINDOWS, **EVICTING}


@pytest.mark.parametrize(
    ("facts", "policy", "budget_mib", "expected"),
    [
        pytest.param(
            fact("a", inf, T.PRIMED, rank=0.5), FIXED, 4000, (T.PRIMED, Reason.WINDOW), id="in its window"
        ),
        pytest.param(
            fact("a", 0.0, T.HOT, rank=0.0), WINDOWS, 4000, (T.COLD, Reason.LAPSED), id="out of its window"
        ),
        pytest.param(
            fact("a", inf, rank=0.5), WINDOWS, 4000, (T.HOT, Reason.PREWAKE), id="its window begins"
        ),
        pytest.param(
            fact("a", inf, rank=0.5), FIXED, 4000, (T.WARM, Reason.UNCALLED), id="in its window and gone"
        ),
        pytest.param(
            fact("a", inf, T.PRIMED, rank=0.5), WINDOWS, 300, (T.WARM, Reason.CROWDED), id="no room for it"
        ),
        pytest.param(
            fact("a", 0.0, T.PRIMED, rank=3.0), EVICTING, 4000, (T.PRIMED, Reason.FREE), id="lazy, ranked"
        ),
        pytest.param(
            fact("a", 0.0, T.PRIMED, rank=3.0), EVICTING, 300, (T.WARM, Reason.PRICE), id="ranked and refused"
        ),
        pytest.param(
            fact("a", 0.0, rank=0.0), EVICTING, 4000, (T.COLD, Reason.UNCALLED), id="ranked and gone"
        ),
        pytest.param(
            fact("a", 0.0, rank=0.0, pin=T.PRIMED),
            WINDOWS,
            0,
            (T.PRIMED, Reason.PIN),
            id="pinned all the same",
        ),
    ],
)
def test_one_revision_under_other_policies(
    facts: Facts, policy: dict[str, float], budget_mib: int, expected: tuple[T, Reason]
) -> None:
    assert told(planned([facts], budget_mib, **policy)) == expected


def test_of_the_ranked_the_higher_stays_whatever_it_saves() -> None:
    seldom = fact("a", 0.0, T.PRIMED, rank=2.0, primed_bytes=600 * MIB)
    often = fact("b", OFTEN, T.PRIMED, rank=1.0)
    made = planned([seldom, often], 850, **EVICTING)
    assert (told(made, "a")[0], told(made, "b")) == (T.PRIMED, (T.WARM, Reason.PRICE))


@pytest.mark.parametrize(
    ("facts", "budget_mib", "expected"),
    [
        pytest.param(fact("a", SELDOM, T.PRIMED), 4000, (T.PRIMED, Reason.FREE), id="lazy"),
        pytest.param(fact("a", 0.0, T.HOT), 4000, (T.HOT, Reason.FREE), id="lazy with workers"),
        pytest.param(fact("a", SELDOM), 4000, (T.WARM, Reason.UNWANTED), id="a call far off primes nothing"),
        pytest.param(fact("a", OFTEN), 4000, (T.HOT, Reason.PREWAKE), id="a call that is near wakes it"),
        pytest.param(fact("a", OFTEN), 710, (T.PRIMED, Reason.PREWAKE), id="room for a template"),
        pytest.param(fact("a", OFTEN), 300, (T.WARM, Reason.PRICE), id="too large a model"),
        pytest.param(fact("a", OFTEN), 100, (T.COLD, Reason.PRICE), id="too large packages"),
        pytest.param(fact("a", 0.0, pin=T.PRIMED), 4000, (T.PRIMED, Reason.PIN), id="a pin is honoured"),
        pytest.param(fact("a", 0.0, pin=T.HOT), 0, (T.HOT, Reason.PIN), id="a pin over the budget"),
        pytest.param(fact("a", 0.0, T.HOT, in_use=T.HOT), 0, (T.HOT, Reason.IN_USE), id="running work"),
        pytest.param(
            fact("a", 0.0, pin=T.PRIMED, primeable=False), 4000, (T.WARM, Reason.PIN), id="unprimeable"
        ),
        pytest.param(
            fact("a", OFTEN, primeable=False), 4000, (T.HOT, Reason.PREWAKE), id="unprimeable and called"
        ),
        pytest.param(
            fact("a", 0.0, primeable=False), 4000, (T.COLD, Reason.SETTLED), id="unprimeable and idle"
        ),
    ],
)
def test_one_revision(facts: Facts, budget_mib: int, expected: tuple[T, Reason]) -> None:
    assert told(planned([facts], budget_mib)) == expected


def test_the_one_that_is_called_more_often_keeps_its_room() -> None:
    made = planned([fact("a", 0.001, T.PRIMED), fact("b", 0.01, T.PRIMED)], 705)
    assert told(made, "b") == (T.PRIMED, Reason.WORTH)
    assert told(made, "a") == (T.WARM, Reason.PRICE)
    assert made.price >= made.assignments["a"].worth > 0


def test_small_ones_go_before_large_ones_of_the_same_rate() -> None:
    small = [fact(f"s{n}", 0.001, T.PRIMED, primed_bytes=100 * MIB) for n in range(5)]
    made = planned([fact("large", 0.001, T.PRIMED), *small], 705)
    assert [told(made, one.revision)[0] for one in small] == [T.PRIMED] * 5
    assert told(made, "large")[0] is T.WARM


def test_equals_do_not_take_turns() -> None:
    facts = [fact("a", 0.011, T.COLD), fact("b", 0.01, T.PRIMED)]
    assert told(planned(facts, 705), "b")[0] is T.PRIMED
    assert told(planned(facts, 705, stickiness=1.0), "b")[0] is T.WARM


def test_revisions_of_one_environment_pay_for_it_once() -> None:
    alone = planned([fact("a", 0.0, pin=T.PRIMED)], 4000)
    shared = planned([fact("a", 0.0, pin=T.PRIMED), fact("b", 0.0, pin=T.PRIMED)], 4000)
    assert (alone.planned_bytes, shared.planned_bytes) == (700 * MIB, 1200 * MIB)


def test_pins_over_the_budget_are_told_and_leave_no_room_for_others() -> None:
    made = planned([fact("a", 0.0, pin=T.PRIMED), fact("b", OFTEN, T.PRIMED)], 600)
    assert made.over_bytes == 100 * MIB
    assert told(made, "b") == (T.WARM, Reason.PRICE)


def test_the_next_look_is_when_the_first_forecast_changes_within_bounds() -> None:
    def looked(changes_s: float) -> float:
        return planned([fact("a", OFTEN, changes_s=changes_s)], 4000).look_again_s

    assert [looked(10.0), looked(0.0), looked(float("inf"))] == [10.0, 0.25, 60.0]


def test_five_hundred_deployments_are_planned_in_one_go() -> None:
    facts = [fact(f"r{n}", n / 1e5, T.PRIMED, environment=f"e{n % 7}") for n in range(500)]
    made = planned(facts, 20_000)
    kept = [n for n in range(500) if told(made, f"r{n}")[0] in {T.PRIMED, T.HOT}]
    assert kept == list(range(min(kept), 500))


temperatures = st.sampled_from(list(T))
many = st.lists(
    st.builds(
        Facts,
        revision=st.uuids().map(str),
        environment=st.sampled_from(["torch", "onnx"]),
        temperature=temperatures,
        rate=st.one_of(st.just(0.0), st.floats(1e-9, 10.0), st.just(float("inf"))),
        wakes=st.just(WAKES),
        primed_bytes=st.integers(0, 4000).map(lambda mib: mib * MIB),
        hot_bytes=st.integers(0, 64).map(lambda mib: mib * MIB),
        pin=st.sampled_from([T.COLD, T.COLD, T.PRIMED, T.HOT]),
        in_use=st.sampled_from([T.COLD, T.COLD, T.HOT]),
        primeable=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda one: one.revision,
)
ENVIRONMENTS = {"torch": 200 * MIB, "onnx": 60 * MIB}
budgets = st.integers(0, 20_000).map(lambda mib: KeepPolicy(budget_bytes=mib * MIB))


def held_bytes(facts: list[Facts], made: Plan) -> int:
    total = sum(ENVIRONMENTS[name] for name in made.environments)
    for one in facts:
        height = ORDER[made.assignments[one.revision].temperature]
        total += max(1, one.primed_bytes) if one.primeable and height >= ORDER[T.PRIMED] else 0
        total += max(1, one.hot_bytes) if height >= ORDER[T.HOT] else 0
    return total


@given(many, budgets)
def test_the_budget_is_met_but_for_pins_and_running_work(facts: list[Facts], policy: KeepPolicy) -> None:
    made = plan(facts, policy, ENVIRONMENTS, now_s=0.0)
    assert made.planned_bytes == held_bytes(facts, made)
    assert made.planned_bytes <= policy.budget_bytes + made.over_bytes


@given(many, budgets)
def test_pins_and_running_work_are_never_undercut(facts: list[Facts], policy: KeepPolicy) -> None:
    made = plan(facts, policy, ENVIRONMENTS, now_s=0.0)
    for one in facts:
        least = floor(one)
        if not one.primeable and least is T.PRIMED:
            least = T.WARM
        assert ORDER[made.assignments[one.revision].temperature] >= ORDER[least]


@given(many, budgets)
def test_whoever_stands_on_an_environment_has_it(facts: list[Facts], policy: KeepPolicy) -> None:
    made = plan(facts, policy, ENVIRONMENTS, now_s=0.0)
    for one in facts:
        if made.assignments[one.revision].temperature is not T.COLD:
            assert one.environment in made.environments


@given(many, budgets, st.randoms())
def test_the_order_of_the_facts_does_not_matter(
    facts: list[Facts], policy: KeepPolicy, random: object
) -> None:
    shuffled = list(facts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as object
    one, other = (plan(some, policy, ENVIRONMENTS, now_s=0.0) for some in (facts, shuffled))
    assert msgspec.structs.asdict(one) == msgspec.structs.asdict(other)


@given(many)
def test_with_all_the_memory_in_the_world_nothing_resident_is_chilled(facts: list[Facts]) -> None:
    made = plan(facts, KeepPolicy(budget_bytes=2**60), ENVIRONMENTS, now_s=0.0)
    assert made.price == 0
    for one in facts:
        if one.primeable:
            assert ORDER[made.assignments[one.revision].temperature] >= ORDER[one.temperature]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12), st.integers(0, 12), st.integers(1, 12))
def test_more_memory_keeps_no_fewer_and_costs_no_more(rates: list[float], fits: int, more: int) -> None:
    facts = [fact(f"r{n:02}", rate, T.PRIMED) for n, rate in enumerate(rates)]
    tight, roomy = (planned(facts, 200 + 500 * room) for room in (fits, fits + more))
    assert roomy.price <= tight.price

    def primed(made: Plan) -> int:
        return sum(one.temperature in {T.PRIMED, T.HOT} for one in made.assignments.values())

    assert primed(roomy) >= primed(tight)


def test_an_assignment_says_what_it_is_worth_in_milliseconds_a_second_and_gib() -> None:
    made = planned([fact("a", 0.0005, T.PRIMED, primed_bytes=1000 * MIB, hot_bytes=24 * MIB)], 4000)
    assert told(made) == (T.PRIMED, Reason.FREE)
    # The template with its worker: 300 ms saved by 1 GiB.
    assert made.assignments["a"].worth == pytest.approx(0.0005 * 300)
