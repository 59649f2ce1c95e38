"""Drift: what a model answers has become something else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.drift import SIGNALS_MAX, Drift, Reference, Value, Watch, Window, signals

SEED = 11


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ({"predictions": [[0.1, 0.7, 0.2]], "class": 1}, {"predictions": "1", "class": 1.0}),
        ({"label": "cat", "sure": True}, {"label": "cat", "sure": "True"}),
        ([3.0, 5.0], {"answer": 4.0}),
        ([[7]], {"answer": 7.0}),
        (2.5, {"answer": 2.5}),
        ("spam", {"answer": "spam"}),
        ([], {}),
        (None, {}),
        ({"boxes": [{"x": 1}], "text": ["a", "b"]}, {}),
    ],
)
def test_of_an_answer_its_texts_numbers_and_likeliest_class_are_watched(
    answer: object, seen: dict[str, Value]
) -> None:
    assert signals(answer) == seen


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_any_answer_can_be_watched(answer: object) -> None:
    assert len(signals(answer)) <= SIGNALS_MAX


def watched(watch: Watch, values: list[Value]) -> list[Drift]:
    found = [watch.add({"answer": value}) for value in values]
    return [drift for drift in found if drift is not None]


def normal(draw: random.Random, mean: float, count: int) -> list[Value]:
    return [draw.gauss(mean, 1.0) for _ in range(count)]


def test_the_same_distribution_does_not_drift() -> None:
    draw = random.Random(SEED)
    assert watched(Watch(0.25), normal(draw, 0.0, 50_000)) == []
    assert watched(Watch(0.25), [draw.choice("abc") for _ in range(50_000)]) == []


def test_a_shift_of_one_deviation_is_found_after_two_windows() -> None:
    draw = random.Random(SEED)
    watch = Watch(0.25, size=500)
    assert watched(watch, normal(draw, 0.0, 2000)) == []
    found = watched(watch, normal(draw, 1.0, 1000))
    assert [one.signal for one in found] == ["answer"]
    assert found[0].index == pytest.approx(1.0, abs=0.35)  # of two such normals the divergence is 1


def test_one_strange_window_is_no_drift() -> None:
    draw = random.Random(SEED)
    watch = Watch(0.25, size=500)
    values = [*normal(draw, 0.0, 1000), *normal(draw, 5.0, 500), *normal(draw, 0.0, 5000)]
    assert watched(watch, values) == []


def test_classes_that_change_places_drift() -> None:
    watch = Watch(0.25, size=100)
    before: list[Value] = ["cat"] * 90 + ["dog"] * 10
    after: list[Value] = ["cat"] * 10 + ["dog"] * 90
    assert watched(watch, before * 3) == []
    assert watched(watch, after * 2) != []


def test_a_signal_that_is_gone_has_drifted() -> None:
    watch = Watch(0.25, size=10)
    for _ in range(20):
        assert watch.add({"label": "a"}) is None
    found = [watch.add({"other": "a"}) for _ in range(20)]
    assert found[-1] is not None
    assert found[-1].signal == "label"


def test_what_was_reported_is_not_reported_again_at_once() -> None:
    watch = Watch(0.25, size=10)
    values: list[Value] = [*["a"] * 10, *["b"] * 40]
    assert len(watched(watch, values)) == 2  # after each two windows that have drifted


@given(
    st.lists(st.floats(-1e9, 1e9) | st.sampled_from(["a", "b"]), min_size=1, max_size=60),
    st.lists(st.floats(-1e9, 1e9) | st.sampled_from(["a", "b"]), max_size=60),
)
def test_the_index_is_never_negative_and_is_0_for_the_same(first: list[Value], second: list[Value]) -> None:
    one, other = Window(), Window()
    for value in first:
        one.add({"answer": value})
    for value in second:
        other.add({"answer": value})
    reference = Reference(one)
    assert [drift.index for drift in reference.drifts(one)] == [0.0]
    assert all(drift.index >= 0 for drift in reference.drifts(other))
