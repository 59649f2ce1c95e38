"""The safetensors format, laid out to be mapped: a file's tensors begin at a page's first byte.

    u64 length of the header · header (JSON, filled up with spaces) · bytes of the tensors, without gaps

The format lets a header end in spaces, so that whatever reads safetensors reads these files too. It allows no
gaps: tensors that fill whole cache lines come first, then wide types before narrow ones, so that each lies at
a multiple of its own width, and most at the start of a line.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from lambent.runtimes.adapters.predictor import BadModel
from lambent.wire.typed import from_json

LENGTH: Final = struct.Struct("<Q")
HEADER_BYTES_MAX: Final = 100 << 20  # the format's own maximum
LINE_BYTES: Final = 64
WIDTHS: Final[Mapping[str, int]] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


class Tensor(msgspec.Struct, frozen=True):
    """One tensor to be written. `content` holds its elements in row-major, little-endian order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: memoryview


class Place(msgspec.Struct, frozen=True):
    """Where a tensor lies in its file: `start` counts bytes from the file's first."""

    dtype: str
    shape: tuple[int, ...]
    start: int


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def write(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write a new file. Raises `OSError`."""
    ordered = sorted(tensors, key=_order)
    entries: dict[str, _Entry] = {}
    end = 0
    for tensor in ordered:
        start, end = end, end + tensor.content.nbytes
        entries[tensor.name] = _Entry(tensor.dtype, tensor.shape, (start, end))
    header = msgspec.json.encode(entries)
    fill = -(LENGTH.size + len(header)) % mmap.PAGESIZE
    with path.open("xb") as file:
        file.write(LENGTH.pack(len(header) + fill) + header + b" " * fill)
        for tensor in ordered:
            file.write(tensor.content)


def _order(tensor: Tensor) -> tuple[bool, int, str]:
    return tensor.content.nbytes % LINE_BYTES > 0, -WIDTHS[tensor.dtype], tensor.name


def places(path: Path) -> Mapping[str, Place]:
    """The tensors of a file, by name. Raises `BadModel` for one that `write` has not made."""
    with path.open("rb") as file:
        prefix = file.read(LENGTH.size)
        length = LENGTH.unpack(prefix)[0] if len(prefix) == LENGTH.size else HEADER_BYTES_MAX + 1
        header = file.read(length) if length <= HEADER_BYTES_MAX else b""
    try:
        entries = from_json(header, dict[str, _Entry])
    except msgspec.DecodeError as error:
        raise BadModel(f"{path.name} is damaged: {error}; register the model again") from error
    size = path.stat().st_size
    first = LENGTH.size + length
    if any(first + entry.data_offsets[1] > size for entry in entries.values()):
        raise BadModel(f"{path.name} is damaged: it ends too early; register the model again")
    return {
        name: Place(entry.dtype, entry.shape, first + entry.data_offsets[0])
        for name, entry in entries.items()
    }
