"""A disk that runs full, for real: a small tmpfs where we may mount one, else a limit on file sizes."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOM_BYTES_MIN = 64 * 1024


@contextmanager
def small_disk(folder: Path, *, room_bytes: int) -> Iterator[Path]:
    """A folder in which at most about `room_bytes` can be written, in files of any number.

    Where mounting is not permitted, no single file of this process grows beyond `room_bytes` meanwhile; the
    error is then EFBIG in place of ENOSPC.
    """
    folder.mkdir()
    mounted = _run(
        "mount", "-t", "tmpfs", "-o", f"size={max(room_bytes, ROOM_BYTES_MIN)}", "tmpfs", str(folder)
    )
    if not mounted:
        with _small_files(room_bytes):
            yield folder
        return
    try:
        yield folder
    finally:
        # Lazily: a file that the test left open must not keep the mount for the rest of the run.
        _run("umount", "--lazy", str(folder))


def fill(folder: Path, *, leave_bytes: int = 0) -> None:
    """Write a file until the disk is full, then give `leave_bytes` back. For a mounted disk only."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - leave_bytes))


def is_mounted(folder: Path) -> bool:
    """Whether `small_disk` could mount one here."""
    return folder.is_mount()


@contextmanager
def _small_files(size_bytes_max: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes_max, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
