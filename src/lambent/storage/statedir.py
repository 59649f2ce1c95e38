"""The state directory: one server at a time, and the file that tells clients where it is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import Conflict, PlatformFault

ABOUT: Final = "server.json"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and what opens it. `grpc_url` is empty while there is no such door."""

    url: str
    grpc_url: str
    pid: int
    api_key: str
    access_key_id: str
    secret_access_key: str


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


@contextmanager
def announced(folder: Path, about: About) -> Iterator[Path]:
    """Let clients find the server while the block runs. The file is whole or not there, its owner's alone."""
    path = folder / ABOUT
    unfinished = folder / f"{ABOUT}.new"
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(about)))
    unfinished.replace(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
