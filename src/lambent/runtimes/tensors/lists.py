"""Tensors as lists within lists, where there is no numpy."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from lambent.core.tensors import BYTES, DIMENSIONS_MAX, ELEMENT_BYTES, elements_of
from lambent.runtimes.tensors.exchange import NoText, Written
from lambent.wire.tensors import BadTensors, Form, elements_in, joined_elements

# As `struct` names them. The upper half of a float32 has no name there.
CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
        "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
        "FP16": "e", "FP32": "f", "FP64": "d", "BF16": "H",
    }
)  # fmt: skip
LISTS_MAX: Final = 1 << 24
FLOATS: Final = frozenset({"FP16", "BF16", "FP32", "FP64"})


def read_raw(view: memoryview, datatype: str, shape: Sequence[int]) -> object:
    """Lists of the elements of `view`. Raises `BadTensors`."""
    count = elements_of(shape)
    if datatype == BYTES:
        return _nested([*elements_in(view, count)], shape)
    if len(view) != count * ELEMENT_BYTES[datatype]:
        raise BadTensors(f"{len(view)} bytes are not the data of {datatype} of shape {list(shape)}")
    found: list[Any] = [*struct.unpack(f"<{count}{CODES[datatype]}", view)]
    if datatype == "BF16":
        found = [*struct.unpack(f"<{count}f", struct.pack(f"<{count}I", *(one << 16 for one in found)))]
    return _nested(found, shape)


def read_json(view: memoryview, datatype: str, shape: Sequence[int]) -> object:
    """Lists of the numbers of a list, however that is nested. Raises `BadTensors`."""
    try:
        found = [*_flat(msgspec.json.decode(view), 0)]
        if datatype == BYTES:
            found = [one.encode() for one in found]
        elif datatype in FLOATS:
            found = [float("nan") if one is None else float(one) for one in found]
        struct.pack(f"<{len(found)}{CODES[datatype]}", *found) if datatype != BYTES else None
        if datatype == "BOOL" and not all(isinstance(one, bool) for one in found):
            raise BadTensors("the data are not of BOOL")
    except (AttributeError, TypeError, OverflowError, struct.error, RecursionError, ValueError) as error:
        raise BadTensors(f"the data are not of {datatype}: {error}") from error
    return _nested(found, shape)


def write(value: object, datatype: str, form: Form) -> Written:
    """A number, a text, or lists of them. Raises `ValueError`, `TypeError`."""
    value = _plain(value)
    shape = _shape(value)
    found = [*_flat(value, 0)]
    if len(found) != elements_of(shape):
        raise ValueError("its lists differ in length")
    name = datatype or _datatype(found)
    if form is Form.JSON:
        try:
            texts = [one.decode() if isinstance(one, bytes) else one for one in found]
        except UnicodeDecodeError as error:
            raise NoText from error
        return Written(name, shape, msgspec.json.encode(texts))
    if name == BYTES:
        return Written(name, shape, joined_elements([_element(one) for one in found]))
    if name == "BF16":
        bits = struct.unpack(f"<{len(found)}I", struct.pack(f"<{len(found)}f", *found))
        found = [one >> 16 for one in bits]
    try:
        return Written(name, shape, struct.pack(f"<{len(found)}{CODES[name]}", *found))
    except struct.error as error:
        raise ValueError(str(error)) from error


def _plain(value: object) -> object:
    """What some package has made an array of, as lists."""
    if callable(tolist := getattr(value, "tolist", None)):
        value = tolist()
    if isinstance(value, tuple):
        value = [*value]
    return value if isinstance(value, list) else [value]


def _datatype(found: Sequence[object]) -> str:
    kinds = {type(one) for one in found}
    if kinds <= {bool} and kinds:
        return "BOOL"
    if kinds <= {int} and kinds:
        return "INT64"
    return "FP64" if kinds <= {int, float} else BYTES


def _element(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return bytes(value) if isinstance(value, bytes | bytearray) else msgspec.json.encode(value)


def _shape(value: object) -> tuple[int, ...]:
    shape: list[int] = []
    while isinstance(value, list | tuple):
        shape.append(len(value))
        if not value or len(shape) >= DIMENSIONS_MAX:
            break
        value = value[0]
    return tuple(shape)


def _flat(value: object, depth: int) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        if depth >= DIMENSIONS_MAX:
            raise ValueError(f"it is nested more than {DIMENSIONS_MAX} deep")
        for one in value:
            yield from _flat(one, depth + 1)
    else:
        yield value


def _nested(flat: Sequence[object], shape: Sequence[int]) -> object:
    if len(flat) != elements_of(shape):
        raise BadTensors(
            f"there are {len(flat)} elements, and the shape {list(shape)} has {elements_of(shape)}"
        )
    if not shape:
        return flat[0]
    if elements_of(shape[:-1]) > LISTS_MAX:  # empty ones cost their sender nothing
        raise BadTensors(f"the shape {list(shape)} would be more than {LISTS_MAX} lists")
    level: Sequence[object] = flat
    for place in range(len(shape) - 1, 0, -1):
        size, count = shape[place], elements_of(shape[:place])
        level = [[*level[one * size : (one + 1) * size]] for one in range(count)]
    return [*level]
