"""What the kernel says about processes in /proc: parents, children, sessions, memory."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

PROC: Final = Path("/proc")
DESCENDANTS_MAX: Final = 4096
# After the command's name, which may hold anything: state, parent, group, session.
STAT_STATE: Final = 0
STAT_PARENT: Final = 1
STAT_SESSION: Final = 3
STOPPED: Final = frozenset({"T", "t"})


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """`pss_bytes` is the proportional share, `private_bytes` what only this process maps.

    `shared_bytes` is what others map as well, counted in full; 0 where that is not known.
    """

    pss_bytes: int
    private_bytes: int
    shared_bytes: int = 0


def children_of(pid: int) -> list[int]:
    """The pids whose parent is `pid` now, zombies included; empty when there is no such process."""
    found: list[int] = []
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            found += _children_of_task(task, pid)
    except OSError:  # it has just ended
        return []
    return found


def descendants_of(pid: int) -> list[int]:
    """Everything below `pid`, parents first, at most `DESCENDANTS_MAX`."""
    found = children_of(pid)
    for child in found:  # grows while it is walked
        if len(found) >= DESCENDANTS_MAX:
            break
        found += children_of(child)
    return found[:DESCENDANTS_MAX]


def parent_of(pid: int) -> int | None:
    """The parent's pid, or None when there is no such process."""
    stat = _stat(pid)
    return int(stat[STAT_PARENT]) if stat else None


def session_of(pid: int) -> int | None:
    """The session's id, or None when there is no such process."""
    stat = _stat(pid)
    return int(stat[STAT_SESSION]) if stat else None


def is_stopped(pid: int) -> bool:
    """Whether it was stopped, by a signal or by a debugger."""
    stat = _stat(pid)
    return bool(stat) and stat[STAT_STATE] in STOPPED


def is_zombie(pid: int) -> bool:
    """Whether it has ended and waits to be reaped."""
    stat = _stat(pid)
    return bool(stat) and stat[STAT_STATE] == "Z"


def was_started_with(pid: int, assignment: str) -> bool:
    """Whether `NAME=value` was in the environment that the process, or the fork's origin, was exec'd with."""
    try:
        return assignment.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def memory_of(pid: int) -> Memory:
    """The memory of a process as the kernel counts it now; zeros when it is gone.

    Where the exact numbers are not readable, shared pages count in full.
    """
    try:
        return _from_rollup((PROC / str(pid) / "smaps_rollup").read_text())
    except OSError:
        return _from_statm(pid)


def total(memories: Iterable[Memory]) -> Memory:
    """The memory of several processes together. What two of them share counts twice in `shared_bytes`."""
    each = tuple(memories)
    return Memory(
        pss_bytes=sum(one.pss_bytes for one in each),
        private_bytes=sum(one.private_bytes for one in each),
        shared_bytes=sum(one.shared_bytes for one in each),
    )


def _from_rollup(text: str) -> Memory:
    pss = private = shared = 0
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name == "Pss":
            pss = int(rest.split()[0]) * 1024
        elif name in ("Private_Clean", "Private_Dirty", "Private_Hugetlb"):
            private += int(rest.split()[0]) * 1024
        elif name in ("Shared_Clean", "Shared_Dirty"):
            shared += int(rest.split()[0]) * 1024
    return Memory(pss_bytes=pss, private_bytes=private, shared_bytes=shared)


def _from_statm(pid: int) -> Memory:
    try:
        _, resident, shared, *_ = (PROC / str(pid) / "statm").read_text().split()
    except OSError:
        return Memory(pss_bytes=0, private_bytes=0)
    page_bytes = resource.getpagesize()
    return Memory(
        pss_bytes=int(resident) * page_bytes, private_bytes=(int(resident) - int(shared)) * page_bytes
    )


def _stat(pid: int) -> list[str]:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def _children_of_task(task: Path, pid: int) -> list[int]:
    try:
        return [int(child) for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        # Either this thread has just ended, or the kernel was built without that file.
        return _children_by_scan(pid) if task.exists() else []


def _children_by_scan(pid: int) -> list[int]:
    numbers = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())
    return [number for number in numbers if parent_of(number) == pid]
