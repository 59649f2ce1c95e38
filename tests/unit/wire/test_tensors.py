"""Sets of tensors come out of a body as they went in, and what is none is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.tensors import Tensor
from lambent.wire.tensors import (
    ALIGNED,
    CONTENT_TYPE,
    BadTensors,
    Form,
    Piece,
    Sheet,
    Wanted,
    Wish,
    elements_in,
    joined_elements,
    pack,
    type_of,
    unpack,
    wish_of,
)

tensors = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=300), st.sampled_from(Form)), max_size=5)
names = st.text(max_size=9)


def body_of(found: list[tuple[str, bytes, Form]]) -> tuple[Sheet, bytes]:
    pieces = tuple(Piece(name, "UINT8", (len(data),), len(data), form) for name, data, form in found)
    return (sheet := Sheet(pieces)), pack(sheet, [data for _, data, _ in found])


@given(tensors)
def test_they_come_out_as_they_went_in(found: list[tuple[str, bytes, Form]]) -> None:
    sheet, body = body_of(found)
    out, views = unpack(body)
    assert out == sheet
    assert [bytes(view) for view in views] == [data for _, data, _ in found]


@given(tensors)
def test_each_begins_where_an_array_may(found: list[tuple[str, bytes, Form]]) -> None:
    _, body = body_of([*found, ("last", b"\xc1" * 8, Form.RAW)])
    assert (len(body) - 8) % ALIGNED == 0


@given(tensors.filter(len), st.data())
def test_one_that_is_cut_is_refused(found: list[tuple[str, bytes, Form]], data: st.DataObject) -> None:
    _, body = body_of([*found, ("last", b"\x01", Form.RAW)])
    with pytest.raises(BadTensors):
        unpack(body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read_but_breaks_nothing(noise: bytes) -> None:
    with suppress(BadTensors):
        unpack(noise)


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_elements_come_out_as_they_went_in(elements: list[bytes]) -> None:
    assert [*elements_in(joined_elements(elements), len(elements))] == elements


@given(st.binary(max_size=40), st.integers(0, 5))
def test_elements_that_are_cut_are_refused(noise: bytes, count: int) -> None:
    try:
        found = [*elements_in(noise, count)]
    except BadTensors:
        return
    assert joined_elements(found) == noise


wishes = st.builds(
    Wish,
    st.sampled_from(Form),
    st.lists(st.builds(Wanted, names, st.sampled_from(Form)), max_size=3).map(tuple),
    st.lists(st.builds(Tensor, names.filter(len), st.just("FP32"), st.just((-1, 2))), max_size=2).map(tuple),
)


@given(wishes)
def test_what_is_wanted_stands_in_the_content_type(wish: Wish) -> None:
    assert wish_of(type_of(wish)) == wish
    assert wish_of(CONTENT_TYPE) == Wish()
    assert wish_of("application/json") is None


def test_what_is_wanted_in_no_known_words_is_refused() -> None:
    with pytest.raises(BadTensors):
        wish_of(CONTENT_TYPE + ";nonsense")
