"""Whatever comes as a request is an inference or refused, and never an error of ours."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import CallerFault
from lambent.core.tensors import UNKNOWN, Signature, Tensor, check_given
from lambent.wire.open_inference import Inference, Rope, answer, read_inference, read_raw
from lambent.wire.tensors import Form, Piece, Sheet, Wanted, unpack, wish_of

X: dict[str, Any] = {"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]}
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
changed = st.fixed_dictionaries(
    {},
    optional={
        "name": json_values,
        "datatype": st.sampled_from(["FP32", "BYTES", "FP16", "nope"]) | json_values,
        "shape": st.lists(st.integers(), max_size=3) | json_values,
        "data": json_values,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": json_values}) | json_values,
    },
)


def read(value: object, raw: bytes = b"", *, pieces: int = 1) -> Inference:
    head = msgspec.json.encode(value)
    body = head + raw
    step = max(1, len(body) // pieces)
    cut = [body[at : at + step] for at in range(0, len(body), step)]
    return read_inference(Rope(cut), str(len(head)).encode() if raw else None)


def binary(**changes: Any) -> dict[str, Any]:
    one = {**X, "parameters": {"binary_data_size": 2}, **changes}
    return {name: value for name, value in one.items() if name != "data"}


@given(st.lists(changed, max_size=2), json_values, json_values, st.binary(max_size=8))
def test_a_request_of_any_kind_is_read_or_refused(
    inputs: list[dict[str, Any]], outputs: object, parameters: object, raw: bytes
) -> None:
    asked = {"inputs": [{**X, **one} for one in inputs], "outputs": outputs, "parameters": parameters}
    try:
        found = read(asked, raw)
        check_given(found.given, UNKNOWN)
        sheet, views = unpack(found.body())
    except CallerFault:
        return
    assert len(sheet.pieces) == len(views) == len(inputs)


@given(st.binary(max_size=60), st.none() | st.binary(max_size=6))
def test_noise_is_refused(body: bytes, header: bytes | None) -> None:
    with pytest.raises(CallerFault):
        read_inference(Rope([body]), header)


@given(st.integers(1, 200))
def test_a_body_is_the_same_in_however_many_pieces_it_came(pieces: int) -> None:
    found = read({"inputs": [X, binary(name="y")]}, b"\xaa\xbb", pieces=pieces)
    sheet, views = unpack(found.body())
    assert [bytes(view) for view in views] == [b"[1,2]", b"\xaa\xbb"]
    assert [one.form for one in sheet.pieces] == [Form.JSON, Form.RAW]


@pytest.mark.parametrize(
    ("asked", "raw", "said"),
    [
        ({"inputs": []}, b"", "1 to"),
        ({"inputs": [{"name": "x", "datatype": "UINT8", "shape": [2]}]}, b"", "no data"),
        ({"inputs": [binary()]}, b"", "must say where JSON ends"),
        ({"inputs": [binary()]}, b"\1", "2 bytes of binary data; 1 are there"),
        ({"inputs": [binary()]}, b"\1\2\3", "1 bytes behind"),
        ({"inputs": [binary(parameters={"binary_data_size": True})]}, b"\1", "is no size"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": 2}}]}, b"\1\2", "both"),
        ({"inputs": [binary(parameters={"shared_memory_region": "r"})]}, b"", "no memory is shared"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 1}}]}, b"", "classes"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, b"", "true or false"),
    ],
)
def test_what_is_wrong_is_said(asked: object, raw: bytes, said: str) -> None:
    with pytest.raises(CallerFault, match=said):
        read(asked, raw)


def test_an_output_says_its_own_form_over_that_of_all() -> None:
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    found = read({"inputs": [X], "outputs": outputs, "parameters": {"binary_data_output": True}})
    assert found.wish.wanted == (Wanted("a", Form.RAW), Wanted("b", Form.JSON))
    outputs_known = Signature((), (Tensor("a", "FP32", (1,)),))
    wish = wish_of(found.content_type(outputs_known))
    assert wish is not None
    assert wish.outputs == outputs_known.outputs


def test_a_raw_request_has_the_shape_of_the_only_input() -> None:
    known = Signature((Tensor("x", "FP32", (-1, 2)),))
    assert read_raw(bytes(24), known).given[0].shape == (3, 2)
    for body, signature in (
        (bytes(23), known),
        (bytes(8), UNKNOWN),
        (b"", Signature((Tensor("x", "BYTES", (1,)),))),
    ):
        with pytest.raises(CallerFault):
            read_raw(body, signature)


def test_only_raw_outputs_make_a_body_of_two_parts() -> None:
    sheet = Sheet((Piece("a", "INT8", (1,), 1), Piece("b", "INT8", (1,), 3, Form.JSON)))
    body, json_bytes = answer("m", "1", "7", sheet, [memoryview(b"\1"), memoryview(b"[2]")])
    assert json_bytes == len(body) - 1
    told = msgspec.json.decode(body[:json_bytes])
    assert told["id"] == "7"
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 1}
    assert told["outputs"][1]["data"] == [2]
    _, json_bytes = answer("m", "1", "", Sheet(sheet.pieces[1:]), [memoryview(b"[2]")])
    assert json_bytes is None
