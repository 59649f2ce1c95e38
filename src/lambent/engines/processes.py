"""One process of the engine: seen through a pidfd, ended with all it started, reaped by its parent.

A fork's parent is the template, which reaps it and reports. When the template dies first, the kernel hands
its children to the server, the nearest subreaper, which then reaps them itself. Nothing here waits for "any
child": that would steal the exit status of processes that other code in the server has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

import msgspec

from lambent.clock import cpu_ns_of
from lambent.engines.base import Exit
from lambent.engines.proc import descendants_of, is_stopped, parent_of

# How long a template may take to report the end of its child before the reason is given up as unknown.
REPORT_TIMEOUT_S: Final = 2.0
PR_SET_CHILD_SUBREAPER: Final = 36
UNKNOWN: Final = Exit(code=None, cpu_us=0, rss_bytes_max=0)


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process. Raises `OSError` where that is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Process:
    """A process and, later, how it ended: `exit` resolves when its status is known, or known to be lost.

    Until then its pid is in `watched`: nobody else may reap it.
    """

    def __init__(self, pid: int, *, watched: set[int]) -> None:
        self.pid: Final = pid
        self._watched: Final = watched
        watched.add(pid)
        self._loop: Final = asyncio.get_running_loop()
        self.exit: Final[asyncio.Future[Exit]] = self._loop.create_future()
        self._watchers: Final[list[Callable[[], None]]] = []
        self._orphaned = False
        self._report_timer: asyncio.TimerHandle | None = None
        self._used_us = 0  # CPU time, with all below it, when it was killed
        self.doomed = False  # killed, though its end may not have been seen yet
        self._pidfd: Final = _open(pid)  # open until the status is known; None where it was reaped already
        self.alive = self._pidfd is not None
        if self._pidfd is None:
            self._await_report()
        else:
            self._loop.add_reader(self._pidfd, self._died)

    def watch(self, on_death: Callable[[], None]) -> None:
        """Call `on_death` once it has ended, though it need not have been reaped by then."""
        if self.alive:
            self._watchers.append(on_death)
        else:
            self._loop.call_soon(on_death)

    @property
    def stopped(self) -> bool:
        """Whether it lives and does nothing, as after SIGSTOP or in a debugger's hands."""
        return self.alive and is_stopped(self.pid)

    def resume(self) -> None:
        """Tell it to go on, if it was stopped. Harmless when it runs or is gone."""
        if self.alive and self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)

    async def ended(self) -> Exit:
        """Wait for its end; many may."""
        return await asyncio.shield(self.exit)

    def kill(self) -> None:
        """End it and everything below it, now. Harmless when it is gone."""
        if not self.alive or self._pidfd is None:
            return
        below = [(pid, pidfd) for pid in descendants_of(self.pid) if (pidfd := _open(pid)) is not None]
        if not self.doomed:
            # What ends with it is reaped by others, and nobody tells what that has used.
            self._used_us = sum(map(cpu_ns_of, (self.pid, *(pid for pid, _ in below)))) // 1000
        self.doomed = True
        with contextlib.suppress(ProcessLookupError):
            # It leads a group of its own, unless it is too young to have made one. Asked through the pidfd
            # after that, it has not been reaped, so the number is still its own.
            leads = os.getpgid(self.pid) == self.pid
            signal.pidfd_send_signal(self._pidfd, 0)
            if leads:
                os.killpg(self.pid, signal.SIGKILL)
        _kill(self._pidfd)
        for pid, pidfd in below:
            if parent_of(pid) is not None:
                _kill(pidfd)
            os.close(pidfd)

    def interrupt(self, number: int) -> None:
        """Send it a signal. Harmless when it is gone."""
        if self.alive and self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def report(self, how: Exit) -> None:
        """Its parent says that it has reaped it."""
        if self.alive and self._pidfd is not None:
            _kill(self._pidfd)  # a parent that lies about this does not win anything
            self._bury()
        self._settle(how)

    def orphan(self) -> None:
        """Its parent is gone: the server is the one to reap it, now or when it ends."""
        self._orphaned = True
        if not self.alive:
            self._find_out()

    def _died(self) -> None:
        self._bury()
        self._find_out()

    def _bury(self) -> None:
        self.alive = False
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
        for on_death in self._watchers:
            on_death()

    def _find_out(self) -> None:
        if self.exit.done():
            return
        how = None if self._pidfd is None else reap(self.pid, self._pidfd)
        if how is not None or self._orphaned:
            self._settle(how or UNKNOWN)
        else:
            self._await_report()

    def _await_report(self) -> None:
        if self._report_timer is None:
            self._report_timer = self._loop.call_later(REPORT_TIMEOUT_S, self._settle, UNKNOWN)

    def _settle(self, how: Exit) -> None:
        if self.exit.done():
            return
        if self._report_timer is not None:
            self._report_timer.cancel()
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._watched.discard(self.pid)
        if self._used_us:
            how = msgspec.structs.replace(how, cpu_us=self._used_us)
        self.exit.set_result(how)


def reap(pid: int, pidfd: int) -> Exit | None:
    """Reap a dead process if it is our child; None if it is another's, or lives."""
    try:
        # Look first: what the pidfd names is a zombie of ours, so its number cannot be taken by another
        # before the second call, the only one that tells what it used.
        if os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        _, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return Exit(
        code=os.waitstatus_to_exitcode(status),
        cpu_us=round((usage.ru_utime + usage.ru_stime) * 1e6),
        rss_bytes_max=usage.ru_maxrss * 1024,
    )


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
