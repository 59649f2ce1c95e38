"""How much memory this machine has for us."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_CGROUPS: Final = Path("/proc/self/cgroup")


def memory_bytes(*, cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """The machine's memory, or the least that a control group around this process allows."""
    return min([int(psutil.virtual_memory().total), *_limits(cgroups, own)])


def _limits(cgroups: Path, own: Path) -> list[int]:
    """The limits from the process's own group up. Of both versions: one of them is not there."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
        inner = root / path.lstrip("/")
        folders = (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))
        limits += (limit for folder in folders if (limit := _limit(folder / name)) is not None)
    return limits


def _limit(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # not there; "max"
        return None
