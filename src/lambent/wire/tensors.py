"""A set of named tensors as one body: how they travel between a door and a worker.

    u32 length of the head · head (MessagePack) · padding · tensor · padding · tensor …

Each tensor begins at a multiple of 64 bytes, so that what a worker reads into one piece of memory is an
array where it lies. Raw tensors are as the binary extension of the Open Inference Protocol has them:
little-endian, row by row; BYTES are elements behind their lengths. What came as JSON stays JSON, and who
wants JSON back says so: the server reads and writes no numbers. What is wanted back stands in the content
type, so that a call says it beside its body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.tensors import DIMENSIONS_MAX, LENGTH_BYTES, Tensor
from lambent.wire.typed import unpacker

CONTENT_TYPE: Final = "application/vnd.lambent.tensors"
ALIGNED: Final = 64
HEAD_BYTES_MAX: Final = 16 * 1024 * 1024
LENGTH: Final = struct.Struct("<I")

Buffer = bytes | bytearray | memoryview


class Form(StrEnum):
    """How the data of a tensor are written."""

    RAW = "raw"
    JSON = "json"


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """One tensor's place in the body."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size_bytes: int
    form: Form = Form.RAW


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """An output that is asked for, and in which form."""

    name: str
    form: Form = Form.RAW


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """What is to come back: the outputs that are `wanted`, all of them in `form` where none is named.

    `outputs` is what is known of them, so that what has no name, or another type, gets it.
    """

    form: Form = Form.RAW
    wanted: tuple[Wanted, ...] = ()
    outputs: tuple[Tensor, ...] = ()


class Sheet(msgspec.Struct, frozen=True, array_like=True):
    """The head."""

    pieces: tuple[Piece, ...]


class BadTensors(ValueError):
    """What should be a set of tensors is none."""


_sheets: Final = unpacker(Sheet)
_encoder: Final = msgspec.msgpack.Encoder()
_wishes: Final = msgspec.json.Decoder(Wish)


def type_of(wish: Wish) -> str:
    """The content type of a request."""
    return f"{CONTENT_TYPE};{msgspec.json.encode(wish).decode()}"


def wish_of(content_type: str) -> Wish | None:
    """What a request of this type wants; `None` where it is not of tensors. Raises `BadTensors`."""
    if not content_type.startswith(CONTENT_TYPE):
        return None
    said = content_type[len(CONTENT_TYPE) + 1 :]
    try:
        return _wishes.decode(said) if said else Wish()
    except msgspec.DecodeError as error:
        raise BadTensors(f"what is wanted cannot be read: {error}") from error


def pack(sheet: Sheet, buffers: Sequence[Buffer]) -> bytes:
    """One body of a sheet and its tensors, whose sizes the sheet has."""
    return pack_pieces(sheet, [(buffer,) for buffer in buffers])


def pack_pieces(sheet: Sheet, tensors: Sequence[Sequence[Buffer]]) -> bytes:
    """The same where each tensor lies about in pieces."""
    head = _encoder.encode(sheet)
    found: list[Buffer] = [LENGTH.pack(len(head)), head]
    end = LENGTH.size + len(head)
    for buffers, piece in zip(tensors, sheet.pieces, strict=True):
        found += (bytes(-end % ALIGNED), *buffers)
        end += -end % ALIGNED + piece.size_bytes
    return b"".join(found)


def unpack(body: Buffer) -> tuple[Sheet, list[memoryview]]:
    """What `pack` was given; the tensors are views of `body`. Raises `BadTensors`."""
    view = memoryview(body)
    if len(view) < LENGTH.size:
        raise BadTensors("a set of tensors has no head")
    (head_bytes,) = LENGTH.unpack_from(view)
    end = LENGTH.size + head_bytes
    if head_bytes > HEAD_BYTES_MAX or end > len(view):
        raise BadTensors("the head of a set of tensors is not whole")
    try:
        sheet = _sheets.decode(view[LENGTH.size : end])
    except msgspec.DecodeError as error:
        raise BadTensors(f"the head of a set of tensors cannot be read: {error}") from error
    found: list[memoryview] = []
    for piece in sheet.pieces:
        start = end + -end % ALIGNED
        end = start + piece.size_bytes
        if piece.size_bytes < 0 or end > len(view) or len(piece.shape) > DIMENSIONS_MAX:
            raise BadTensors(f"tensor {piece.name!r} is not whole")
        found.append(view[start:end])
    return sheet, found


def joined_elements(elements: Iterable[Buffer]) -> bytes:
    """BYTES: each element behind its length."""
    found: list[Buffer] = []
    for element in elements:
        found += (LENGTH.pack(len(element)), element)
    return b"".join(found)


def elements_in(buffer: Buffer, count: int) -> Iterator[bytes]:
    """The elements of BYTES. Raises `BadTensors` unless there are `count`, and nothing behind them."""
    view, start = memoryview(buffer), 0
    for _ in range(count):
        if start + LENGTH_BYTES > len(view):
            raise BadTensors(f"there are fewer than {count} elements")
        (size_bytes,) = LENGTH.unpack_from(view, start)
        start += LENGTH_BYTES + size_bytes
        if start > len(view):
            raise BadTensors("an element is longer than the data")
        yield bytes(view[start - size_bytes : start])
    if start != len(view):
        raise BadTensors(f"there are {len(view) - start} bytes behind {count} elements")
