"""Processes that user code has left behind: found when they become the server's children, ended and reaped.

A worker's descendants are in its process group and die with it. One that made a group of its own outlives
it; when its parent ends, the kernel hands it to the server, which is the nearest subreaper. The server may
have children of its own that other code waits for, so only those are touched that carry the engine's mark in
the environment they were started with, or that are in the session of a process of the engine. Out of reach is
what leaves its session, clears its environment and loses its parent while its worker lives; only a cgroup can
hold that.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Set
from typing import Final

from lambent.engines.proc import children_of, is_zombie, session_of, was_started_with
from lambent.engines.processes import reap

# A process that forks as fast as it is killed ends the sweep; the next worker's exit begins another.
SWEEPS_MAX: Final = 64
SESSIONS_MAX: Final = 1024
PATROL_S: Final = 10.0


class Strays:
    """Sweeps after processes of the engine that have ended.

    `watched` are the pids that the engine itself watches, and reaps, at each moment.
    """

    def __init__(self, mark: str, *, watched: Set[int], patrol_s: float = PATROL_S) -> None:
        self._mark: Final = mark
        self._patrol_s: Final = patrol_s
        self._watched: Final = watched
        self._dying: Final[dict[int, int]] = {}
        self._sessions: Final[deque[int]] = deque(maxlen=SESSIONS_MAX)
        self._sweeps_left = 0
        self._none_left: Final = asyncio.Event()
        self._none_left.set()
        self._zombies: set[int] = set()
        self._round: asyncio.TimerHandle | None = None

    def sweep_after(self, pid: int) -> None:
        """A process of the engine, leader of its own session, has ended: end what it left behind."""
        self._sessions.append(pid)
        self._sweeps_left = SWEEPS_MAX
        self._sweep()

    def patrol(self) -> None:
        """From now on, as long as there are processes, reap what their orphaned descendants become."""
        if self._round is None:
            self._round = asyncio.get_running_loop().call_later(self._patrol_s, self._patrol)

    async def close(self) -> None:
        """Patrol no more, and wait until the strays found so far have been reaped."""
        if self._round is not None:
            self._round.cancel()
        await self._none_left.wait()

    def _sweep(self) -> None:
        self._sweeps_left -= 1
        for pid in self._unwatched():
            if self._is_left_behind(pid):
                self._end(pid)

    def _patrol(self) -> None:
        self._round = None
        zombies = {pid for pid in self._unwatched() if is_zombie(pid)}
        for pid in zombies:
            # One that made a session of its own tells nobody any more whose it was. If it is in none of the
            # server's sessions and nobody has reaped it for a whole round, nobody will.
            if self._is_left_behind(pid) or (pid in self._zombies and session_of(pid) != os.getsid(0)):
                self._end(pid)
        self._zombies = zombies
        if self._watched or zombies:
            self.patrol()

    def _unwatched(self) -> list[int]:
        return [
            pid for pid in children_of(os.getpid()) if pid not in self._watched and pid not in self._dying
        ]

    def _is_left_behind(self, pid: int) -> bool:
        session = session_of(pid)
        if session in self._watched:  # its worker lives, and may need it
            return is_zombie(pid)
        return session in self._sessions or was_started_with(pid, self._mark)

    def _end(self, pid: int) -> None:
        try:
            # It is our child and not reaped by anybody else, so the number is its own.
            pidfd = os.pidfd_open(pid)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._dying[pid] = pidfd
        self._none_left.clear()
        asyncio.get_running_loop().add_reader(pidfd, self._ended, pid)

    def _ended(self, pid: int) -> None:
        pidfd = self._dying.pop(pid)
        asyncio.get_running_loop().remove_reader(pidfd)
        reap(pid, pidfd)
        os.close(pidfd)
        if self._sweeps_left > 0:  # its own children are the server's now
            self._sweep()
        if not self._dying:
            self._none_left.set()
