"""Tensors as numpy arrays: raw data are arrays where they lie, nothing is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from lambent.core.tensors import BYTES, elements_of
from lambent.runtimes.tensors.exchange import NoText, Written
from lambent.wire.tensors import BadTensors, Form, elements_in, joined_elements

Array = NDArray[Any]

DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
        "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
        "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", BYTES: "O",
        "BF16": "<f4",  # numpy has none: its values are read as the float32 that they are the upper half of
    }
)  # fmt: skip
DATATYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64", "bfloat16": "BF16",
        **{f"{sign}int{bits}": f"{sign}INT{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
    }
)  # fmt: skip
# What may be written in JSON for each kind of number.
TAKEN: Final[Mapping[str, str]] = MappingProxyType({"b": "b", "i": "iu", "u": "iu", "f": "iuf"})


def read_raw(view: memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """An array on the memory of `view`. Raises `BadTensors`."""
    if datatype == BYTES:
        return _objects([*elements_in(view, elements_of(shape))], shape)
    if datatype == "BF16":
        found = np.left_shift(np.frombuffer(view, "<u2").astype("<u4"), 16).view("<f4")
    elif datatype == "BOOL":
        found = np.frombuffer(view, "u1") != 0  # any other byte would be a bool of its own kind
    else:
        found = np.frombuffer(view, DTYPES[datatype])
    return _shaped(found, shape)


def read_json(view: memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """An array of the numbers of a list, however that is nested. Raises `BadTensors`."""
    try:
        given = msgspec.json.decode(view)
        if datatype == BYTES:
            return _objects([*_texts(given)], shape)
        found = np.asarray(given)
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise BadTensors(f"the data cannot be read: {error}") from error
    dtype = np.dtype(DTYPES[datatype])
    if found.dtype.kind == "O" and dtype.kind == "f":  # null is how JSON says that it is no number
        try:
            found = found.astype("f8")
        except (TypeError, ValueError) as error:
            raise BadTensors(f"the data are not numbers of {datatype}") from error
    if found.size and found.dtype.kind not in TAKEN[dtype.kind]:
        raise BadTensors(f"the data are not of {datatype}")
    with np.errstate(invalid="ignore", over="ignore"):
        converted = found.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, found):
        raise BadTensors(f"there are numbers that {datatype} does not hold")
    return _shaped(converted.reshape(-1), shape)


def write(value: object, datatype: str, form: Form) -> Written:
    """An array, or what numpy makes one of. Raises `ValueError`, `TypeError`."""
    found = _array(value)
    if found.dtype.kind in "OUS":
        return _written_texts(found, form)
    if datatype not in ("", BYTES, "BF16") and found.dtype != DTYPES[datatype]:
        found = found.astype(DTYPES[datatype])
    name = "BF16" if datatype == "BF16" else DATATYPES.get(found.dtype.name, "")
    if not name:
        raise ValueError(f"there is no datatype for {found.dtype}")
    if form is Form.JSON:
        numbers = found.astype("f4") if name == "BF16" else found
        return Written(name, found.shape, msgspec.json.encode(numbers.reshape(-1).tolist()))
    if name == "BF16":
        found = _bf16(found)
    elif found.dtype.byteorder == ">":
        found = found.astype(found.dtype.newbyteorder("<"))
    flat = np.ascontiguousarray(found).reshape(-1)
    return Written(name, found.shape, memoryview(flat.view("u1").data))


def _array(value: object) -> Array:
    """Tensors of frameworks are taken from where they are. A value alone is an array of one."""
    if callable(detach := getattr(value, "detach", None)):
        taken: Any = detach().cpu()
        value = taken.float() if str(getattr(taken, "dtype", "")) == "torch.bfloat16" else taken
    if not isinstance(value, np.ndarray) and callable(numpy := getattr(value, "numpy", None)):
        value = numpy()
    found = np.asarray(value)
    return found if found.ndim else found.reshape(1)


def _bf16(found: Array) -> Array:
    """The upper halves, rounded to the nearest, to even where there are two."""
    if found.dtype.name == "bfloat16":
        return found.view("<u2")
    bits = np.ascontiguousarray(found, "<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(found), 0x7FC0, rounded).astype("<u2").reshape(found.shape)


def _written_texts(found: Array, form: Form) -> Written:
    elements = [_element(one) for one in found.reshape(-1).tolist()]
    if form is Form.RAW:
        return Written(BYTES, found.shape, joined_elements(elements))
    try:
        texts = [one.decode() for one in elements]
    except UnicodeDecodeError as error:
        raise NoText from error
    return Written(BYTES, found.shape, msgspec.json.encode(texts))


def _element(value: object) -> bytes:
    """Text and bytes as they are, anything else as JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return bytes(value) if isinstance(value, bytes | bytearray) else msgspec.json.encode(value)


def _texts(given: object) -> list[bytes]:
    found: list[bytes] = []
    left = [given]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left.extend(reversed(one))
        elif isinstance(one, str):
            found.append(one.encode())
        else:
            raise BadTensors(f"a {type(one).__name__} is no text")
    return found


def _objects(elements: Sequence[bytes], shape: Sequence[int]) -> Array:
    found = np.empty(len(elements), object)
    found[:] = elements
    return _shaped(found, shape)


def _shaped(flat: Array, shape: Sequence[int]) -> Array:
    if flat.size != elements_of(shape):
        raise BadTensors(
            f"there are {flat.size} elements, and the shape {list(shape)} has {elements_of(shape)}"
        )
    return flat.reshape(tuple(shape))
