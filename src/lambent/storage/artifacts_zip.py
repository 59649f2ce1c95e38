"""Reading a zip archive that is not trusted, in bounded memory.

`zipfile` reads the format; this file decides what is taken from it. No more is read of an entry than it says
of its size, and all sizes together are bounded: a small archive cannot fill a disk.
"""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from typing import BinaryIO, Final

from lambent.core.errors import CallerFault, PayloadTooLarge
from lambent.storage.artifacts_tree import FILES_MAX, TreeWriter, checked_path

ENTRIES_MAX: Final = 2 * FILES_MAX
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
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            if len(entries) > ENTRIES_MAX:
                raise PayloadTooLarge(f"the archive has more than {ENTRIES_MAX} entries")
            for entry in entries:
                _take(archive, entry, writer)
    except UNREADABLE as error:
        raise CallerFault(f"the archive cannot be read: {error}") from error


def _take(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, writer: TreeWriter) -> None:
    if entry.is_dir():
        checked_path(entry.filename)  # made when a file needs it: an empty folder is no content
        return
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise CallerFault(f"{entry.filename!r} is not a plain file: only files and folders are taken")
    with archive.open(entry) as content:
        writer.add(entry.filename, read=content.read, size_bytes=entry.file_size, mode=mode)
