"""May this process be forked? It looks at itself and says in a sentence each what speaks against it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import msgspec

DEVICES: Final = ("/dev/nvidia", "/dev/kfd", "/dev/dri/")
STANDARD: Final = frozenset({0, 1, 2})


class OpenFile(msgspec.Struct, frozen=True):
    """One descriptor: what the kernel calls its target, and how it was opened."""

    fd: int
    target: str
    mode: int
    flags: int


def reasons(own_fds: Collection[int]) -> tuple[str, ...]:
    """Why a fork of this process would not be safe; empty where it is. `own_fds` are ours to know about."""
    open_files = [file for file in _open_files() if file.fd not in STANDARD and file.fd not in own_fds]
    of_files = (reason for file in open_files if (reason := _of_file(file)))
    return (*_of_threads(), *of_files, *_of_children())


def _of_threads() -> Iterator[str]:
    """A fork has only the thread that forks: locks that others hold stay locked for ever."""
    threading = sys.modules.get("threading")
    named = {thread.native_id: thread.name for thread in threading.enumerate()} if threading else {}
    for task in sorted(map(int, _names("/proc/self/task"))):
        if task != os.getpid():
            comm = _read(f"/proc/self/task/{task}/comm").strip()
            yield f"a thread is running: {named.get(task, comm)}"


def _of_file(file: OpenFile) -> str | None:
    """Forks share a descriptor with its position, and both ends of a conversation."""
    where = f"(descriptor {file.fd})"
    if stat.S_ISSOCK(file.mode):
        return f"a socket is open{_peer(file.fd)} {where}"
    if stat.S_ISFIFO(file.mode):
        return f"a pipe is open {where}"
    if file.target.startswith("anon_inode:"):
        return f"{file.target.removeprefix('anon_inode:')} is open, as of an event loop {where}"
    if file.target.startswith(DEVICES):
        return f"a GPU is in use: {file.target} {where}"
    if stat.S_ISREG(file.mode) and file.flags & os.O_ACCMODE != os.O_RDONLY:
        return f"a file is open for writing: {file.target} {where}"
    return None


def _of_children() -> Iterator[str]:
    for task in _names("/proc/self/task"):
        for child in _read(f"/proc/self/task/{task}/children").split():
            yield f"a child process is running: {_read(f'/proc/{child}/comm').strip()} (pid {child})"


def _open_files() -> Iterator[OpenFile]:
    for name in sorted(_names("/proc/self/fd"), key=int):
        try:
            target = str(Path(f"/proc/self/fd/{name}").readlink())
            mode = os.fstat(int(name)).st_mode
            flags = int(_read(f"/proc/self/fdinfo/{name}").split("flags:")[1].split()[0], 8)
        except (OSError, IndexError):
            continue  # the descriptor of this very listing
        yield OpenFile(int(name), target, mode, flags)


def _peer(fd: int) -> str:
    import socket

    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            address = copy.getpeername()
    except OSError:
        return ""
    return f" to {address[0]}:{address[1]}" if isinstance(address, tuple) else f" to {address or 'a process'}"


def _names(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
