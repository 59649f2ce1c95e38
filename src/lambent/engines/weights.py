"""How much of a core a worker gets beside others, as the kernel lets us say it.

Each worker leads a session. Where the kernel groups tasks by session (CONFIG_SCHED_AUTOGROUP, sched(7)), the
niceness of that group is what counts: for all that the worker starts together, and to be taken back by whom
it belongs. Elsewhere it is the niceness of its processes, which only a privileged server may take back.
"""

from __future__ import annotations

import os
import resource
from enum import StrEnum
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
CAP_SYS_NICE: Final = 23
NICE_RANGE: Final = 20  # RLIMIT_NICE counts down from here: so much allows a niceness of 0


class Means(StrEnum):
    """By what workers are weighed."""

    AUTOGROUP = "autogroup"
    NICE = "nice"
    NONE = "none"  # each busy worker has the same weight, whoever it belongs to


def means(proc: Path = PROC, cgroups: Path = CGROUPS) -> Means:
    """What this machine lets this server do."""
    if _is_autogrouped(proc, cgroups):
        return Means.AUTOGROUP
    return Means.NICE if _may_take_back(proc) else Means.NONE


def weigh(pid: int, nice: int, by: Means, proc: Path = PROC) -> bool:
    """Make a worker and all of its session so nice to others. False where that has to wait, or cannot be."""
    try:
        match by:
            case Means.AUTOGROUP:
                (proc / str(pid) / "autogroup").write_text(str(nice))
            case Means.NICE:
                os.setpriority(os.PRIO_PGRP, pid, nice)
            case Means.NONE:
                return False
    except OSError:  # it has ended, or the kernel takes only ten changes a second from who is not root
        return False
    return True


def _is_autogrouped(proc: Path, cgroups: Path) -> bool:
    try:
        on = (proc / "sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
        own = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return False
    # Only tasks of the root group of the CPU controller are grouped by session.
    for line in own:
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(",") and path != "/":
            return False
        if not controllers and (cgroups / path.strip("/") / "cpu.weight").exists():
            return False
    return on


def _may_take_back(proc: Path) -> bool:
    try:
        status = (proc / "self/status").read_text()
    except OSError:
        return False
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
    return bool(held >> CAP_SYS_NICE & 1) or soft >= NICE_RANGE
