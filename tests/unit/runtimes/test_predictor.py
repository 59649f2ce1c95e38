"""Arrays are made to fit a model where nothing is lost by it, and refused with the reason where it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lambent.runtimes.adapters.agreement import Disagreement, difference
from lambent.runtimes.adapters.instances import answer
from lambent.runtimes.adapters.predictor import Predictor, TensorSpec, fitted

PIXELS = TensorSpec("x", "float32", (None, 2, 2))


def doubling(*specs: TensorSpec, outputs: Sequence[str] = ("y",)) -> Predictor:
    def run(arrays: Sequence[Any]) -> Sequence[Any]:
        return [array * 2 for array in arrays][: len(outputs)]

    return Predictor(run, inputs=specs, outputs=outputs)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ([[[1, 2], [3, 4]]], (1, 2, 2)),
        ([[1, 2], [3, 4]], (1, 2, 2)),
        (np.zeros((5, 2, 2)), (5, 2, 2)),
        (np.zeros((0, 2, 2)), (0, 2, 2)),
        (np.zeros((3, 2, 2), np.uint8), (3, 2, 2)),
        (np.zeros((3, 2, 2), bool), (3, 2, 2)),
    ],
)
def test_a_value_is_made_to_fit(value: object, shape: tuple[int, ...]) -> None:
    array = fitted(value, PIXELS)
    assert (array.shape, array.dtype) == (shape, np.float32)


@pytest.mark.parametrize(
    ("value", "spec", "message"),
    [
        ([[1, 2], [3]], PIXELS, "input 'x' is not a regular array; expected shape (any, 2, 2) of float32"),
        ([1, 2], PIXELS, "input 'x' has shape (2,); expected shape (any, 2, 2) of float32"),
        (np.zeros((1, 2, 3)), PIXELS, "input 'x' has shape (1, 2, 3); expected shape (any, 2, 2) of float32"),
        ([[["a", "b"], ["c", "d"]]], PIXELS, "has values of <U1 that do not fit; expected shape (any, 2, 2)"),
        ([[[None, 1], [2, 3]]], PIXELS, "has values of object that do not fit"),
        (
            [1.5],
            TensorSpec("n", "int64", (None,)),
            "has values of float64 that do not fit; expected shape (any)",
        ),
        ([300], TensorSpec("n", "uint8", (None,)), "has values of int64 that do not fit"),
        ([float("nan")], TensorSpec("n", "int32", (None,)), "has values of float64 that do not fit"),
        ([[1]], TensorSpec("n", "object", (None, 1)), "has values of int64 that do not fit"),
        (np.zeros((2, 4)), TensorSpec("f", "float32", (1, 4)), "has shape (2, 4); expected shape (1, 4)"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_was_expected(
    value: object, spec: TensorSpec, message: str
) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        fitted(value, spec)
    assert message in str(caught.value)


@given(
    hnp.arrays(
        st.sampled_from([np.int64, np.float64, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=1, max_dims=3),
        elements=st.integers(0, 1),
    ),
    st.sampled_from(["int8", "uint16", "int64", "float32", "float16", "bool"]),
)
def test_what_is_converted_has_kept_its_values(array: Any, dtype: str) -> None:
    converted = fitted(array, TensorSpec("x", dtype, None))
    assert converted.dtype == np.dtype(dtype)
    assert np.array_equal(converted, array)


def test_several_inputs_are_given_by_name() -> None:
    predictor = doubling(
        TensorSpec("a", "float32", (None,)), TensorSpec("b", "float32", (None,)), outputs=("p", "q")
    )
    outputs = predictor({"b": [2], "a": [1]})
    assert isinstance(outputs, dict)
    assert {name: value.tolist() for name, value in outputs.items()} == {"p": [2.0], "q": [4.0]}
    with pytest.raises(ValueError, match="the model has 2 inputs: give a mapping with a, b"):
        predictor([1])
    with pytest.raises(ValueError, match="the model's inputs are a, b; got a"):
        predictor({"a": [1]})


ONE = doubling(TensorSpec("x", "float32", (None, 2)))
TWO = doubling(TensorSpec("a", "float32", (None,)), TensorSpec("b", "int64", (None, 1)), outputs=("p", "q"))


def plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list():
            return [plain(each) for each in value]
    return value.tolist()


@pytest.mark.parametrize(
    ("predictor", "asked", "said"),
    [
        (ONE, {"instances": [[1, 2], [3, 4]]}, {"predictions": [[2, 4], [6, 8]]}),
        (ONE, [[1, 2]], {"predictions": [[2, 4]]}),
        (ONE, [1, 2], {"predictions": [[2, 4]]}),
        (ONE, [], {"predictions": []}),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, {"predictions": [[2, 4], [6, 8]]}),
        (ONE, {"inputs": [[1, 2]], "signature_name": "ignored"}, {"outputs": [[2, 4]]}),
        (ONE, {"inputs": {"x": [[1, 2]]}}, {"outputs": [[2, 4]]}),
        (
            TWO,
            {"instances": [{"a": 1, "b": [5]}, {"a": 2, "b": [6]}]},
            {"predictions": [{"p": 2, "q": [10]}, {"p": 4, "q": [12]}]},
        ),
        (TWO, {"inputs": {"a": [1], "b": [[5]]}}, {"outputs": {"p": [2], "q": [[10]]}}),
    ],
)
def test_json_is_asked_and_answered_in_tensorflow_servings_forms(
    predictor: Predictor, asked: object, said: object
) -> None:
    assert plain(answer(predictor, asked)) == said


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"x": 1}, "the body has the keys ['x']; expected {\"instances\": [...]}"),
        ("text", "the body is a str; expected"),
        ({"instances": {"x": 1}}, '"instances" is a dict; expected a list'),
        (
            {"instances": [{"x": [1, 2]}, {"y": [1, 2]}]},
            "instances differ in their names: the first has ['x']",
        ),
        ({"instances": [[]]}, "input 'x' has shape (1, 0)"),
        ({"inputs": {"z": 1}}, "the model's inputs are x; got z"),
    ],
)
def test_json_in_no_known_form_is_refused_with_what_was_expected(asked: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        answer(ONE, asked)
    assert message in str(caught.value)


def scaled(factor: float, **changes: Any) -> Predictor:
    spec = TensorSpec("other_name", "float32", (None, None, 3))

    def run(arrays: Sequence[Any]) -> Sequence[Any]:
        return [arrays[0].astype(changes.get("dtype", np.float32)) * factor] * changes.get("count", 1)

    return Predictor(run, inputs=[spec], outputs=["y", "z"][: changes.get("count", 1)])


def test_two_forms_that_agree_are_measured() -> None:
    assert difference(scaled(1.0), scaled(1.0)) == 0.0
    assert 0 < difference(scaled(1.0), scaled(1.0 + 1e-6)) < 1e-4


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (scaled(1.01), "outputs differ by up to 0.0"),
        (scaled(float("nan")), "outputs differ"),
        (scaled(1.0, count=2), "it has 2 outputs where 1 were expected"),
    ],
)
def test_two_forms_that_do_not_agree_are_told_apart(other: Predictor, message: str) -> None:
    with pytest.raises(Disagreement) as caught:
        difference(scaled(1.0), other)
    assert message in str(caught.value)


def test_a_model_that_takes_no_random_input_cannot_be_compared() -> None:
    def run(_: Sequence[Any]) -> Sequence[Any]:
        raise RuntimeError("index out of range")

    picky = Predictor(run, inputs=[TensorSpec("x", "float32", (None, 3))], outputs=["y"])
    with pytest.raises(Disagreement, match="takes no random input: index out of range"):
        difference(picky, picky)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        pytest.param(PIXELS, (1, 2, 2), id="a batch of one"),
        pytest.param(TensorSpec("x", "int64", (3,)), (3,), id="no batch"),
        pytest.param(TensorSpec("x", "float32", (None, None)), None, id="nobody knows how long"),
        pytest.param(TensorSpec("x", "float32", None), None, id="any shape"),
        pytest.param(TensorSpec("x", "object", (None, 1)), None, id="no numbers"),
    ],
)
def test_zeros_are_made_where_it_is_known_what_a_model_takes(
    spec: TensorSpec, shape: tuple[int, ...] | None
) -> None:
    zeros = Predictor(list, inputs=[spec], outputs=["y"], forkable_after_run=True).zeros()
    assert (zeros and zeros[spec.name].shape) == shape


def test_a_model_that_a_fork_would_mind_to_have_run_is_given_nothing() -> None:
    assert doubling(PIXELS).zeros() is None
