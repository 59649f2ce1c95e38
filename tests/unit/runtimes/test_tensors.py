"""User code gets arrays, or lists where there is no numpy, and what it returns leaves as tensors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.tensors import ELEMENT_BYTES, Tensor
from lambent.runtimes.base import Reply
from lambent.runtimes.faults import Fault
from lambent.runtimes.tensors import arrays, exchange, lists
from lambent.wire.frames import Call
from lambent.wire.tensors import BadTensors, Form, Piece, Sheet, Wanted, Wish, pack, type_of, unpack

NUMBERS = [name for name in ELEMENT_BYTES if name not in ("BYTES", "BF16")]
EXACT = np.array([[0, 1, 1], [1, 0, 1]])


def raw(value: Any, datatype: str) -> memoryview:
    return memoryview(np.asarray(value, arrays.DTYPES[datatype]).tobytes())


def body_of(**values: tuple[str, Any]) -> bytes:
    pieces, buffers = [], []
    for name, (datatype, value) in values.items():
        data = raw(value, datatype)
        pieces.append(Piece(name, datatype, np.shape(value), data.nbytes))
        buffers.append(data)
    return pack(Sheet(tuple(pieces)), buffers)


def read_reply(reply: Reply) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    sheet, views = unpack(reply.body)
    return {
        one.name: (one.datatype, one.shape, bytes(view))
        for one, view in zip(sheet.pieces, views, strict=True)
    }


def call(**wish: Any) -> Call:
    return Call(1, "id", 1000.0, type_of(Wish(**wish)))


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("values", [arrays, lists], ids=["arrays", "lists"])
def test_every_number_arrives_raw_and_leaves_raw(datatype: str, values: ModuleType) -> None:
    data = raw(EXACT, datatype)
    found = values.read_raw(data, datatype, (2, 3))
    assert np.asarray(found).tolist() == EXACT.tolist()
    written = values.write(found, datatype, Form.RAW)
    assert (written.datatype, written.shape, bytes(written.buffer)) == (datatype, (2, 3), bytes(data))


@pytest.mark.parametrize("datatype", [name for name in NUMBERS if name != "FP16"])
@pytest.mark.parametrize("values", [arrays, lists], ids=["arrays", "lists"])
@pytest.mark.parametrize("nested", [True, False])
def test_every_number_arrives_as_json_and_leaves_as_json(
    datatype: str, values: ModuleType, *, nested: bool
) -> None:
    plain = EXACT.astype(arrays.DTYPES[datatype]).tolist()
    data = msgspec.json.encode(plain if nested else [one for row in plain for one in row])
    found = values.read_json(memoryview(data), datatype, (2, 3))
    assert np.asarray(found).tolist() == plain
    written = values.write(found, datatype, Form.JSON)
    assert msgspec.json.decode(written.buffer) == [one for row in plain for one in row]


@pytest.mark.parametrize("values", [arrays, lists], ids=["arrays", "lists"])
def test_bytes_and_bfloat16_arrive_and_leave(values: ModuleType) -> None:
    texts = np.asarray(values.read_json(memoryview(b'["a","\\u00e9"]'), "BYTES", (2, 1)), object)
    assert texts.tolist() == [[b"a"], ["é".encode()]]
    written = values.write(texts, "", Form.RAW)
    assert (written.datatype, written.shape) == ("BYTES", (2, 1))
    assert bytes(written.buffer) == b"\x01\0\0\0a\x02\0\0\0\xc3\xa9"
    half = values.read_raw(memoryview(b"\x80\x3f\x00\xc0"), "BF16", (2,))
    assert np.asarray(half).tolist() == [1.0, -2.0]
    assert bytes(values.write(half, "BF16", Form.RAW).buffer) == b"\x80\x3f\x00\xc0"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_bfloat16_is_rounded_to_the_nearest(values: list[float]) -> None:
    written = arrays.write(np.array(values, "f4"), "BF16", Form.RAW)
    found = arrays.read_raw(memoryview(written.buffer), "BF16", (len(values),))
    near = np.abs(np.array(values, "f8")) < 3e38
    assert np.allclose(found[near], np.array(values, "f4")[near], rtol=2**-8, atol=1e-38)


def test_a_raw_tensor_is_an_array_where_it_lies() -> None:
    body = bytearray(body_of(x=("FP32", [[1.0, 2.0]])))
    found: Any = exchange.read(body)
    assert np.shares_memory(found, np.frombuffer(body, "u1"))
    assert found.flags.aligned
    assert found.flags.writeable


def test_one_input_comes_by_itself_and_several_by_name() -> None:
    found: Any = exchange.read(body_of(x=("FP32", [1.0]), n=("INT64", [2])))
    assert {name: value.tolist() for name, value in found.items()} == {"x": [1.0], "n": [2]}
    assert np.asarray(exchange.read(body_of(x=("FP32", [1.0])))).tolist() == [1.0]


@pytest.mark.parametrize(
    ("data", "datatype", "shape"),
    [
        (b"[1.5]", "INT32", (1,)),
        (b"[300]", "UINT8", (1,)),
        (b"[-1]", "UINT64", (1,)),
        (b'["a"]', "FP32", (1,)),
        (b"[1]", "BYTES", (1,)),
        (b"[1]", "BOOL", (1,)),
        (b"[1,2]", "INT32", (3,)),
        (b"{}", "INT32", (1,)),
        (b"[{}]", "FP32", (1,)),
        (b"[" * 5000 + b"]" * 5000, "FP32", (0,)),
    ],
)
@pytest.mark.parametrize("values", [arrays, lists], ids=["arrays", "lists"])
def test_json_that_is_no_such_tensor_is_refused(
    data: bytes, datatype: str, shape: tuple[int, ...], values: ModuleType
) -> None:
    with pytest.raises(BadTensors):
        values.read_json(memoryview(data), datatype, shape)


@given(
    st.sampled_from([*ELEMENT_BYTES]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    ),
    st.lists(st.integers(0, 3), max_size=3),
)
@pytest.mark.parametrize("values", [arrays, lists], ids=["arrays", "lists"])
def test_any_json_is_a_tensor_of_its_shape_or_refused(
    values: ModuleType, datatype: str, value: object, shape: list[int]
) -> None:
    try:
        found = values.read_json(memoryview(msgspec.json.encode(value)), datatype, tuple(shape))
    except BadTensors:
        return
    assert np.asarray(found).size == np.prod(shape)


def test_empty_lists_of_a_huge_shape_cost_nothing() -> None:
    with pytest.raises(BadTensors):
        lists.read_raw(memoryview(b""), "FP32", (1 << 40, 0))
    assert arrays.read_raw(memoryview(b""), "FP32", (1 << 40, 0)).shape == (1 << 40, 0)


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (np.ones(2), ["output_0"]),
        ({"a": np.ones(2), "b": [1]}, ["a", "b"]),
        ([1, 2], ["output_0"]),
        ("text", ["output_0"]),
        (1.5, ["output_0"]),
        (np.float32(1), ["output_0"]),
        ([{"label": "cat"}], ["output_0"]),
    ],
)
def test_what_code_returns_has_names(result: object, names: list[str]) -> None:
    assert [*read_reply(exchange.write(call(), result))] == names


def test_declared_outputs_give_names_and_types() -> None:
    outputs = (Tensor("y", "FP32", (-1,)), Tensor("n", "INT64", (-1,)))
    told = read_reply(exchange.write(call(outputs=outputs), (np.ones(2), np.ones(1, "i1"))))
    assert {name: one[:2] for name, one in told.items()} == {"y": ("FP32", (2,)), "n": ("INT64", (1,))}
    assert [*read_reply(exchange.write(call(outputs=outputs[:1]), [0.5]))] == ["y"]


def test_only_what_is_wanted_leaves_and_in_the_form_that_is_wanted() -> None:
    wanted = (Wanted("b", Form.JSON),)
    told = read_reply(exchange.write(call(wanted=wanted), {"a": np.ones(2), "b": np.array([3])}))
    assert told == {"b": ("INT64", (1,), b"[3]")}
    with pytest.raises(Fault, match="there is a") as caught:
        exchange.write(call(wanted=wanted), {"a": np.ones(2)})
    assert caught.value.status == 400


@pytest.mark.parametrize("result", [[[1], [1, 2]], np.array([1j]), {"x": object()}])
def test_what_is_no_tensor_is_the_codes_fault(result: object) -> None:
    with pytest.raises(Fault, match="is no tensor") as caught:
        exchange.write(call(), result)
    assert caught.value.status == 0


@pytest.mark.parametrize("values", [arrays, lists], ids=["arrays", "lists"])
def test_bytes_that_are_no_text_are_no_json_and_who_asked_is_told_what_to_ask_for(
    values: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_values", lambda _: values)
    result = {"a": [b"text", b"\xff"]}
    with pytest.raises(Fault, match=r"'a': it holds bytes that are not UTF-8.*binary_data") as told:
        exchange.write(call(form=Form.JSON), result)
    assert told.value.status == 400
    assert exchange.write(call(form=Form.RAW), result).body


def test_big_endian_and_strided_arrays_leave_in_order() -> None:
    told = read_reply(
        exchange.write(call(), {"a": np.array([1, 2], ">i4"), "b": np.arange(6, dtype="i1")[::2]})
    )
    assert told["a"] == ("INT32", (2,), b"\1\0\0\0\2\0\0\0")
    assert told["b"] == ("INT8", (3,), b"\0\2\4")
