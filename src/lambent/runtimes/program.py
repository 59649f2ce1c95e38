"""A foreign program as the child of its worker: started, seen to end, told to leave."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lambent.clock import cpu_ns_of
from lambent.runtimes.faults import Fault, ProgramEnded
from lambent.runtimes.lambda_api.telemetry import Telemetry

PR_SET_PDEATHSIG: Final = 1
READ_BYTES: Final = 64 * 1024
STATUS_BYTES_MAX: Final = 4096
READS_MAX: Final = 16  # at once: what logs without end must not keep its own answer from being read
LOG_FD: Final = 1
TELEMETRY_FD: Final = "_LAMBDA_TELEMETRY_LOG_FD"
# From SIGTERM until SIGKILL: what AWS Lambda gives a function with an internal extension.
LEAVE_S: Final = 0.5

_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl


class Program:
    """One process, from its start on. It dies with this one, whatever happens to this one.

    What it prints goes where this process prints, and so does what it writes to its telemetry descriptor.
    `on_end` is told how it ended, once.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it. Raises `Fault` where the kernel cannot run it."""
        self._loop: Final = asyncio.get_running_loop()
        self._telemetry: Final = Telemetry()
        self._on_end: Callable[[ProgramEnded], None] | None = None
        self._ended: Final = asyncio.Event()
        with contextlib.ExitStack() as undo:
            try:
                self._frames_fd, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                undo.callback(os.close, self._frames_fd)
                self._child: Final = _started(command, environ, writing)
                undo.callback(_end, self._child)
                self._pidfd: Final = os.pidfd_open(self._child.pid)
                undo.callback(os.close, self._pidfd)
                self._status_fd: Final = os.open(f"/proc/{self._child.pid}/status", os.O_RDONLY)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                why = f"{command[0]} cannot be run: {_why(error)}"
                raise Fault("Runtime.InvalidEntrypoint", why) from error
            undo.pop_all()
        self._loop.add_reader(self._frames_fd, self.hear)
        self._loop.add_reader(self._pidfd, self._reap)

    def watch(self, on_end: Callable[[ProgramEnded], None]) -> None:
        """Call `on_end` when it has ended."""
        self._on_end = on_end

    def hear(self) -> None:
        """Pass on what it has written to its telemetry descriptor until now."""
        try:
            for _ in range(READS_MAX):
                chunk = os.read(self._frames_fd, READ_BYTES)
                _say(self._telemetry.feed(chunk))
                if not chunk:  # it has closed its end, and so has all that it started
                    self._loop.remove_reader(self._frames_fd)
                    return
        except BlockingIOError:
            return

    async def leave(self) -> None:
        """Tell it to leave, and see to it that it does."""
        if not self._ended.is_set():
            self._child.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._ended.wait()
        if not self._ended.is_set():
            self._child.kill()
            await self._ended.wait()
        self._loop.remove_reader(self._frames_fd)
        os.close(self._frames_fd)
        os.close(self._status_fd)

    def cpu_ns(self) -> int:
        """CPU time that it has used, without that of its own children."""
        return cpu_ns_of(self._child.pid)

    def rss_bytes_max(self) -> int:
        """The most memory that it has had, without that of its own children."""
        try:
            status = os.pread(self._status_fd, STATUS_BYTES_MAX, 0)
        except OSError:  # it has gone
            return 0
        _, _, rest = status.partition(b"VmHWM:")
        return int(rest.split(None, 1)[0]) * 1024 if rest else 0

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._child.wait()
        self.hear()
        _say(self._telemetry.close())
        self._ended.set()
        if self._on_end is not None:
            self._on_end(ProgramEnded(code))


def _started(
    command: Sequence[str], environ: Mapping[str, str], telemetry_fd: int
) -> subprocess.Popen[bytes]:
    """The child; our copy of the descriptor that it got is closed, whatever happens."""
    parent = os.getpid()
    try:
        os.set_blocking(telemetry_fd, True)
        return subprocess.Popen(
            command,
            env={**environ, TELEMETRY_FD: str(telemetry_fd)},
            stdin=subprocess.DEVNULL,
            pass_fds=(telemetry_fd,),
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - one thread, and nothing is imported
        )
    finally:
        os.close(telemetry_fd)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _die_with(parent: int) -> None:
    """In the child: be killed when its worker dies."""
    _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _say(text: bytes) -> None:
    with contextlib.suppress(OSError):
        while text:
            text = text[os.write(LOG_FD, text) :]


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        hint = "; a script begins with #! and its interpreter" if error.errno == 8 else ""
        return f"{error.strerror}{hint}"
    return str(error)
