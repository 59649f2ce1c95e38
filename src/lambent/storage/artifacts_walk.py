"""Reading a folder that somebody else wrote, without being led out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from lambent.core.errors import CallerFault
from lambent.storage.artifacts_tree import Read

# Not blocking: a pipe that took a file's place between the look and the opening must not hold us.
OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OpenFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file below a folder, open until the next one is asked for. `path` is relative to the folder."""

    path: str
    size_bytes: int
    mode: int
    read: Read


def files_in(folder: Path) -> Iterator[OpenFile]:
    """Every file of a tree. Raises `CallerFault` that names what is neither file nor folder.

    Folders are walked by descriptor: one that is swapped for a link meanwhile is not followed.
    """
    top = folder.resolve(strict=True)
    for root, folders, names, descriptor in os.fwalk(top, follow_symlinks=False, onerror=_fail):
        inside = Path(root).relative_to(top)
        for name in folders:
            path = (inside / name).as_posix()
            _check(os.stat(name, dir_fd=descriptor, follow_symlinks=False), path, stat.S_ISDIR)
        for name in names:
            with _opened(name, (inside / name).as_posix(), descriptor) as file:
                yield file


@contextmanager
def _opened(name: str, path: str, folder: int) -> Iterator[OpenFile]:
    _check(os.stat(name, dir_fd=folder, follow_symlinks=False), path, stat.S_ISREG)
    descriptor = os.open(name, OPEN_FLAGS, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        _check(found, path, stat.S_ISREG)
        yield OpenFile(
            path=path, size_bytes=found.st_size, mode=found.st_mode, read=partial(os.read, descriptor)
        )
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, path: str, wanted: Callable[[int], bool]) -> None:
    if wanted(found.st_mode):
        return
    what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a plain file"
    raise CallerFault(f"{path!r} is {what}: only files and folders are taken")


def _fail(error: OSError) -> NoReturn:
    raise error
