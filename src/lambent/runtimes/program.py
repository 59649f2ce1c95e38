"""A foreign program as the child of its worker: started, seen to end, told to leave."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from lambent.clock import cpu_ns_of
from lambent.runtimes.faults import Fault, ProgramEnded

PR_SET_PDEATHSIG: Final = 1
STATUS_BYTES_MAX: Final = 4096
# From SIGTERM until SIGKILL: what AWS Lambda gives a function with an internal extension.
LEAVE_S: Final = 0.5
LATE: Final = "Sandbox.Timedout"

_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl


class Reach(StrEnum):
    """Who is told to leave."""

    ITSELF = "itself"
    GROUP = "group"  # all that it has started as well: it leads a process group of its own


class Program:
    """One process, from its start on. It dies with this one, whatever happens to this one.

    What it prints goes where this process prints. `on_end` is told how it ended, once.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        pass_fds: Sequence[int] = (),
        reach: Reach = Reach.ITSELF,
        leave_s: float = LEAVE_S,
    ) -> None:
        """Start it. Raises `Fault` where the kernel cannot run it."""
        self._loop: Final = asyncio.get_running_loop()
        self._reach: Final = reach
        self._leave_s: Final = leave_s
        self._on_end: Callable[[ProgramEnded], None] | None = None
        self._ended: Final = asyncio.Event()
        with contextlib.ExitStack() as undo:
            try:
                self._child: Final = _started(command, environ, pass_fds, reach)
                undo.callback(_end, self._child)
                self._pidfd: Final = os.pidfd_open(self._child.pid)
                undo.callback(os.close, self._pidfd)
                self._status_fd: Final = os.open(f"/proc/{self._child.pid}/status", os.O_RDONLY)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                why = f"{command[0]} cannot be run: {_why(error)}"
                raise Fault("Runtime.InvalidEntrypoint", why) from error
            undo.pop_all()
        self._loop.add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """Its number, and, where it leads one, that of its group."""
        return self._child.pid

    def watch(self, on_end: Callable[[ProgramEnded], None]) -> None:
        """Call `on_end` when it has ended."""
        self._on_end = on_end

    async def leave(self) -> None:
        """Tell it to leave, and see to it that it does."""
        if not self._ended.is_set():
            self._tell(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._leave_s):
                    await self._ended.wait()
        self.kill()
        await self._ended.wait()
        os.close(self._status_fd)

    def kill(self) -> None:
        """End it now."""
        if not self._ended.is_set():  # while it is not reaped, no other group has its number
            self._tell(signal.SIGKILL)

    def cpu_ns(self) -> int:
        """CPU time that it has used, without that of its own children."""
        return cpu_ns_of(self._child.pid)

    def rss_bytes_max(self) -> int:
        """The most memory that it has had, without that of its own children."""
        try:
            status = os.pread(self._status_fd, STATUS_BYTES_MAX, 0)
        except OSError:  # it has gone
            return 0
        return rss_bytes_max_in(status)

    def _tell(self, number: signal.Signals) -> None:
        if self._reach is Reach.ITSELF:
            self._child.send_signal(number)
            return
        with contextlib.suppress(ProcessLookupError):  # nobody of it is left
            os.killpg(self._child.pid, number)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._child.wait()
        self._ended.set()
        if self._on_end is not None:
            self._on_end(ProgramEnded(code))


@contextlib.asynccontextmanager
async def awaited(
    timeout_s: float, *, stop: Callable[[], Awaitable[None]], late: Callable[[], str]
) -> AsyncIterator[None]:
    """Whoever waits inside for a program to be ready has it stopped where that fails, or takes too long.

    Raises `Fault` in the words of `late` after `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        await stop()
        raise Fault(LATE, late()) from None
    except BaseException:
        await stop()
        raise


def rss_bytes_max_in(status: bytes) -> int:
    """The most memory that a process has had, from its /proc/PID/status; 0 for one that has ended."""
    _, _, rest = status.partition(b"VmHWM:")
    return int(rest.split(None, 1)[0]) * 1024 if rest else 0


def _started(
    command: Sequence[str], environ: Mapping[str, str], pass_fds: Sequence[int], reach: Reach
) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    return subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        pass_fds=pass_fds,
        process_group=0 if reach is Reach.GROUP else None,
        preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - one thread, and nothing is imported
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _die_with(parent: int) -> None:
    """In the child: be killed when its worker dies."""
    _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        hint = "; a script begins with #! and its interpreter" if error.errno == 8 else ""
        return f"{error.strerror}{hint}"
    return str(error)
