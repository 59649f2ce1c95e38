"""What a GGUF file says of itself, before anything is loaded.

Source: the format's own description, `docs/gguf.md` of ggml-org/ggml, versions 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from lambent.runtimes.adapters.predictor import BadModel

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
HEAD: Final = struct.Struct("<IQQ")
SIZE: Final = struct.Struct("<Q")
KIND: Final = struct.Struct("<I")
ENTRIES_MAX: Final = 65_536
TEXT_BYTES_MAX: Final = 16 * 1024 * 1024
ITEMS_MAX: Final = 16 * 1024 * 1024
TEXT, ARRAY = 8, 9
SCALARS: Final[Mapping[int, struct.Struct]] = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"
    }.items()
}  # fmt: skip

Value = str | int | float | bool


def read_header(path: Path) -> dict[str, Value]:
    """The entries that are one value; lists are passed over. Raises `BadModel` where it is no GGUF file."""
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise BadModel(f"{path.name} is no GGUF file")
            version, _, count = HEAD.unpack(_exactly(file, HEAD.size))
            if version not in VERSIONS or count > ENTRIES_MAX:
                raise BadModel(f"{path.name} is a GGUF file of version {version} with {count} entries")
            found = (_entry(file) for _ in range(count))
            return {name: value for name, value in found if value is not None}
    except (struct.error, UnicodeDecodeError, KeyError, EOFError) as error:
        raise BadModel(f"{path.name} is a damaged GGUF file: {error!r}") from error


def _entry(file: BinaryIO) -> tuple[str, Value | None]:
    name = _text(file).decode()
    (kind,) = KIND.unpack(_exactly(file, KIND.size))
    if kind == ARRAY:
        _pass_over(file)
        return name, None
    if kind == TEXT:
        return name, _text(file).decode("utf-8", "replace")
    scalar = SCALARS[kind]
    value: Value = scalar.unpack(_exactly(file, scalar.size))[0]
    return name, value


def _pass_over(file: BinaryIO) -> None:
    (kind,) = KIND.unpack(_exactly(file, KIND.size))
    (count,) = SIZE.unpack(_exactly(file, SIZE.size))
    if count > ITEMS_MAX or kind == ARRAY:
        raise EOFError(f"a list of {count} items of kind {kind}")
    if kind != TEXT:
        file.seek(count * SCALARS[kind].size, 1)
        return
    for _ in range(count):
        (size,) = SIZE.unpack(_exactly(file, SIZE.size))
        file.seek(size, 1)


def _text(file: BinaryIO) -> bytes:
    (size,) = SIZE.unpack(_exactly(file, SIZE.size))
    if size > TEXT_BYTES_MAX:
        raise EOFError(f"a text of {size} bytes")
    return _exactly(file, size)


def _exactly(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise EOFError("it ends in the middle")
    return found
