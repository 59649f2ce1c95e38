"""A state as bytes: a pickle, and beside it the large buffers, each copied once and aligned.

Arrays of numpy give such buffers by themselves, and with them variables of Keras and TensorFlow. Tensors of
torch are taken apart for it; those that share memory share it again when they are read. No framework is
imported here.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from lambent.runtimes import states_torch
from lambent.runtimes.states_parts import Lent, Reduce

ALIGNED_BYTES: Final = 64  # as frameworks align their own: kernels may round otherwise on another alignment
# Such a buffer gets pages of its own, which go back to the system when its array goes.
PAGES_FROM_BYTES: Final = 1 << 20

_MAGIC: Final = b"LAMBST01"
_HEADER: Final = struct.Struct("<8sQQ")  # magic, bytes of the pickle, number of buffers
_ENTRY: Final = struct.Struct("<QQQ")  # where, bytes, whether its reader makes a copy of its own


class StateBroken(Exception):
    """Bytes that are no state."""


class _Entry(msgspec.Struct, frozen=True):
    at: int
    size_bytes: int
    lent: int


class Packed:
    """A state that is about to be copied. It refers to the memory of the state itself: copy it at once."""

    def __init__(self, pieces: Sequence[Any], buffers: Sequence[memoryview], lent: Sequence[int]) -> None:
        self._pieces: Final = pieces
        self._buffers: Final = buffers
        at = _HEADER.size + _ENTRY.size * len(buffers)
        self._pickle_at: Final = at
        self._pickle_bytes: Final = sum(map(len, pieces))
        at += self._pickle_bytes
        self._entries: Final[list[_Entry]] = []
        for buffer, is_lent in zip(buffers, lent, strict=True):
            at = _aligned(at)
            self._entries.append(_Entry(at, buffer.nbytes, is_lent))
            at += buffer.nbytes
        self.size_bytes: Final = at

    def copy_to(self, target: memoryview) -> None:
        """Write it; `target` has `size_bytes` or more."""
        _HEADER.pack_into(target, 0, _MAGIC, self._pickle_bytes, len(self._entries))
        for number, entry in enumerate(self._entries):
            place = _HEADER.size + _ENTRY.size * number
            _ENTRY.pack_into(target, place, entry.at, entry.size_bytes, entry.lent)
        at = self._pickle_at
        for piece in self._pieces:
            target[at : at + len(piece)] = piece
            at += len(piece)
        for entry, buffer in zip(self._entries, self._buffers, strict=True):
            target[entry.at : entry.at + entry.size_bytes] = buffer


def pack(state: object) -> Packed:
    """Take a state apart, without copying what is large. Raises what pickling raises."""
    pieces, lending, taken = _Pieces(), Lent(), _Taken()
    with _frames_let_go():
        _Pickler(pieces, taken, lending).dump(state)
        lent = [int(lending.has(buffer)) for buffer in taken.all]
        return Packed(pieces.all, [buffer.raw() for buffer in taken.all], lent)


def unpack(source: memoryview) -> Any:
    """The state, in memory of its own. Raises `StateBroken`, and what unpickling raises."""
    if len(source) < _HEADER.size:
        raise StateBroken("it is too short to be a state")
    magic, pickle_bytes, count = _HEADER.unpack_from(source)
    pickle_at = _HEADER.size + _ENTRY.size * count
    if magic != _MAGIC or pickle_at + pickle_bytes > len(source):
        raise StateBroken("it is no state")
    entries = [_Entry(*_ENTRY.unpack_from(source, _HEADER.size + _ENTRY.size * n)) for n in range(count)]
    if any(entry.at + entry.size_bytes > len(source) for entry in entries):
        raise StateBroken("it is cut off")
    pickled = source[pickle_at : pickle_at + pickle_bytes]
    with _frames_let_go():
        return pickle.loads(pickled, buffers=_buffers(source, entries))


@contextmanager
def _frames_let_go() -> Iterator[None]:
    """Let what is raised hold no view of memory.

    CPython 3.11 crashes when the garbage collector meets a view that another view was made of.
    """
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise


def _buffers(source: memoryview, entries: Sequence[_Entry]) -> Iterator[memoryview | mmap.mmap | bytearray]:
    for entry in entries:
        lies = source[entry.at : entry.at + entry.size_bytes]
        yield lies if entry.lent else _copied(lies)


def _copied(source: memoryview) -> mmap.mmap | bytearray:
    if len(source) < PAGES_FROM_BYTES:
        return bytearray(source)
    pages = mmap.mmap(-1, len(source), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages[:] = source
    return pages


class _Pieces:
    """What a pickler writes, without a copy of what is large."""

    def __init__(self) -> None:
        self.all: Final[list[Any]] = []

    def write(self, piece: Any) -> int:
        self.all.append(piece)
        return len(piece)


class _Taken:
    """What a pickler leaves to be copied. It is no part of the pickler: see `_frames_let_go`."""

    def __init__(self) -> None:
        self.all: Final[list[pickle.PickleBuffer]] = []

    def take(self, buffer: pickle.PickleBuffer) -> None:
        self.all.append(buffer)


class _Pickler(pickle.Pickler):
    def __init__(self, pieces: _Pieces, taken: _Taken, lending: Lent) -> None:
        super().__init__(pieces, protocol=5, buffer_callback=taken.take)
        self._reduce: Final[Mapping[type, Reduce]] = _reducers(lending)

    def reducer_override(self, obj: Any) -> Any:
        """How it is taken apart, where it is one that we know."""
        reduce = self._reduce.get(type(obj))
        return NotImplemented if reduce is None else reduce(obj)


def _reducers(lending: Lent) -> Mapping[type, Reduce]:
    return states_torch.reducers(lending) if "torch" in sys.modules else {}


def _aligned(at: int) -> int:
    return -(-at // ALIGNED_BYTES) * ALIGNED_BYTES
