"""`doctor`: is this machine fit, is the server well?"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import COLORS, emit_json, one_line, size
from lambent.cli.progress import Progress
from lambent.core.errors import LambentError
from lambent.settings import default_state_dir
from lambent.wire.api import CheckState, CheckView

PYTHON_MIN: Final = (3, 11)
MEMORY_BYTES_MIN: Final = 2**30
DISK_BYTES_MIN: Final = 2**30
OK, DEGRADED, FAILED = CheckState


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Check this machine and the server.

    Works without a server, too. Exits with 1 where a check failed.
    """
    with Progress("looking around"):
        checks = [*_of_this_machine(), *_of_the_server()]
    if as_json:
        emit_json(checks)
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            state = click.style(check.state.ljust(len(DEGRADED)), fg=COLORS.get(check.state))
            click.echo(f"{state}  {check.name.ljust(width)}  {one_line(check.detail)}")
    if any(check.state is FAILED for check in checks):
        raise click.exceptions.Exit(1)


def _of_this_machine() -> Iterator[CheckView]:
    checks: list[Callable[[], CheckView]] = [_python, _system, _memory, _cgroup, _disk]
    for check in checks:
        yield check()
    yield _package("onnxruntime", "serve .onnx models, and .keras models fast", "onnx")
    yield _package("keras", "train and serve .keras models", "keras")
    yield _package("tensorflow", "run Keras", "keras", ["tensorflow", "tensorflow-cpu"])
    yield _package("torch", "serve .pt2 programs, and map .pt and .safetensors weights", "torch")


def _of_the_server() -> Iterator[CheckView]:
    from lambent.client.errors import NoServer

    try:
        with connect() as client:
            found = client.doctor()
            yield CheckView("server", OK, f"answers at {client.url}")
    except NoServer as error:
        # A machine where nothing was started yet is not broken.
        yield CheckView("server", DEGRADED, error.message)
    except LambentError as error:
        yield CheckView("server", FAILED, error.message)
    else:
        yield from (CheckView(f"server: {one.name}", one.state, one.detail) for one in found)


def _python() -> CheckView:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        return CheckView("python", FAILED, f"{version}; needs {'.'.join(map(str, PYTHON_MIN))} or newer")
    return CheckView("python", OK, f"{version}, {sys.executable}")


def _system() -> CheckView:
    missing = [name for name in ("fork", "pidfd_open") if not hasattr(os, name)]
    if missing:
        return CheckView(
            "system", FAILED, f"{sys.platform} has no {', '.join(missing)}: the server needs Linux"
        )
    return CheckView("system", OK, f"{sys.platform}, {len(os.sched_getaffinity(0))} CPUs to use")


def _memory() -> CheckView:
    import psutil

    memory = psutil.virtual_memory()
    state = OK if memory.available >= MEMORY_BYTES_MIN else DEGRADED
    return CheckView("memory", state, f"{size(memory.available)} of {size(memory.total)} available")


def _cgroup() -> CheckView:
    limit = _memory_limit()
    if limit is None:
        return CheckView("cgroup", OK, "sets no memory limit")
    state = OK if limit >= MEMORY_BYTES_MIN else DEGRADED
    return CheckView("cgroup", state, f"limits this process to {size(limit)}")


def _memory_limit() -> int | None:
    """The memory limit of this process's own cgroup, version 2 or 1, or None."""
    try:
        own = Path("/proc/self/cgroup").read_text("ascii").rpartition("::")[2].strip().lstrip("/")
    except (OSError, UnicodeDecodeError):
        return None
    root = Path("/sys/fs/cgroup")
    for file in (root / own / "memory.max", root / "memory.max", root / "memory/memory.limit_in_bytes"):
        try:
            text = file.read_text("ascii").strip()
        except OSError:
            continue
        # Version 1 says "no limit" with a number that no machine has.
        return int(text) if text.isdecimal() and int(text) < 2**60 else None
    return None


def _disk() -> CheckView:
    folder = default_state_dir(os.environ).expanduser()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return CheckView("state directory", FAILED, f"{there} cannot be written to")
    state = OK if free >= DISK_BYTES_MIN else DEGRADED
    return CheckView("state directory", state, f"{folder}, {size(free)} free")


def _package(name: str, purpose: str, extra: str, distributions: list[str] | None = None) -> CheckView:
    for distribution in distributions or [name]:
        try:
            return CheckView(name, OK, metadata.version(distribution))
        except metadata.PackageNotFoundError:
            continue
    return CheckView(name, DEGRADED, f"not installed, needed to {purpose}: pip install 'lambent[{extra}]'")
