"""Calls of a model that run as one: laws of laying together and cutting, and who is kept apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.runtimes.together import (
    DEPTH_MAX,
    FORMS_MAX,
    STRIKES_MAX,
    Forms,
    Whole,
    cut,
    form_of,
    in_groups,
    joined,
    rows_of,
)

numbers = st.integers(-99, 99)
lists = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=4)
arrays = lists.map(np.asarray)
objects = st.integers(1, 4).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            "a": st.lists(numbers, min_size=rows, max_size=rows),
            "b": st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=rows, max_size=rows),
        }
    )
)
calls = st.one_of(
    *(st.lists(values, min_size=1, max_size=6) for values in (lists, arrays, objects)),
    st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3), min_size=1, max_size=6),
)


def plain(value: Any) -> Any:
    return (
        {name: plain(part) for name, part in value.items()}
        if isinstance(value, dict)
        else value.tolist()
        if isinstance(value, np.ndarray)
        else value
    )


class Code:
    """Somebody's `predict`, and the number of rows of each of its runs."""

    def __init__(self, predict: Callable[[Any], object]) -> None:
        self._predict = predict
        self.runs: list[int] = []

    def __call__(self, rows: Any) -> object:
        try:
            self.runs.append(rows_of(rows))
        except Whole:
            self.runs.append(0)
        return self._predict(rows)


def doubled(rows: list[int]) -> list[int]:
    return [2 * row for row in rows]


@given(calls)
def test_what_is_laid_together_is_cut_where_it_met(values: list[Any]) -> None:
    parts = cut(joined(values), [rows_of(value) for value in values])
    assert [plain(part) for part in parts] == [plain(value) for value in values]


@given(st.lists(st.one_of(lists, arrays, objects, st.just({}), numbers, st.text()), max_size=12))
def test_everybody_gets_what_it_would_have_got_alone(values: list[Any]) -> None:
    ended = in_groups(values, lambda value: value, Forms(64))
    assert [plain(end) for end in ended] == [plain(value) for value in values]


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=3), min_size=1, max_size=12),
    st.sampled_from(
        [
            lambda rows: {"class": len(rows)},
            lambda rows: [min(rows), max(rows)],
            lambda rows: (rows, rows),
            lambda rows: {"labels": ["cat", "dog"], "scores": rows},
            lambda rows: {"scores": rows, "n": len(rows)},
            sum,
            lambda rows: "".join(map(str, rows)),
            lambda rows: np.float64(sum(rows)),
            lambda rows: {},
            lambda rows: None,
            lambda rows: [],
        ]
    ),
)
def test_code_that_looks_at_its_input_as_a_whole_never_tells_one_what_was_another_s(
    values: list[list[int]], predict: Callable[[Any], object]
) -> None:
    forms = Forms(64)
    for some in (values[:3], values):
        assert in_groups(some, predict, forms) == [predict(value) for value in some]


@given(st.lists(st.lists(st.integers(-3, 9), min_size=1, max_size=3), min_size=1, max_size=12))
def test_one_that_is_bad_fails_alone_and_the_others_do_not_notice(values: list[list[int]]) -> None:
    def strict(rows: list[int]) -> list[int]:
        taken = [rows.pop(0) for _ in range(len(rows))]  # and what it was given is spoilt
        if any(row < 0 for row in taken):
            raise ValueError("negative")
        return doubled(taken)

    kept = [list(value) for value in values]
    ended = in_groups(values, strict, Forms(64), again=lambda place: list(kept[place]))
    for value, end in zip(kept, ended, strict=True):
        if min(value) < 0:
            assert isinstance(end, ValueError)
        else:
            assert end == doubled(value)


def test_those_of_one_form_run_as_one_after_the_first_has_shown_what_becomes_of_rows() -> None:
    code, forms = Code(doubled), Forms(64)
    assert in_groups([[1], [2], [3]], code, forms) == [[2], [4], [6]]
    assert in_groups([[1], [2, 2], [3]], code, forms) == [[2], [4, 4], [6]]
    assert code.runs == [1, 2, 4]


def test_the_smallest_is_the_one_that_shows_it() -> None:
    code, forms = Code(lambda rows: ["low", "high"]), Forms(64)
    in_groups([[1, 1], [2, 2]], code, forms)  # two rows, two results: by chance
    assert in_groups([[1], [2]], code, forms) == [["low", "high"]] * 2
    assert code.runs[-2:] == [1, 1]


def test_calls_of_different_forms_run_apart_and_keep_their_places() -> None:
    code = Code(lambda rows: rows)
    values = [[1], ["a"], [[1, 2]], [2], {"x": [1]}, ["b"], {"y": [1]}, [[3, 4]], {"x": [2]}, 7, [3], ["c"]]
    forms = Forms(64)
    for _ in range(2):
        assert in_groups(values, code, forms) == values
    assert code.runs[-6:] == [0, 3, 3, 2, 2, 1]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"bytes", id="bytes"),
        pytest.param("text", id="text"),
        pytest.param(3, id="a number"),
        pytest.param(None, id="nothing"),
        pytest.param([], id="no rows"),
        pytest.param({}, id="no names"),
        pytest.param({"a": [1], "b": [1, 2]}, id="parts of different lengths"),
        pytest.param({"a": 1}, id="an object of numbers"),
        pytest.param(np.float32(1), id="a scalar of numpy"),
        pytest.param(np.zeros((0, 3)), id="an array without rows"),
    ],
)
def test_what_has_no_rows_runs_alone(value: object) -> None:
    runs: list[object] = []

    def predict(one: object) -> str:
        runs.append(one)
        return "fine"

    assert in_groups([value, value, value], predict, Forms(64)) == ["fine"] * 3
    assert len(runs) == 3


def test_that_results_cannot_be_cut_is_remembered() -> None:
    code, forms = Code(lambda rows: {"class": 3}), Forms(64)
    for _ in range(5):
        in_groups([[1], [2], [3]], code, forms)
    assert code.runs == [1] * 15


def test_code_that_takes_no_larger_input_is_left_alone_after_some_batches() -> None:
    def one_row(rows: list[int]) -> list[int]:
        (row,) = rows
        return [row]

    code, forms = Code(one_row), Forms(64)
    for _ in range(20):
        assert in_groups([[1], [2], [3]], code, forms) == [[1], [2], [3]]
    assert len([rows for rows in code.runs if rows > 1]) == STRIKES_MAX


def test_a_bad_one_now_and_then_ends_no_batching() -> None:
    def strict(rows: list[int]) -> list[int]:
        if 0 in rows:
            raise ZeroDivisionError
        return rows

    code, forms = Code(strict), Forms(64)
    for _ in range(20):
        in_groups([[1], [2], [0]], code, forms)
    code.runs.clear()
    assert in_groups([[1], [2], [3]], code, forms) == [[1], [2], [3]]
    assert code.runs == [3]


def test_that_memory_was_short_once_says_nothing_of_rows() -> None:
    def large(rows: list[int]) -> list[int]:
        if len(rows) > 3:
            raise MemoryError
        return rows

    code, forms = Code(large), Forms(64)
    for _ in range(STRIKES_MAX + 2):
        assert in_groups([[1], [2], [3], [4]], code, forms)[-1] == [4]
    code.runs.clear()
    in_groups([[1], [2]], code, forms)
    assert code.runs == [2]


def test_an_exception_among_the_values_is_its_own_end() -> None:
    bad = ValueError("not JSON")
    assert in_groups([[1], bad, [2]], doubled, Forms(64)) == [[2], bad, [4]]


def test_what_ends_a_process_is_not_swallowed() -> None:
    def leave(rows: object) -> object:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        in_groups([[1], [2]], leave, Forms(64))


def test_results_of_arrays_and_of_objects_of_them_are_cut() -> None:
    forms = Forms(64)
    for _ in range(2):
        ended = in_groups(
            [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [[7.0, 8.0]]],
            lambda rows: {"sum": np.asarray(rows).sum(1), "rows": rows},
            forms,
        )
    assert [plain(end) for end in ended] == [
        {"sum": [3.0], "rows": [[1.0, 2.0]]},
        {"sum": [7.0, 11.0], "rows": [[3.0, 4.0], [5.0, 6.0]]},
        {"sum": [15.0], "rows": [[7.0, 8.0]]},
    ]


def test_no_more_forms_are_remembered_than_there_is_room_for() -> None:
    code, forms = Code(lambda rows: 0), Forms(64)
    for width in range(2 * FORMS_MAX):
        in_groups([[[0] * width], [[0] * width]], code, forms)
    assert not forms.is_whole(form_of([[]]))
    assert forms.is_whole(form_of([[0] * (2 * FORMS_MAX - 1)]))


def test_a_form_is_looked_at_to_a_certain_depth() -> None:
    deep: Any = 0
    for level in range(50 * DEPTH_MAX):
        deep = [deep] if level % 2 else {"x": deep}
    assert form_of([deep]) == form_of([deep])


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=20), st.integers(1, 7)
)
def test_no_more_rows_run_as_one_than_the_owner_allows_but_for_a_call_that_brings_more(
    values: list[list[int]], rows_max: int
) -> None:
    code = Code(doubled)
    assert in_groups(values, code, Forms(rows_max)) == [doubled(value) for value in values]
    assert max(code.runs) <= max(rows_max, *map(len, values))
    assert sum(code.runs) == sum(map(len, values))
