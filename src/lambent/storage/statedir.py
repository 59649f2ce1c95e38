"""The state directory: one server at a time, and the private files that it keeps there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import Conflict, PlatformFault, StorageBroken, StorageFull
from lambent.settings import SERVER_FILE
from lambent.storage.artifacts_tree import sync_folder
from lambent.wire.api import ServerFile

MASTER_BYTES: Final = 32


@contextmanager
def owned(folder: Path) -> Iterator[Path]:
    """Hold the directory for this process; it is made where there is none, readable to its owner alone.

    Raises `Conflict` where another server holds it, `PlatformFault` where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PlatformFault(f"cannot use the state directory {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Conflict(
            f"a server runs already on {folder}: stop it, or take another with --state-dir"
        ) from None
    try:
        yield folder
    finally:
        os.close(descriptor)


def announce(folder: Path, about: ServerFile) -> Path:
    """Let clients find the server: a whole file or none, its owner's alone. Raises `StorageFull`."""
    path = folder / SERVER_FILE
    write_private(path, msgspec.json.format(msgspec.json.encode(about)))
    return path


@contextmanager
def withdrawn(folder: Path) -> Iterator[None]:
    """Let nobody find the server any more when the block has run."""
    try:
        yield
    finally:
        # On a disk that has failed meanwhile the file stays: it names a process that is gone.
        with suppress(OSError):
            (folder / SERVER_FILE).unlink(missing_ok=True)


def load_master(path: Path) -> bytes:
    """The server's master key, made at first start. Raises `StorageFull` and `StorageBroken`."""
    try:
        master = path.read_bytes()
    except FileNotFoundError:
        master = os.urandom(MASTER_BYTES)
        write_private(path, master)
    if len(master) != MASTER_BYTES:
        raise StorageBroken(
            f"{path} has {len(master)} bytes, not {MASTER_BYTES}: restore it, or delete it for new keys"
        )
    return master


def write_private(path: Path, content: bytes) -> None:
    """Write a file for its owner alone: under its name it is whole and on disk, or as it was before.

    Raises `StorageFull`.
    """
    unfinished = path.with_name(f"{path.name}.new")
    try:
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageFull(f"cannot write {path}: {error.strerror}") from error
