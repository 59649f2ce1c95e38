"""Tensors that do not fit are refused with the name of the one that does not, before anything is woken."""

from __future__ import annotations

import pytest

from lambent.core.errors import CallerFault, InvalidSpec
from lambent.core.tensors import UNKNOWN, Given, Signature, Tensor, check_given, check_wanted

TAKES = Signature(
    (Tensor("x", "FP32", (-1, 4)), Tensor("name", "BYTES", (-1,))), (Tensor("y", "FP32", (-1, 3)),)
)
X = Given("x", "FP32", (2, 4), 32)
NAME = Given("name", "BYTES", (2,), 11)


def test_what_fits_is_taken_in_any_order() -> None:
    check_given([NAME, X], TAKES)
    check_wanted(["y"], TAKES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([X], "name is missing"),
        ([X, NAME, Given("z", "FP32", (1,), 4)], "unexpected inference input 'z'"),
        ([X, X, NAME], "given twice"),
        ([Given("x", "FP64", (2, 4), 64), NAME], "data-type is 'FP64', but the model expects 'FP32'"),
        ([Given("x", "FP32", (2, 5), 40), NAME], r"expected \[-1, 4\], got \[2, 5\]"),
        ([Given("x", "FP32", (4,), 16), NAME], "unexpected shape"),
        ([Given("x", "FP32", (2, 4), 31), NAME], "has 31 bytes of data"),
        ([X, Given("name", "BYTES", (2,), 7)], "takes 8 or more"),
        ([Given("x", "FLOAT", (2, 4), 32)], "datatype 'FLOAT'"),
        ([Given("x", "FP32", (2, -4), 32)], "sizes are from 0"),
        ([Given("x", "FP32", (1 << 60, 0), 0)], "sizes are from 0"),
        ([Given("x", "FP32", (1 << 30, 1 << 30), 0)], "more than"),
        ([Given("x", "FP32", (0, 1 << 40, 1 << 40), 0)], "more than"),
        ([Given("x", "FP32", (1,) * 33, 4)], "dimensions"),
        ([Given("x", "FP16", (1,))], "binary data"),
        ([Given("x" * 1000, "FP32", (1,), 0)], "…"),
    ],
)
def test_what_does_not_fit_is_named(given: list[Given], said: str) -> None:
    with pytest.raises(CallerFault, match=said):
        check_given(given, TAKES)


def test_a_model_that_says_nothing_takes_any_names_and_shapes() -> None:
    check_given([Given("anything", "INT8", (0, 7), 0), Given("else", "FP64", ())], UNKNOWN)
    check_wanted(["whatever"], UNKNOWN)


@pytest.mark.parametrize("names", [["y", "y"], ["z"]])
def test_an_output_is_one_that_there_is_and_asked_for_once(names: list[str]) -> None:
    with pytest.raises(CallerFault, match="output"):
        check_wanted(names, TAKES)


def test_a_declared_tensor_may_say_none_for_any_size() -> None:
    sizes: tuple[int, ...] = (None, 3)  # type: ignore[assignment]  # what users write, as numpy's friends do
    assert Tensor("x", "FP32", sizes).shape == (-1, 3)


@pytest.mark.parametrize(
    ("name", "datatype", "shape"), [("", "FP32", (1,)), ("x", "float32", (1,)), ("x", "FP32", (-2,))]
)
def test_a_tensor_that_cannot_be_is_not_declared(name: str, datatype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSpec):
        Tensor(name, datatype, shape)
