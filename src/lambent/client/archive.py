"""A tar that depends on nothing but the names, the content and the execute bits of its files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from lambent.client.errors import BundleError

CHUNK_BYTES: Final = 256 * 1024
EXECUTE_BITS: Final = 0o111


class Member(msgspec.Struct, frozen=True):
    """A file to be packed. `path` is its name inside, with forward slashes."""

    path: str
    source: Path
    size_bytes: int
    executable: bool


def member(path: str, source: Path) -> Member:
    """`source` under the name `path`. Raises `BundleError` where it cannot be read."""
    try:
        path.encode()
        with source.open("rb"):  # asked now, so that nobody hears of it in the middle of an upload
            status = source.stat()
    except UnicodeEncodeError as error:
        raise BundleError(f"{path!r} has a name that is not UTF-8: rename it or leave it out") from error
    except OSError as error:
        raise BundleError(f"cannot read {source}: {error.strerror}") from error
    return Member(path, source, status.st_size, bool(status.st_mode & EXECUTE_BITS))


class Archive:
    """The members as one tar, made while it is read; it is never in memory or on disk as a whole."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.members: Final = tuple(sorted(members, key=lambda one: one.path))
        self._headers: Final = [_header(one) for one in self.members]

    @property
    def size_bytes(self) -> int:
        """The size of the tar."""
        content = sum(one.size_bytes + _padding(one.size_bytes) for one in self.members)
        return sum(map(len, self._headers)) + content + 2 * tarfile.BLOCKSIZE

    def chunks(self) -> Iterator[bytes]:
        """The tar in pieces of at most `CHUNK_BYTES`. Raises `BundleError` where a file changes meanwhile."""
        for one, header in zip(self.members, self._headers, strict=True):
            yield header
            yield from _content(one)
            yield bytes(_padding(one.size_bytes))
        yield bytes(2 * tarfile.BLOCKSIZE)


class Packed:
    """A tar that is there already, as it is: what a user packed for another platform."""

    def __init__(self, file: Path) -> None:
        """Raises `BundleError` where it cannot be read."""
        packed = member(file.name, file)
        self.members: Final = (packed,)
        self.size_bytes: Final = packed.size_bytes

    def chunks(self) -> Iterator[bytes]:
        """The file in pieces, as `Archive.chunks`."""
        return _content(self.members[0])


def _header(one: Member) -> bytes:
    entry = tarfile.TarInfo(one.path)  # its time and owners are zero from the start
    entry.size = one.size_bytes
    entry.mode = 0o755 if one.executable else 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)


def _padding(size_bytes: int) -> int:
    return -size_bytes % tarfile.BLOCKSIZE


def _content(one: Member) -> Iterator[bytes]:
    left = one.size_bytes
    try:
        with one.source.open("rb", buffering=0) as file:
            while left and (chunk := file.read(min(left, CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk
            grown = not left and file.seek(0, io.SEEK_END) != one.size_bytes
    except OSError as error:
        raise BundleError(f"cannot read {one.source}: {error.strerror}") from error
    if left or grown:
        raise BundleError(f"{one.source} changed while it was being read: deploy again")
