"""Reading a tar archive that is not trusted, in one pass and in bounded memory.

`tarfile` reads the format; this file decides what is taken from it. Three things that it lets pass are
refused here: an archive that stops in the middle, headers without bound, and entries that are not files.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from typing import BinaryIO, Final, Protocol

from lambent.core.errors import CallerFault, PayloadTooLarge
from lambent.storage.artifacts_tree import FILES_MAX, TooManyFiles, TreeWriter, checked_path

BLOCK_BYTES: Final = tarfile.BLOCKSIZE
READ_BYTES: Final = 128 * BLOCK_BYTES
# All that may stand between two files: a header, its long names and its pax records.
HEADER_BYTES_MAX: Final = 1 << 20
# All of an archive that is not content, where it may have no more than `FILES_MAX` files; else as much more.
HEADERS_BYTES_MAX: Final = 64 << 20
# A folder or so for every file, and some that are empty.
ENTRIES_PER_FILE_MAX: Final = 2
GZIP_MAGIC: Final = b"\x1f\x8b"
# What reading a damaged archive may end in: `tarfile` trusts the numbers in a header, and calls itself for
# each header that announces another.
UNREADABLE: Final = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
)
# What `tarfile` finds, by its letter for the type of an entry.
KINDS: Final = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


def unpack(stream: BinaryIO, writer: TreeWriter) -> None:
    """Write the files of a tar archive, plain or gzip.

    Raises `CallerFault` that names the entry or says what is wrong with the archive, `PayloadTooLarge`.
    """
    try:
        headers_bytes_max = HEADERS_BYTES_MAX * max(1, writer.files_max // FILES_MAX)
        source = _Metered(_plain(stream), headers_bytes_max)
        with tarfile.open(
            fileobj=source,  # type: ignore[call-overload]  # a stream is only ever read
            mode="r|",
            bufsize=READ_BYTES,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            _take_all(archive, source, writer)
    except UNREADABLE as error:
        raise CallerFault(f"the archive cannot be read: {error}") from error


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Metered:
    """What `tarfile` reads through: it gets no more than was allowed for the step that it is at."""

    def __init__(self, stream: _Readable, headers_bytes_max: int) -> None:
        self._stream: Final = stream
        self._headers_bytes_max: Final = headers_bytes_max
        self._last = b""
        self._position = 0
        self._content_bytes = 0
        self._allowed = HEADER_BYTES_MAX

    def allow(self, content_bytes: int) -> None:
        """Let this much content be read from now on, and the header of what comes next."""
        self._content_bytes += content_bytes
        self._allowed = content_bytes + HEADER_BYTES_MAX + READ_BYTES  # it reads ahead

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        if self._allowed <= 0 or self._position - self._content_bytes > self._headers_bytes_max:
            raise PayloadTooLarge(
                f"over {HEADER_BYTES_MAX} bytes between two files of it, or {self._headers_bytes_max} in sum"
            )
        pieces = []
        missing = size
        while missing and (piece := self._stream.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        self._last = b"".join(pieces)
        self._position += len(self._last)
        self._allowed -= len(self._last)
        return self._last

    def ends_at(self, offset: int) -> bool:
        """Whether the block at `offset`, which is in what was read last, marks the end of an archive."""
        start = offset - (self._position - len(self._last))
        return start >= 0 and self._last[start : start + BLOCK_BYTES] == bytes(BLOCK_BYTES)


class _Rejoined:
    """A stream whose first bytes have been looked at."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._stream.read(size)


def _plain(stream: BinaryIO) -> _Readable:
    head = stream.read(len(GZIP_MAGIC))
    whole = _Rejoined(head, stream)
    if head != GZIP_MAGIC:
        return whole
    return gzip.GzipFile(fileobj=whole, mode="rb")  # type: ignore[call-overload, no-any-return]  # only read from


def _take_all(archive: tarfile.TarFile, source: _Metered, writer: TreeWriter) -> None:
    entries, entries_max = 0, ENTRIES_PER_FILE_MAX * writer.files_max
    while (member := archive.next()) is not None:
        entries += 1
        if entries > entries_max:
            raise TooManyFiles(f"the archive has more than {entries_max} entries")
        source.allow(max(0, member.size))
        _take(archive, member, writer)
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep every entry to the end
        source.allow(0)
    # `tarfile` takes a damaged header and the end of the stream for the end of the archive.
    if not source.ends_at(archive.offset):
        raise CallerFault("the archive stops in the middle, or is damaged there: send it again")
    while source.read(READ_BYTES):  # gzip's checksum comes last
        pass


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, writer: TreeWriter) -> None:
    if member.isdir():
        checked_path(member.name)  # made when a file needs it: an empty folder is no content
        return
    if not member.isreg() or member.issparse() or member.size < 0:
        what = KINDS.get(member.type, "not a plain file")
        raise CallerFault(f"{member.name!r} is {what}: only files and folders are taken")
    content = archive.extractfile(member)
    assert content is not None  # a regular file has content
    writer.add(member.name, read=content.read, size_bytes=member.size, mode=member.mode)
