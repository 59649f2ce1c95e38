"""What a fresh process does to itself before it runs user code: parent, limits, signals, surroundings."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Final

from lambent.runtimes.context import environment
from lambent.wire.process import RevisionPlan

PR_SET_PDEATHSIG: Final = 1
FDS_MAX: Final = 4096
# Our own descriptors lie above those that user code gets, so that a loop of close() over low numbers
# misses them and a new file never takes the number of one that was closed.
OWN_FDS_FROM: Final = 1000
# What a process that has run out of memory may still use, to say so.
RESERVE_BYTES: Final = 16 * 1024 * 1024
STATM_BYTES_MAX: Final = 256  # seven numbers
# Read by libraries when they are loaded. A template must stay single-threaded to be forked, and ONNX
# Runtime's telemetry is a thread and a database in the user's home.
TEMPLATE_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "MKL_NUM_THREADS": "1",
        "NUMEXPR_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
)
ORPHANED: Final = 64

# Made ready here, once: a fork would otherwise spend 0.3 ms on it before anything else.
_libc: Final = ctypes.CDLL(None, use_errno=True)
_prctl: Final = _libc.prctl


def die_with(parent: int) -> None:
    """Be killed when `parent` dies; exit at once where it is dead already."""
    if _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        os._exit(ORPHANED)


def start_template() -> None:
    """What the first process of an environment does, before it imports anything: its forks inherit it."""
    _close_inherited()
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    for name, value in TEMPLATE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.flags.safe_path:
        del sys.path[0]  # `-m` put the server's working directory there
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # The server decides when a template ends, by closing its socket; until then it outlives a Ctrl-C in the
    # server's terminal and the service manager's SIGTERM to all, so that workers can finish. Handlers that do
    # nothing and not SIG_IGN, because programs that user code starts would inherit that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ignore)
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_NOFILE, FDS_MAX)


def own(fd: int) -> int:
    """`fd` under a number that user code does not get, closed on exec; the old number is free."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, min(OWN_FDS_FROM, soft - 8))
    os.close(fd)
    return high


def enter(plan: RevisionPlan) -> None:
    """Make the revision's surroundings this process's: variables, folder, import path."""
    os.environ.update(environment(plan))
    time.tzset()  # times are local ones, as on AWS: in UTC, unless its owner says otherwise
    if plan.work_dir and "TMPDIR" not in plan.env:
        os.environ["TMPDIR"] = plan.work_dir
    if tempfile := sys.modules.get("tempfile"):
        vars(tempfile)["tempdir"] = None  # or it keeps what it found before
    sys.dont_write_bytecode = True  # an artifact is what its digest says, and nothing is added to it
    if plan.code_dir:
        os.chdir(plan.code_dir)
        sys.path[:0] = [plan.code_dir, *layered_paths(plan.layer_dirs)]


def layered_paths(folders: Iterable[str]) -> list[str]:
    """Where AWS looks for Python in layers, as far as it is there."""
    major, minor = sys.version_info[:2]
    under = (f"python/lib/python{major}.{minor}/site-packages", "python")
    return [str(path) for folder in folders for name in under if (path := Path(folder, name)).is_dir()]


def limit_memory(plan: RevisionPlan, *, mapped_bytes: int, for_good: bool) -> None:
    """Allow `memory_bytes` beyond what the process has; more raises `MemoryError`.

    The kernel counts private writable memory, shared or not yet touched, so what the template loaded is in
    the base, and the `mapped_bytes` of a model that is still to be mapped are added: nobody pays for those.
    `for_good` also lowers what the limit may be raised to; a template leaves that to its workers.
    """
    limit = _data_bytes() + mapped_bytes + plan.memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = limit + RESERVE_BYTES
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (min(limit, ceiling), ceiling if for_good else hard))


def open_reserve() -> None:
    """After a `MemoryError`: room to say so."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def give_memory_back() -> None:
    """Return what was freed to the system, where the C library knows how: no fork needs it."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def ignore(_: int, __: FrameType | None) -> None:
    """A signal's handler that does nothing."""


def lived_ms() -> float:
    """Milliseconds since the kernel started this program; it counts in ticks of 10."""
    stat = Path("/proc/self/stat").read_text()
    started_ticks = int(stat.rpartition(")")[2].split()[19])
    started_s = started_ticks / os.sysconf("SC_CLK_TCK")
    return max(0.0, (time.clock_gettime(time.CLOCK_BOOTTIME) - started_s) * 1e3)


def _close_inherited() -> None:
    """Close what the server's exec may have leaked. Called with our own control descriptor moved up."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.closerange(3, min(OWN_FDS_FROM, soft - 8))


def _data_bytes() -> int:
    # A bare descriptor: each wake waits for this, and a path and a text file are objects by the dozen.
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        pages = int(os.read(statm, STATM_BYTES_MAX).split()[5])
    finally:
        os.close(statm)
    return pages * resource.getpagesize()


def _bound(limit: int, most: int) -> None:
    _, hard = resource.getrlimit(limit)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most))
