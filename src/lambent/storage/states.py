"""States of a run on disk: each in a file that was complete, and hashed, before it had its name."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.checkpointing import Kept, surplus
from lambent.core.errors import StorageFull
from lambent.storage.artifacts_tree import sync_folder

SUFFIX: Final = ".ckpt"
# What a file is called that was found broken: it is looked at no more, and goes with the next that is pruned.
BROKEN: Final = ".broken"
UNFINISHED: Final = ".new"
CHUNK_BYTES: Final = 4 << 20

_MAGIC: Final = b"LAMBCK01"
_HEADER: Final = struct.Struct("<8sQqQQ32sI")  # magic, seq, step, unix_ms, bytes, SHA-256, checksum of these

log = logging.getLogger(__name__)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a state beside its bytes."""

    seq: int
    step: int
    unix_ms: int
    size_bytes: int


class StateFiles:
    """The states of one run. Blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def kept(self) -> Sequence[Kept]:
        """The states that have their names, the oldest first."""
        if not self.folder.is_dir():
            return []
        named = [_named(path) for path in self.folder.iterdir()]
        return sorted(kept for kept in named if kept is not None)

    def path(self, kept: Kept) -> Path:
        """The file of a state."""
        return self.folder / f"{kept.step}-{kept.seq}{SUFFIX}"

    def write(self, state: State, chunks: Iterator[bytes]) -> Path:
        """Keep a state. It is there, whole and on disk, or not at all. Raises `StorageFull`."""
        path = self.path(Kept(state.seq, state.step))
        unfinished = path.with_suffix(UNFINISHED)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with unfinished.open("wb", buffering=0) as file:
                _write(file.fileno(), state, chunks)
            unfinished.replace(path)
            sync_folder(self.folder)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise StorageFull(f"the state of step {state.step} cannot be kept: {error.strerror}") from error
        return path

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep`, and what is broken or was never finished."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.suffix in {BROKEN, UNFINISHED}:
                path.unlink(missing_ok=True)
        for kept in surplus(self.kept(), keep):
            self.path(kept).unlink(missing_ok=True)

    def copy_newest(self, target: Path) -> State | None:
        """Copy the newest state that is whole into a file, and say which it is; None where there is none.

        What is found broken is set aside. Raises `StorageFull`.
        """
        for kept in reversed(self.kept()):
            path = self.path(kept)
            state = _copied(path, target)
            if state is not None:
                return state
            log.warning("state_broken", extra={"path": str(path), "step": kept.step})
            path.replace(path.with_suffix(BROKEN))
        return None


def _write(descriptor: int, state: State, chunks: Iterator[bytes]) -> None:
    digest, size = hashlib.sha256(), 0
    os.lseek(descriptor, _HEADER.size, os.SEEK_SET)
    for chunk in chunks:
        digest.update(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        size += len(chunk)
    if size != state.size_bytes:
        raise OSError(0, f"it has {size} bytes, not {state.size_bytes}")
    os.pwrite(descriptor, _header(state, digest.digest()), 0)
    os.fsync(descriptor)


def _copied(path: Path, target: Path) -> State | None:
    """The state, copied; None where it is broken or cannot be read. Raises `StorageFull`."""
    chunks = _chunks(path)
    try:
        found = _read_header(next(chunks, b""))
        if found is None:
            return None
        state, wanted = found
        digest, size = hashlib.sha256(), 0
        with _written(target, state) as copy:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                copy(chunk)
    except _Unreadable:
        return None
    return state if size == state.size_bytes and digest.digest() == wanted else None


class _Unreadable(Exception):
    pass


def _chunks(path: Path) -> Iterator[bytes]:
    """The header, and the rest in pieces."""
    try:
        with path.open("rb", buffering=0) as source:
            yield source.read(_HEADER.size)
            while chunk := source.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise _Unreadable from error


@contextmanager
def _written(path: Path, state: State) -> Iterator[Callable[[bytes], object]]:
    """What takes the pieces of a state for a file. Raises `StorageFull`."""
    try:
        with path.open("wb") as file:  # buffered: it writes all of a piece, or raises
            yield file.write
    except OSError as error:
        raise StorageFull(f"the state of step {state.step} cannot be copied: {error.strerror}") from error


def _header(state: State, digest: bytes) -> bytes:
    words = (_MAGIC, state.seq, state.step, state.unix_ms, state.size_bytes, digest)
    return _HEADER.pack(*words, zlib.crc32(_HEADER.pack(*words, 0)))


def _read_header(raw: bytes) -> tuple[State, bytes] | None:
    if len(raw) != _HEADER.size:
        return None
    magic, seq, step, unix_ms, size_bytes, digest, _ = _HEADER.unpack(raw)
    state = State(seq=seq, step=step, unix_ms=unix_ms, size_bytes=size_bytes)
    return (state, digest) if magic == _MAGIC and _header(state, digest) == raw else None


def _named(path: Path) -> Kept | None:
    step, dash, seq = path.stem.rpartition("-")
    if path.suffix != SUFFIX or not dash or not seq.isdigit() or not step.removeprefix("-").isdigit():
        return None
    return Kept(int(seq), int(step))
