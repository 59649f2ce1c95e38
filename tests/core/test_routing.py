"""Who answers under an alias: the same caller gets the same revision, and shares are what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import InvalidSpec
from lambent.core.routing import Split, Weights, check_alias, check_header, pick, place, read_weights

keys = st.text(max_size=40)
percents = st.floats(0, 100)
revisions = st.text("0123456789abcdef", min_size=16, max_size=16)


def split(percent: float, candidate: str = "new") -> Split:
    return Split(revision="old", candidate=candidate, percent=percent)


@given(revisions, keys, percents, percents)
def test_a_caller_in_the_canary_stays_in_it_as_it_grows(candidate: str, key: str, a: float, b: float) -> None:
    less, more = sorted((a, b))
    if pick(split(less, candidate), key) == candidate:
        assert pick(split(more, candidate), key) == candidate


@given(revisions, keys)
def test_nobody_has_a_canary_of_none_and_everybody_one_of_all(candidate: str, key: str) -> None:
    assert pick(split(0, candidate), key) == "old"
    assert pick(split(100, candidate), key) == candidate


@given(keys)
def test_without_a_candidate_the_revision_answers(key: str) -> None:
    assert pick(Split(revision="old"), key) == "old"


def test_a_caller_keeps_its_place_over_restarts_and_versions() -> None:
    # These are stored nowhere: were they to change, callers would change sides in the middle of a trial.
    assert [round(place("0123456789abcdef", key), 6) for key in ("", "ann", "ben", "ζ")] == [
        0.815245, 0.155316, 0.044799, 0.388671,
    ]  # fmt: skip


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_the_shares_are_what_they_say_within_four_standard_deviations(percent: int) -> None:
    calls = 20_000
    got = sum(pick(split(percent), f"caller {number}") == "new" for number in range(calls))
    share = percent / 100
    assert abs(got - calls * share) <= 4 * (calls * share * (1 - share)) ** 0.5


def test_another_candidate_is_tried_on_other_callers() -> None:
    callers = [f"caller {number}" for number in range(1000)]
    first = {caller for caller in callers if pick(split(10, "a" * 16), caller) == "a" * 16}
    second = {caller for caller in callers if pick(split(10, "b" * 16), caller) == "b" * 16}
    assert len(first & second) < len(first) / 2


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("3", Weights(3)),
        ("3:90,4:10", Weights(3, 4, 10.0)),
        ("4:99.5, 3:0.5", Weights(4, 3, 0.5)),
        ("3:0,4:100", Weights(3, 4, 100.0)),
    ],
)
def test_weights_are_read(text: str, weights: Weights) -> None:
    assert read_weights(text) == weights


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "neither a revision's number"),
        ("x", "neither a revision's number"),
        ("3:100", "neither a revision's number"),
        ("3,4", "neither a revision's number"),
        ("1:40,2:30,3:30", "neither a revision's number"),
        ("3:90,4:20", "add up to 110, not to 100"),
        ("3:50,3:50", "names revision 3 twice"),
        ("3:-10,4:110", "neither a revision's number"),
    ],
)
def test_weights_that_make_no_sense_are_told(text: str, told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        read_weights(text)


@given(st.text(max_size=30))
def test_any_text_is_weights_or_refused(text: str) -> None:
    try:
        read = read_weights(text)
    except InvalidSpec:
        return
    assert (read.candidate is None) == (read.percent == 0) or read.candidate is not None
    assert 0 <= read.percent <= 100


@pytest.mark.parametrize("name", ["", "3", "42", "a b", "-a", "a" * 65, "a/b"])
def test_what_cannot_be_an_alias_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match="not a name for an alias"):
        check_alias(name)


def test_names_of_aliases_and_headers() -> None:
    check_alias("prod")
    check_alias("v3")
    check_header("X-User")
    check_header("")
    with pytest.raises(InvalidSpec, match="not the name of a header"):
        check_header("X User")
