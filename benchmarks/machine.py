"""The machine that the figures are from, in one line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

PEERS: Final = (
    "fastapi",
    "uvicorn",
    "uvloop",
    "onnxruntime",
    "keras",
    "tensorflow-cpu",
    "tensorflow",
    "torch",
)


def describe() -> Mapping[str, object]:
    """Cores, processor, interpreter, load average and the versions of what is compared."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "versions": dict(_versions(PEERS)),
    }


def in_words(machine: Mapping[str, object]) -> str:
    """`describe` for a reader."""
    versions = machine["versions"]
    assert isinstance(versions, dict)
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, "
        f"Python {machine['python']}, "
        f"load average {machine['load_average_1min']} before the first measurement; {peers}"
    )


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    for package in packages:
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
