"""What a process and its descendants use, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import psutil

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PROC: Final = Path("/proc")


def tree(pid: int) -> Sequence[int]:
    """The process and every process below it."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used so far, to 10 ms each. The dead count nothing."""
    return sum(map(_cpu_s, pids))


def cpu_s_ever(pid: int) -> float:
    """CPU seconds of the process and all below it, those included that have ended and were waited for."""
    return sum(_cpu_s(one, fields=4) for one in tree(pid))


def pss_bytes(pid: int) -> int:
    """The proportional share of memory of one process, 0 where it is gone."""
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = (line.split() for line in rollup.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "Pss:"), 0)


def tree_pss_bytes(pid: int) -> int:
    """The memory of a process and of all below it."""
    return sum(map(pss_bytes, tree(pid)))


def _cpu_s(pid: int, *, fields: int = 2) -> float:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # The command's name stands in parentheses and may hold spaces; utime and stime are fields 14 and 15, and
    # those of children that were waited for 16 and 17.
    counts = stat.rpartition(")")[2].split()[11 : 11 + fields]
    return sum(map(int, counts)) / TICKS_PER_S
