"""The gate before a model serves."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import InvalidSpec
from lambent.core.gating import Metrics, checked, described, expression, judged, setting


@pytest.mark.parametrize(
    ("text", "accuracy", "champion", "accepted"),
    [
        ("accuracy >= 0.97", 0.97, None, True),
        ("accuracy >= 0.97", 0.9699, None, False),
        ("accuracy>.9 and accuracy < 1", 1.0, None, False),
        ("better(accuracy)", 0.1, None, True),
        ("better(accuracy)", 0.9, 0.8, True),
        ("better(accuracy)", 0.9, 0.9, False),
        ("better(accuracy, by=0.05)", 0.94, 0.9, False),
        ("better( accuracy , by = 5e-2 )", 0.96, 0.9, True),
        ("lower(accuracy)", 0.8, 0.9, True),
        ("lower(accuracy) and accuracy >= 0.85", 0.8, 0.9, False),
    ],
)
def test_words_say_what_is_accepted(
    text: str, accuracy: float, champion: float | None, *, accepted: bool
) -> None:
    other = None if champion is None else {"accuracy": champion}
    assert judged(expression(text), {"accuracy": accuracy}, other).accepted is accepted


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_no_model_is_better_than_one_that_is_better_than_it(one: float, other: float) -> None:
    better = expression("better(m)")
    first = judged(better, {"m": one}, {"m": other}).accepted
    second = judged(better, {"m": other}, {"m": one}).accepted
    assert not (first and second)
    assert judged(expression("lower(m)"), {"m": one}, {"m": other}).accepted is second


@pytest.mark.parametrize(
    "text",
    ["accuracy", "accuracy = 1", ">= 1", "accuracy >= x", "a >= 1 or b >= 1", "worse(a)", "a >= 1 and"],
)
def test_words_that_are_none_are_named(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"cannot be read at .*; write accuracy >= 0\.97"):
        checked(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidSpec):
        assert checked(text) == text


def test_a_missing_metric_accepts_nothing_and_names_what_there_is() -> None:
    verdict = judged(expression("accuracy >= 0.9"), {"loss": 0.1}, None)
    assert not verdict.accepted
    assert "no metric 'accuracy'; it reported loss" in verdict.why


def test_a_champion_that_never_had_the_metric_is_no_obstacle() -> None:
    assert judged(expression("better(accuracy)"), {"accuracy": 0.5}, {"loss": 0.1}).accepted


def test_a_refusal_says_what_was_asked_and_what_there_was() -> None:
    verdict = judged(expression("better(accuracy)"), {"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.75})
    assert verdict.why == (
        "not better(accuracy): it has accuracy=0.5, loss=1; the champion has accuracy=0.75"
    )


def raises(metrics: Metrics) -> bool:
    raise ZeroDivisionError("no data")


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        (lambda m: m.accuracy >= 0.9, True),
        (lambda m: m["accuracy"] > 0.95, False),
        (lambda m, champion: champion is not None and m.accuracy > champion.accuracy, True),
        (lambda m, champion=None: champion is not None, True),
        (lambda m, least=0.94: m.accuracy >= least, True),
        (lambda *both: len(both) == 2, True),
        (raises, False),
        (lambda m: None, False),
        (lambda m: m.recall > 0, False),
    ],
)
def test_a_function_of_the_users_is_asked_with_as_much_as_it_takes(
    accept: Callable[..., Any], *, accepted: bool
) -> None:
    assert judged(accept, {"accuracy": 0.94}, {"accuracy": 0.9}).accepted is accepted


def test_what_a_gate_raises_is_in_the_verdict() -> None:
    assert judged(raises, {}, None).why == "its gate raised ZeroDivisionError: no data"


def test_a_function_is_shown_by_its_source_or_its_name() -> None:
    def declared(accept: Callable[..., Any], memory: str = "") -> str:
        return setting(accept)

    assert declared(accept=lambda m: m.accuracy >= max(0.9, 0.8), memory="1GiB") == (
        "code: lambda m: m.accuracy >= max(0.9, 0.8)"
    )
    assert described(raises) == "raises"
    assert setting("accuracy >= 0.5") == "accuracy >= 0.5"
    assert setting("") == "code: any that can be evaluated"
