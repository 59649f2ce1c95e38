"""Values from JSON and from fields, in any thread.

msgspec works out how a type is read when it first meets it, and a second thread that meets the same type
meanwhile follows a pointer that is not there yet: the process dies (seen with 0.22). So a type is met here,
under a lock; decoders that a module makes while it is imported need none.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_turn: Final = threading.Lock()


def from_json(body: bytes | bytearray | memoryview | str, kind: type[T]) -> T:
    """The value that `body` is. Raises `msgspec.DecodeError`, also where it is JSON and does not fit."""
    try:
        return _met(kind).decode(body)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error
    except UnicodeDecodeError as error:  # which msgspec tells of texts within
        raise msgspec.DecodeError(f"it is no UTF-8: {error.reason}") from error


def from_fields(fields: Mapping[str, Any], kind: type[T]) -> T:
    """The value whose fields these are. Raises `msgspec.ValidationError` where they do not fit."""
    _met(kind)
    return msgspec.convert(fields, kind)


def from_texts(fields: Mapping[str, Any], kind: type[T]) -> T:
    """Like `from_fields` where numbers and the like may be written as text."""
    _met(kind)
    return msgspec.convert(fields, kind, strict=False)


def unpacker(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Reads MessagePack as `kind`, a type or a union of types."""
    _met(kind)
    return msgspec.msgpack.Decoder(kind)


def _met(kind: type[T]) -> msgspec.json.Decoder[T]:
    with _turn:
        return msgspec.json.Decoder(kind)
