"""A body of tensors as what user code takes, and what it returns as a body of tensors.

User code gets the value of the only input by itself, and several as a dict by name. A value is a numpy array;
where there is no numpy it is lists within lists. What it returns is read in the same way: one value, or a
dict by name, or, where the names are known, a tuple in their order.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol, cast

import msgspec

from lambent.runtimes import payload
from lambent.runtimes.base import Body, Reply
from lambent.runtimes.faults import Fault
from lambent.wire.frames import BODY_BYTES_MAX, Call
from lambent.wire.tensors import (
    CONTENT_TYPE,
    BadTensors,
    Form,
    Piece,
    Sheet,
    Wanted,
    Wish,
    pack,
    unpack,
    wish_of,
)

ONLY_OUTPUT: Final = "output_0"
BAD: Final = 400  # HTTP's status for what the caller did wrong


class Arrays(StrEnum):
    """When values are numpy's."""

    IF_INSTALLED = "if_installed"
    IF_LOADED = "if_loaded"  # user code, or a package of its own, has imported it


class Written(msgspec.Struct, frozen=True):
    """A value that is about to leave."""

    datatype: str
    shape: tuple[int, ...]
    buffer: bytes | memoryview


class NoText(ValueError):
    """JSON is wanted of bytes that are no text: what to do about that is its caller's business."""

    def __init__(self) -> None:
        super().__init__(
            "it holds bytes that are not UTF-8, which JSON cannot carry: ask for this output as binary data "
            '("parameters": {"binary_data": true}, or "binary_data_output" for all of them)'
        )


class Values(Protocol):
    """How values are made and read: the modules `arrays` and `lists`."""

    def read_raw(self, view: memoryview, datatype: str, shape: Sequence[int]) -> object:
        """A value out of raw data. Raises `BadTensors`."""

    def read_json(self, view: memoryview, datatype: str, shape: Sequence[int]) -> object:
        """A value out of JSON. Raises `BadTensors`."""

    def write(self, value: object, datatype: str, form: Form) -> Written:
        """A value as data, as of `datatype` where that is said.

        Raises `NoText`, and `ValueError` where it is no tensor.
        """


def is_tensors(content_type: str) -> bool:
    """Whether a body of this type is a set of tensors."""
    return content_type.startswith(CONTENT_TYPE)


def read_call(call: Call, body: Body, arrays: Arrays = Arrays.IF_INSTALLED) -> object:
    """What user code gets of any call. Raises `Fault`."""
    return read(body, arrays) if is_tensors(call.content_type) else payload.decode(call.content_type, body)


def write_call(call: Call, result: object) -> Reply:
    """A result in the form in which its call came. Raises `Fault`."""
    return write(call, result) if is_tensors(call.content_type) else payload.encode(result)


def by_name(body: Body, arrays: Arrays = Arrays.IF_INSTALLED) -> dict[str, object]:
    """The values of a body. Raises `Fault`."""
    values = _values(arrays)
    try:
        sheet, views = unpack(body)
    except BadTensors as error:
        raise bad(str(error)) from error
    found: dict[str, object] = {}
    for piece, view in zip(sheet.pieces, views, strict=True):
        read = values.read_raw if piece.form is Form.RAW else values.read_json
        try:
            found[piece.name] = read(view, piece.datatype, piece.shape)
        except BadTensors as error:
            raise bad(f"input {piece.name!r}: {error}") from error
    return found


def read(body: Body, arrays: Arrays = Arrays.IF_INSTALLED) -> object:
    """What user code gets. Raises `Fault`."""
    named = by_name(body, arrays)
    return next(iter(named.values())) if len(named) == 1 else named


def write(call: Call, result: object) -> Reply:
    """What a call of tensors wants, out of what user code returned. Raises `Fault`."""
    wish = wish_of(call.content_type) or Wish()
    named = _named(result, [one.name for one in wish.outputs])
    wanted = wish.wanted or tuple(Wanted(name, wish.form) for name in named)
    if unknown := [one.name for one in wanted if one.name not in named]:
        raise bad(f"unexpected inference output {unknown[0]!r}: there is {', '.join(named)}")
    types = {one.name: one.datatype for one in wish.outputs}
    values = _values(Arrays.IF_LOADED)
    pieces: list[Piece] = []
    buffers: list[bytes | memoryview] = []
    for one in wanted:
        try:
            written = values.write(named[one.name], types.get(one.name, ""), one.form)
        except NoText as error:
            raise bad(f"output {one.name!r}: {error}") from error
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Fault("Runtime.MarshalError", f"output {one.name!r} is no tensor: {error}") from error
        size_bytes = memoryview(written.buffer).nbytes
        pieces.append(Piece(one.name, written.datatype, written.shape, size_bytes, one.form))
        buffers.append(written.buffer)
    reply = pack(Sheet(tuple(pieces)), buffers)
    if len(reply) > BODY_BYTES_MAX:
        raise Fault("Function.ResponseSizeTooLarge", f"the outputs are over {BODY_BYTES_MAX} bytes")
    return Reply(reply, CONTENT_TYPE)


def bad(message: str) -> Fault:
    """What is wrong is the caller's doing."""
    return Fault("Lambent.BadTensors", message, status=BAD)


def _named(result: object, names: Sequence[str]) -> Mapping[str, object]:
    if isinstance(result, Mapping) and all(isinstance(name, str) for name in result):
        return cast(Mapping[str, object], result)
    if isinstance(result, tuple | list) and len(result) == len(names) > 1:
        return dict(zip(names, result, strict=True))
    return {names[0] if len(names) == 1 else ONLY_OUTPUT: result}


def _values(arrays: Arrays) -> Values:
    """Importing numpy costs a worker 0.1 s, so code that never did gets lists unless it wants arrays."""
    module = "lambent.runtimes.tensors."
    if "numpy" in sys.modules:
        return _module(module + "arrays")
    if arrays is Arrays.IF_INSTALLED:
        try:
            return _module(module + "arrays")
        except ModuleNotFoundError as error:
            if error.name != "numpy":
                raise
    return _module(module + "lists")


def _module(name: str) -> Values:
    found: Any = importlib.import_module(name)
    return cast(Values, found)
