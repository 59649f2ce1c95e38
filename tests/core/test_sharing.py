"""Who gets how much where there is too little for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.sharing import (
    NICE_MAX,
    NICE_STEP,
    Claim,
    Need,
    allot,
    divide,
    niceness,
    places,
    shares,
)

wants = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1e6), min_size=1)
claims = st.lists(
    st.builds(
        Claim,
        project=st.sampled_from("pqr"),
        deployment=st.sampled_from("xyz"),
        wanted=st.floats(0.1, 50),
    ),
    unique_by=lambda one: (one.project, one.deployment),
    max_size=9,
)


def claim(project: str, wanted: float, deployment: str = "f") -> Claim:
    return Claim(project=project, deployment=deployment, wanted=wanted)


@pytest.mark.parametrize(
    ("wanted", "given_"),
    [
        pytest.param({"a": 1, "b": 1}, {"a": 1, "b": 1}, id="there is enough"),
        pytest.param({"a": 100, "b": 2}, {"a": 8, "b": 2}, id="who wants little gets it all"),
        pytest.param({"a": 100, "b": 100}, {"a": 5, "b": 5}, id="equal parts for those who want more"),
        pytest.param({"a": 100, "b": 3, "c": 100}, {"a": 3.5, "b": 3, "c": 3.5}, id="the rest is shared"),
        pytest.param({"a": 100}, {"a": 10}, id="alone it has all that there is"),
    ],
)
def test_shares_of_ten(wanted: dict[str, float], given_: dict[str, float]) -> None:
    assert shares(wanted, 10) == pytest.approx(given_)


@given(wants, st.floats(0, 1e6))
def test_nobody_gets_more_than_it_wants_or_than_there_is_and_nothing_wanted_is_left(
    wanted: dict[str, float], capacity: float
) -> None:
    given_ = shares(wanted, capacity)
    assert all(0 <= given_[name] <= wanted[name] for name in wanted)
    assert sum(given_.values()) == pytest.approx(min(capacity, sum(wanted.values())), rel=1e-6, abs=1e-6)


@given(wants, st.floats(0, 1e6))
def test_who_is_cut_has_as_much_as_anybody(wanted: dict[str, float], capacity: float) -> None:
    given_ = shares(wanted, capacity)
    largest = max(given_.values())
    for name, want in wanted.items():
        if given_[name] < want * (1 - 1e-9):
            assert given_[name] == pytest.approx(largest, rel=1e-6, abs=1e-6)


def test_many_deployments_get_a_project_no_more_than_one() -> None:
    many = [claim("flood", 10, f"f{number}") for number in range(9)]
    divided = divide([*many, claim("quiet", 10)], 10)
    assert divided["quiet", "f"] == pytest.approx(5)
    assert sum(share for (project, _), share in divided.items() if project == "flood") == pytest.approx(5)
    assert divided["flood", "f0"] == pytest.approx(5 / 9)


@pytest.mark.parametrize(
    ("busy", "nice"),
    [
        pytest.param([claim("a", 8)], [0], id="alone nobody is nice"),
        pytest.param([claim("a", 2), claim("b", 2)], [0, 0], id="equals"),
        pytest.param([claim("a", 8), claim("b", 1)], [9, 0], id="eight against one: 1.25 ** 9 = 7.5"),
        pytest.param([claim("a", 8), claim("b", 0.1)], [9, 0], id="one that is seldom busy"),
        pytest.param([claim("a", 4, "f"), claim("a", 1, "g")], [6, 0], id="inside one project"),
        pytest.param([claim("a", 10_000), claim("b", 1)], [NICE_MAX, 0], id="there is an end"),
    ],
)
def test_how_nice(busy: list[Claim], nice: list[int]) -> None:
    answer = niceness(busy)
    assert [answer[one.project, one.deployment] for one in busy] == nice


def test_a_deployment_without_work_has_no_part() -> None:
    assert niceness([claim("a", 0), claim("b", 3)]) == {("b", "f"): 0}


@given(claims)
def test_projects_weigh_the_same_in_sum_up_to_the_steps_of_niceness(busy: list[Claim]) -> None:
    nice = niceness(busy)
    weights: dict[str, float] = {}
    for one in busy:
        level = nice[one.project, one.deployment]
        if level == NICE_MAX:
            return
        weight = max(1.0, one.wanted) / NICE_STEP**level
        weights[one.project] = weights.get(one.project, 0.0) + weight
    if weights:
        assert max(weights.values()) <= min(weights.values()) * NICE_STEP * 1.001


@pytest.mark.parametrize(
    ("mine", "taken", "most", "may"),
    [
        pytest.param(0, 0, 16, 14, id="nobody is there: all but the last two"),
        pytest.param(14, 14, 16, 0, id="the last two are for others"),
        pytest.param(0, 14, 16, 1, id="who has none takes one of them"),
        pytest.param(0, 15, 16, 1, id="and another the other"),
        pytest.param(0, 16, 16, 0, id="until there is none"),
        pytest.param(1, 15, 16, 0, id="who has one waits"),
        pytest.param(5, 5, 16, 9, id="there is room"),
        pytest.param(1, 0, 1, 1, id="one place is nobody's own"),
        pytest.param(1, 1, 2, 0, id="of two one is kept"),
        pytest.param(0, 20, 16, 0, id="never below zero"),
    ],
)
def test_places(mine: int, taken: int, most: int, may: int) -> None:
    assert places(mine=mine, all_taken=taken, places_max=most, projects=2) == may
    assert places(mine=mine, all_taken=taken, places_max=most, projects=1) == max(0, most - taken)


def need(project: str, have: int, wanted: int, *, least: int = 1, worker_bytes: int = 10) -> Need:
    return Need(
        project=project, deployment="f", have=have, wanted=wanted, least=least, worker_bytes=worker_bytes
    )


@pytest.mark.parametrize(
    ("needs", "free_bytes", "allotted"),
    [
        pytest.param([need("a", 7, 20), need("b", 1, 20)], 0, [4, 4], id="half and half"),
        pytest.param([need("a", 7, 20), need("b", 1, 2)], 0, [6, 2], id="who wants two has two"),
        pytest.param([need("a", 8, 20)], 25, [10], id="alone it has all that there is"),
        pytest.param([need("a", 7, 20, least=7), need("b", 1, 9)], 0, [7, 4], id="what is promised is kept"),
        pytest.param(
            [need("a", 8, 20), need("b", 0, 20, worker_bytes=40)], 0, [4, 1], id="memory counts, not workers"
        ),
    ],
)
def test_workers_where_memory_is_short(needs: list[Need], free_bytes: int, allotted: list[int]) -> None:
    answer = allot(needs, free_bytes=free_bytes)
    assert [answer[one.project, "f"] for one in needs] == allotted
