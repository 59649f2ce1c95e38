"""A model file without code, asked by several at once: one run where that changes nothing for anybody."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lambent.runtimes.adapters.exchange import Named
from lambent.runtimes.adapters.instances import answer, answer_together
from lambent.runtimes.adapters.predictor import Array, Predictor, TensorSpec
from lambent.runtimes.faults import Fault
from lambent.runtimes.together import Forms

ROWS = TensorSpec("x", "float32", (None, 3))
Body = Any


class Counted:
    """A predictor of arrays, and the rows of each of its runs."""

    def __init__(
        self,
        run: Callable[[Sequence[Array]], Sequence[Array]],
        *,
        inputs: Sequence[TensorSpec] = (ROWS,),
        outputs: Sequence[str] = ("y",),
    ) -> None:
        self.runs: list[int] = []

        def counted(arrays: Sequence[Array]) -> Sequence[Array]:
            self.runs.append(len(arrays[0]) if arrays[0].ndim else 0)
            return run(arrays)

        self.predictor = Predictor(counted, inputs=inputs, outputs=outputs)

    def together(self, bodies: Sequence[Body], forms: Forms | None = None) -> list[Body]:
        """What is said to all at once: the second time, when it is known that they may run as one."""
        forms = forms or Forms(64)
        answer_together(self.predictor, bodies, forms)
        self.runs.clear()
        return [plain(end) for end in answer_together(self.predictor, bodies, forms)]

    def alone(self, bodies: Sequence[Body]) -> list[Body]:
        """What is said to each by itself."""
        return [plain(answer(self.predictor, body)) for body in bodies]


def plain(value: Body) -> Body:
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def double(arrays: Sequence[Array]) -> Sequence[Array]:
    return [2 * arrays[0]]


EVERY_FORM: Sequence[Body] = [
    {"instances": [[1, 2, 3], [4, 5, 6]]},
    {"inputs": [[7, 8, 9]]},
    [[1, 0, 1]],
    {"inputs": {"x": [[2, 0, 1], [3, 4, 4]]}},
    {"inputs": [5, 5, 6]},
    {"instances": [{"x": [1, 2, 4]}]},
    {"instances": []},
    [],
]


def test_every_form_of_asking_goes_into_one_run_and_each_is_answered_in_its_own() -> None:
    model = Counted(double)
    assert model.together(EVERY_FORM) == model.alone(EVERY_FORM)
    assert model.runs[0] == 8


def test_models_of_several_inputs_and_outputs_run_as_one() -> None:
    model = Counted(
        lambda arrays: [arrays[0] + arrays[1], arrays[1].sum(1)],
        inputs=[TensorSpec("a", "float32", (None, 2)), TensorSpec("b", "float32", (None, 2))],
        outputs=["sum", "total"],
    )
    bodies = [
        {"instances": [{"a": [1, 2], "b": [3, 5]}, {"a": [0, 0], "b": [1, 1]}]},
        {"inputs": {"a": [[5, 6]], "b": [[7, 8]]}},
        {"instances": [{"b": [1, 9], "a": [2, 4]}]},
    ]
    assert model.together(bodies) == model.alone(bodies)
    assert model.runs[0] == 4


def test_who_asks_wrongly_hears_it_alone_in_the_words_of_a_lone_call() -> None:
    model = Counted(double)
    wrong: Sequence[Body] = [{"instances": 3}, {"rows": []}, "text", {"inputs": [[1, 2]]}, b"bytes", 7]
    ended = answer_together(model.predictor, [[[1, 2, 3]], *wrong, [[4, 5, 6]]], Forms(64))
    assert [plain(ended[0]), plain(ended[-1])] == [
        {"predictions": [[2, 4, 6]]},
        {"predictions": [[8, 10, 12]]},
    ]
    for body, end in zip(wrong, ended[1:-1], strict=True):
        with pytest.raises(ValueError, match=f"^{re.escape(str(end))}$"):
            answer(model.predictor, body)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda arrays: [arrays[0] - arrays[0].mean(0)], id="what depends on the whole batch"),
        pytest.param(lambda arrays: [np.cumsum(arrays[0], 0)], id="a sequence read forwards"),
        pytest.param(lambda arrays: [np.cumsum(arrays[0][::-1], 0)[::-1]], id="a sequence read backwards"),
        pytest.param(lambda arrays: [arrays[0].max(0)], id="one answer for all"),
        pytest.param(lambda arrays: [arrays[0], arrays[0].sum()], id="one of two outputs for all"),
        pytest.param(lambda arrays: [np.float32(arrays[0].sum())], id="a number"),
    ],
)
def test_a_model_whose_rows_know_of_each_other_runs_each_call_by_itself(
    run: Callable[[Sequence[Array]], Sequence[Array]],
) -> None:
    model = Counted(run, outputs=["y", "z"])
    bodies = [{"inputs": [[number, 1, 3], [2, number, 5]]} for number in range(4)]
    assert model.together(bodies) == model.alone(bodies)
    assert model.runs[:4] == [2, 2, 2, 2]


def test_a_model_of_a_fixed_batch_runs_each_call_by_itself() -> None:
    model = Counted(double, inputs=[TensorSpec("x", "float32", (1, 3))])
    bodies = [[[number, 1, 2]] for number in range(4)]
    assert model.together(bodies) == model.alone(bodies)
    assert model.runs[:4] == [1, 1, 1, 1]


def test_a_model_of_an_unknown_shape_is_tried_and_each_shape_runs_as_one() -> None:
    model = Counted(double, inputs=[TensorSpec("x", "float32", None)])
    bodies: Sequence[Body] = [
        {"inputs": value} for value in ([[1, 2]], [[3, 4]], [[1, 2, 3]], [[4, 5, 6]], 5, 6)
    ]
    assert model.together(bodies) == model.alone(bodies)
    assert sorted(model.runs[:4]) == [0, 0, 2, 2]


def test_inputs_of_different_lengths_run_as_one_with_their_like() -> None:
    model = Counted(double, inputs=[TensorSpec("x", "float32", (None, None))])
    bodies = [{"inputs": [[*range(width)]]} for width in (2, 3, 2, 3, 2)]
    assert model.together(bodies) == model.alone(bodies)
    assert sorted(model.runs[:2]) == [2, 3]


def test_an_input_that_is_the_same_turned_round_proves_nothing_and_the_next_may() -> None:
    model, forms = Counted(double), Forms(64)
    same: Sequence[Body] = [[[0, 0, 0]], [[0, 0, 0]], [[0, 0, 0]]]
    assert model.together(same, forms) == model.alone(same)
    answer_together(model.predictor, [[[1, 2, 3]], [[4, 5, 6]]], forms)
    model.runs.clear()
    answer_together(model.predictor, same, forms)
    assert model.runs == [3]


def test_one_row_on_which_a_model_fails_does_not_fail_its_company() -> None:
    def strict(arrays: Sequence[Array]) -> Sequence[Array]:
        if (arrays[0] < 0).any():
            raise RuntimeError("index out of range")
        return double(arrays)

    model = Counted(strict)
    ended = model.together([[[1, 2, 3]], [[-1, 2, 3]], [[4, 5, 6]]])
    assert ended[0] == {"predictions": [[2, 4, 6]]}
    assert isinstance(ended[1], RuntimeError)
    assert ended[2] == {"predictions": [[8, 10, 12]]}


def test_tensors_of_several_calls_run_as_one_and_each_has_its_own_rows() -> None:
    counted = Counted(double)
    given = [np.arange(3 * rows, dtype=np.float32).reshape(rows, 3) + rows for rows in (1, 2, 3)]
    told = counted.together([Named({"x": one}) for one in given])
    assert counted.runs == [6]
    assert told == [{"y": (2 * one).tolist()} for one in given]


def test_tensors_that_do_not_fit_are_their_senders_fault_and_harm_no_others() -> None:
    bad, good = Named({"x": np.zeros((1, 4), np.float32)}), Named({"x": np.ones((1, 3), np.float32)})
    fault, told = Counted(double).together([bad, good])
    assert isinstance(fault, Fault)
    assert fault.status == 400
    assert told == {"y": [[2.0, 2.0, 2.0]]}
