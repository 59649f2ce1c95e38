"""Writing a tree of files that can be trusted: checked paths, hashed on the way, on disk, read-only."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, PayloadTooLarge
from lambent.wire.datasets import SEALED_NS

FILES_MAX: Final = 20_000
PATH_BYTES_MAX: Final = 1024
PART_BYTES_MAX: Final = 255  # what Linux file systems take for one name
# Above this, what was written is brought to disk all at once: a wait for each of 100,000 files takes minutes.
SYNCED_EACH_MAX: Final = 64
CHUNK_BYTES: Final = 1 << 20
# A small archive cannot fill a disk: what it holds has this size at the most, or so many times its own.
UNPACKED_FREE_BYTES: Final = 256 * 1024 * 1024
UNPACKED_RATIO_MAX: Final = 100
EXECUTABLE: Final = stat.S_IXUSR

Read = Callable[[int], bytes]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a tree: where it is, and what is in it."""

    path: str
    size_bytes: int
    sha256: str
    executable: bool


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree holds, in the order of its paths."""

    digest: str
    size_bytes: int
    entries: tuple[Entry, ...]


def manifest_of(entries: Iterable[Entry]) -> Manifest:
    """The manifest of a tree of these files. Its digest depends on nothing but them, in whatever order."""
    ordered = tuple(sorted(entries, key=lambda entry: entry.path.encode()))
    content = hashlib.sha256(b"lambent tree 1\n")
    for entry in ordered:
        # No path holds a zero byte, so two different trees are never the same text.
        mode = "x" if entry.executable else "-"
        content.update(f"{entry.path}\0{mode}\0{entry.sha256}\n".encode())
    return Manifest(
        digest=content.hexdigest(), size_bytes=sum(entry.size_bytes for entry in ordered), entries=ordered
    )


def unpacked_bytes_max(packed_bytes: int, *, bytes_max: int) -> int:
    """How much an archive of so many bytes may hold, where nothing may hold more than `bytes_max`."""
    return min(bytes_max, max(UNPACKED_FREE_BYTES, UNPACKED_RATIO_MAX * packed_bytes))


class TooManyFiles(PayloadTooLarge):
    """It has more files than one artifact may have."""


class TreeWriter:
    """Fills an empty folder with files from outside, which are not trusted."""

    def __init__(self, folder: Path, *, size_bytes_max: int | None, files_max: int = FILES_MAX) -> None:
        self._folder: Final = folder
        self._size_bytes_max: Final = size_bytes_max
        self.files_max: Final = files_max
        self._entries: Final[dict[str, Entry]] = {}
        self._size_bytes = 0

    def expect(self, files: int, size_bytes: int) -> None:
        """Raise `TooManyFiles` or `PayloadTooLarge` where so much more could not be added."""
        if len(self._entries) + files > self.files_max:
            raise TooManyFiles(f"it has {files} files, more than the {self.files_max} that may be")
        limit = self._size_bytes_max
        if limit is not None and self._size_bytes + size_bytes > limit:
            raise PayloadTooLarge(f"with {size_bytes} bytes it is over the limit of {limit} bytes unpacked")

    def add(self, name: str, *, read: Read, size_bytes: int, mode: int) -> None:
        """Write one file of `size_bytes`, which `read` gives in pieces; of `mode` only "executable" stays.

        Raises `CallerFault` for a path that leaves the tree or is there already, `PayloadTooLarge`.
        """
        path = checked_path(name)
        if not path:
            raise CallerFault(f"{name!r} is the folder itself, it cannot be a file")
        self._check_room(path, size_bytes)
        target = self._folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise CallerFault(f"{path!r} occurs twice, or is both a file and a folder") from error
        executable = bool(mode & EXECUTABLE)
        try:
            sha256 = _copy(read, file, path, size_bytes)
            os.fchmod(file, 0o555 if executable else 0o444)
            os.utime(file, ns=(SEALED_NS, SEALED_NS))
            if len(self._entries) < SYNCED_EACH_MAX:
                os.fsync(file)
        finally:
            os.close(file)
        self._entries[path] = Entry(path=path, size_bytes=size_bytes, sha256=sha256, executable=executable)
        self._size_bytes += size_bytes

    def each(self, do: Callable[[Path, Entry], None]) -> None:
        """Call `do` for each file that was added. It may put an equal one in its place."""
        for path, entry in self._entries.items():
            do(self._folder / path, entry)

    def seal(self) -> Manifest:
        """Make the folders read-only, bring them to disk, say what is there: if nothing, `CallerFault`.

        The outermost folder stays writable, as it could not be moved otherwise: its owner locks it when
        it is in its place.
        """
        if not self._entries:
            raise CallerFault("it holds no files")
        many = len(self._entries) > SYNCED_EACH_MAX
        for folder, _, _ in os.walk(self._folder, topdown=False):
            if folder != str(self._folder):
                Path(folder).chmod(0o555)
            if not many:
                sync_folder(Path(folder))
        if many:
            os.sync()
        return manifest_of(self._entries.values())

    def _check_room(self, path: str, size_bytes: int) -> None:
        if len(self._entries) >= self.files_max:
            raise TooManyFiles(f"more than {self.files_max} files, {path!r} is one too many")
        limit = self._size_bytes_max
        if limit is not None and self._size_bytes + size_bytes > limit:
            raise PayloadTooLarge(
                f"with {path!r} ({size_bytes} bytes) it is over the limit of {limit} bytes unpacked"
            )


def checked_path(name: str) -> str:
    """A relative path in its shortest form, empty for the folder itself. `CallerFault` names a bad one."""
    if name.startswith("/"):
        raise CallerFault(f"{name!r} is an absolute path: only paths inside the tree are taken")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise CallerFault(f"{name!r} leads out of the tree: '..' is not taken")
    try:
        longest = max((len(part.encode()) for part in parts), default=0)
    except UnicodeEncodeError as error:
        raise CallerFault(f"{name!r} is not UTF-8: rename the file") from error
    path = "/".join(parts)
    if "\0" in path:
        raise CallerFault(f"{name!r} holds a zero byte: rename the file")
    if longest > PART_BYTES_MAX or len(path.encode()) > PATH_BYTES_MAX:
        raise CallerFault(
            f"{name[:80]!r}… is too long: {PART_BYTES_MAX} bytes a name, {PATH_BYTES_MAX} a path are taken"
        )
    return path


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a tree although its folders are read-only. Harmless where there is none."""
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _copy(read: Read, file: int, path: str, size_bytes: int) -> str:
    """Copy exactly `size_bytes` and return their SHA-256 in hex."""
    content = hashlib.sha256()
    left = size_bytes
    while left:
        chunk = read(min(left, CHUNK_BYTES))
        if not chunk:
            raise CallerFault(f"{path!r} ends {left} bytes early")
        content.update(chunk)
        _write(file, chunk)
        left -= len(chunk)
    return content.hexdigest()


def _write(file: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]
