"""Callers who do not wait for each other: requests at Poisson times, each held to a latency target.

Runs as a process of its own (`python -m benchmarks.open_loop`, an `OpenLoad` as JSON on stdin, a `Count` as
JSON on stdout). A latency counts from when the request was due, so that a generator or a server that falls
behind is no excuse.
"""

from __future__ import annotations

import contextlib
import gc
import random
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import httptools
import msgspec

from benchmarks.http1 import Target
from benchmarks.load import GRACE_S, OK, Connection

CONNECTIONS_MAX: Final = 2000
LAST_S: Final = 2.0  # for answers that are still on their way at the end


class OpenLoad(msgspec.Struct, frozen=True, kw_only=True):
    """So many requests a second on average; what is answered `within_s` is in time."""

    target: Target
    rate: float
    seconds: float
    within_s: float
    seed: int = 1


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What became of them, of those that were due after the first tenth of the time."""

    due: int
    in_time: int
    late: int
    refused: int
    seconds: float

    @property
    def share(self) -> float:
        """In time, of all."""
        return self.in_time / max(1, self.due)

    @property
    def goodput(self) -> float:
        """In time, a second."""
        return self.in_time / self.seconds


def generate(load: OpenLoad) -> Count:
    """Run the load in another process. Raises `SubprocessError` if it ends badly or hangs."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.open_loop"],
        input=msgspec.json.encode(load), stdout=subprocess.PIPE, check=True,
        timeout=load.seconds + 2 * GRACE_S,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Count)


class OpenLoop:
    """Sends what is due, on a connection that is idle or a new one."""

    def __init__(self, load: OpenLoad) -> None:
        self._load: Final = load
        self._request: Final = load.target.request()
        self._poll: Final = select.epoll()
        self._by_fd: Final[dict[int, tuple[Connection, float]]] = {}
        self._idle: Final[list[Connection]] = []
        self._from_s = 0.1 * load.seconds
        self.due = self.in_time = self.late = self.refused = 0

    def run(self) -> Count:
        """The whole load."""
        times, next_one = self._times(), 0
        started_s = time.perf_counter()
        end_s = self._load.seconds + LAST_S
        while (now_s := time.perf_counter() - started_s) < end_s and (next_one < len(times) or self._by_fd):
            while next_one < len(times) and times[next_one] <= now_s:
                self._send(times[next_one])
                next_one += 1
            next_s = times[next_one] if next_one < len(times) else end_s
            self._receive(started_s, max(0.0, min(next_s - (time.perf_counter() - started_s), 0.05)))
        self.late += sum(due_s >= self._from_s for _, due_s in self._by_fd.values())
        seconds = self._load.seconds - self._from_s
        return Count(
            due=self.due, in_time=self.in_time, late=self.late, refused=self.refused, seconds=seconds
        )

    def _times(self) -> Sequence[float]:
        draw, now_s, times = random.Random(self._load.seed), 0.0, []
        while (now_s := now_s + draw.expovariate(self._load.rate)) < self._load.seconds:
            times.append(now_s)
        return times

    def _send(self, due_s: float) -> None:
        self.due += due_s >= self._from_s
        if self._idle:
            connection = self._idle.pop()
            connection.send()
        elif len(self._by_fd) < CONNECTIONS_MAX:
            connection = Connection(self._load.target, self._request)
            self._poll.register(connection.socket, select.EPOLLIN)
        else:
            self.refused += due_s >= self._from_s
            return
        self._by_fd[connection.socket.fileno()] = connection, due_s

    def _receive(self, started_s: float, wait_s: float) -> None:
        for fd, _ in self._poll.poll(wait_s):
            connection, due_s = self._by_fd.pop(fd)
            status = 0
            try:
                status = connection.receive()
                if not status:
                    self._by_fd[fd] = connection, due_s
                    continue
                self._idle.append(connection)
            except (OSError, httptools.HttpParserError):
                connection.socket.close()  # and so epoll forgets it
            if due_s >= self._from_s:
                took_s = time.perf_counter() - started_s - due_s
                self.refused += status != OK
                self.in_time += status == OK and took_s <= self._load.within_s
                self.late += status == OK and took_s > self._load.within_s

    def close(self) -> None:
        """Leave, whatever is in flight."""
        for connection in (*self._idle, *(one for one, _ in self._by_fd.values())):
            connection.socket.close()
        self._poll.close()


def run(load: OpenLoad) -> Count:
    """The load itself, in this process."""
    with contextlib.closing(OpenLoop(load)) as loop:
        return loop.run()


if __name__ == "__main__":
    gc.disable()
    told = msgspec.json.decode(sys.stdin.buffer.read(), type=OpenLoad)
    sys.stdout.buffer.write(msgspec.json.encode(run(told)))
