"""A program and all that it has started: what they use together."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from lambent.clock import Clock, cpu_ns_of
from lambent.runtimes.program import rss_bytes_max_in

# How old the list of its processes may be: a call that begins sooner is not metered on those that are newer.
LOOK_S: Final = 0.25
WEIGH_S: Final = 0.5
PROCESSES_MAX: Final = 1024
CUTIME, CSTIME = 13, 14  # of the words of /proc/PID/stat, behind the command's name
TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Tree:
    """The processes below one, that one among them, as they were seen last."""

    def __init__(self, root: int, clock: Clock) -> None:
        self._root: Final = root
        self._clock: Final = clock
        self._looked_s = float("-inf")
        self._cpu_ns: dict[int, int] = {}  # of each that runs, when last read
        self._children_ns = 0  # of the children that these have waited for
        self._most_ns = 0
        self._rss_bytes_max = 0

    def cpu_ns(self) -> int:
        """CPU time of all of them until now, and of those that they have waited for. It never goes back."""
        self._look()
        for pid, before in self._cpu_ns.items():
            self._cpu_ns[pid] = max(before, cpu_ns_of(pid))
        self._most_ns = max(self._most_ns, self._children_ns + sum(self._cpu_ns.values()))
        return self._most_ns

    def rss_bytes_max(self) -> int:
        """The most memory that those had which were seen at once; what two of them share is counted twice."""
        self._look()
        return self._rss_bytes_max

    def pids(self) -> Sequence[int]:
        """All of them now, the first before those that it has started."""
        found = [self._root]
        for pid in found:  # grows while it is walked
            found += _children_of(pid)
            if len(found) >= PROCESSES_MAX:
                break
        return found[:PROCESSES_MAX]

    def _look(self) -> None:
        now_s = self._clock.now_s()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        pids = self.pids()
        self._cpu_ns = {pid: self._cpu_ns.get(pid, 0) for pid in pids}
        self._children_ns = sum(map(_children_ns_of, pids))
        self._rss_bytes_max = max(self._rss_bytes_max, sum(map(_rss_bytes_max_of, pids)))


async def outgrown(tree: Tree, bytes_max: int) -> int:
    """Wait until its processes have more memory of their own than this together, and say how much.

    The kernel holds each of them to its limit; what several have together it counts for nobody without root.
    """
    while True:
        await asyncio.sleep(WEIGH_S)
        pids = tree.pids()
        # What a fork shares with its parent counts in both of the first, and in parts in the second, which
        # takes milliseconds for a large process.
        if len(pids) > 1 and _sum_of("status", b"RssAnon:", pids) > bytes_max:
            own_bytes = _sum_of("smaps_rollup", b"Pss_Anon:", pids)
            if own_bytes > bytes_max:
                return own_bytes


def _sum_of(file: str, name: bytes, pids: Iterable[int]) -> int:
    found = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            _, _, rest = Path(f"/proc/{pid}/{file}").read_bytes().partition(name)
            found += int(rest.split(None, 1)[0]) * 1024 if rest else 0
    return found


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:  # it, or one of its threads, has just ended
        pass
    return found


def _children_ns_of(pid: int) -> int:
    """CPU time of the children that it has waited for, and of theirs: `cutime` and `cstime` of proc(5)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(words[CUTIME]) + int(words[CSTIME])) * TICK_NS


def _rss_bytes_max_of(pid: int) -> int:
    try:
        return rss_bytes_max_in(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return 0
