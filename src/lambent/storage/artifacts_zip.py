"""Reading a zip archive that is not trusted, in bounded memory.

`zipfile` reads the format; this file decides what is taken from it. No more is read of an entry than it says
of its size, and all sizes together are bounded: a small archive cannot fill a disk.
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import zipfile
import zlib
from typing import BinaryIO, Final

from lambent.core.errors import CallerFault
from lambent.storage.artifacts_tree import FILES_MAX, TooManyFiles, TreeWriter, checked_path

ENTRIES_MAX: Final = 2 * FILES_MAX
# The format's list of entries (APPNOTE 6.3, sections 4.3.12, 4.3.14 and 4.3.15), and where it stands in what
# `zipfile` finds at an archive's end.
ENTRY: Final = struct.Struct("<4s24xHHH12x")
ENTRY_MAGIC: Final = b"PK\x01\x02"
END_64_MAGIC: Final = b"PK\x06\x06"
ENDS_64_BYTES: Final = 56 + 20
LIST_BYTES, END_POSITION = 5, 9
# What reading a damaged archive may end in.
UNREADABLE: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a way of compression, or an encryption, that `zipfile` does not know
    OverflowError,
    RuntimeError,  # a password
    UnicodeDecodeError,
    ValueError,
)


def unpack_zip(stream: BinaryIO, writer: TreeWriter) -> None:
    """Write the files of a zip archive.

    Raises `CallerFault` that names the entry or says what is wrong with the archive, `PayloadTooLarge`.
    """
    try:
        _count_entries(stream)
        with zipfile.ZipFile(stream) as archive:
            files = [entry for entry in archive.infolist() if not entry.is_dir()]
            # By what it says of itself, before anything is written.
            writer.expect(len(files), sum(entry.file_size for entry in files))
            for entry in archive.infolist():
                _take(archive, entry, writer)
    except UNREADABLE as error:
        raise CallerFault(f"the archive cannot be read: {error}") from error


def _count_entries(stream: BinaryIO) -> None:
    """Before `zipfile` makes an object of each. Raises `TooManyFiles`."""
    end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]  # noqa: SLF001 - as `ZipFile` itself
    if not end:
        return
    left = end[LIST_BYTES]
    behind = ENDS_64_BYTES if end[0] == END_64_MAGIC else 0
    stream.seek(max(0, end[END_POSITION] - behind - left))
    for _ in range(ENTRIES_MAX):
        head = stream.read(ENTRY.size) if left > 0 else b""
        if len(head) < ENTRY.size:
            return
        magic, *lengths = ENTRY.unpack(head)
        if magic != ENTRY_MAGIC:
            return  # `ZipFile` says what is wrong with it
        stream.seek(sum(lengths), io.SEEK_CUR)
        left -= ENTRY.size + sum(lengths)
    if left > 0:
        raise TooManyFiles(f"the archive has more than {ENTRIES_MAX} entries")


def _take(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, writer: TreeWriter) -> None:
    if entry.is_dir():
        checked_path(entry.filename)  # made when a file needs it: an empty folder is no content
        return
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise CallerFault(f"{entry.filename!r} is not a plain file: only files and folders are taken")
    with archive.open(entry) as content:
        writer.add(entry.filename, read=content.read, size_bytes=entry.file_size, mode=mode)
