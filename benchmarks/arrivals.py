"""A load generator whose arrivals do not wait for answers: a Poisson process of a given rate, in steps.

It runs as a process of its own (`python -m benchmarks.arrivals`, an `Arrivals` as JSON on stdin, an `Answers`
as JSON on stdout). Each arrival takes a connection that is free, or opens one; latency counts from the moment
at which the request was due, whether it could be sent then or not: a stall is felt by all who come in it.
"""

from __future__ import annotations

import gc
import random
import resource
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import httptools
import msgspec

from benchmarks.http1 import CHUNK_BYTES, Target

GRACE_S: Final = 30.0
OPEN_S: Final = 5.0
REFUSALS: Final = frozenset({429, 503})
OK: Final = 200


class Step(msgspec.Struct, frozen=True):
    """So many arrivals a second, for so long."""

    per_s: float
    seconds: float


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and when. An arrival that finds `connections_max` in use and none free is not sent."""

    target: Target
    steps: tuple[Step, ...]
    connections_max: int
    seed: int = 1


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What came of them. `due_s` (since the first step began) and `took_s` are of the answers 200, in order.

    `bad_last_s` is when the last was due that was refused, failed or not sent; 0 where there was none.
    """

    due_s: list[float]
    took_s: list[float]
    refused: int
    failed: int
    unsent: int
    bad_last_s: float

    def within(self, since_s: float, until_s: float) -> Sequence[float]:
        """How long the good answers took that arrived in this time, from the moment when they were due."""
        pairs = zip(self.due_s, self.took_s, strict=True)
        return [took_s for due_s, took_s in pairs if since_s <= due_s + took_s < until_s]


def generate(arrivals: Arrivals) -> Answers:
    """Send them from another process. Raises `SubprocessError` if it ends badly or hangs."""
    seconds = sum(step.seconds for step in arrivals.steps)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.arrivals"],
        input=msgspec.json.encode(arrivals), stdout=subprocess.PIPE, check=True,
        timeout=seconds + 2 * GRACE_S,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Answers)


class Connection:
    """One connection, and when the request on it was due."""

    __slots__ = ("answered", "due_s", "parser", "socket")

    def __init__(self, target: Target) -> None:
        self.socket = socket.create_connection((target.host, target.port), timeout=OPEN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.parser = httptools.HttpResponseParser(self)
        self.answered = False
        self.due_s = 0.0

    def on_message_complete(self) -> None:
        """The parser has seen the end of the response."""
        self.answered = True


class OpenLoop:
    """Sends what is due and takes what was answered."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals: Final = arrivals
        self._request: Final = arrivals.target.request()
        self._poll: Final = select.epoll()
        self._by_fd: Final[dict[int, Connection]] = {}
        self._free: Final[deque[Connection]] = deque()
        self._due_s: Final[list[float]] = []
        self._took_s: Final[list[float]] = []
        self._refused = self._failed = self._unsent = 0
        self._bad_last_s = 0.0
        self._began_s = 0.0

    def run(self) -> Answers:
        """The whole load, and its last answers."""
        dues, place = due_times(self._arrivals), 0
        self._began_s = time.perf_counter()
        until_s = sum(step.seconds for step in self._arrivals.steps)
        while place < len(dues) or (len(self._free) < len(self._by_fd) and self._now_s() < until_s + GRACE_S):
            now_s = self._now_s()
            while place < len(dues) and dues[place] <= now_s:
                self._send(dues[place])
                place += 1
            self._take(max(0.0, dues[place] - self._now_s()) if place < len(dues) else GRACE_S)
        return Answers(
            due_s=self._due_s,
            took_s=self._took_s,
            refused=self._refused,
            failed=self._failed + len(self._by_fd) - len(self._free),
            unsent=self._unsent,
            bad_last_s=self._bad_last_s,
        )

    def _now_s(self) -> float:
        return time.perf_counter() - self._began_s

    def _send(self, due_s: float) -> None:
        connection = self._free.pop() if self._free else self._opened()
        if connection is None:
            self._unsent += 1
            self._bad_last_s = max(self._bad_last_s, due_s)
            return
        connection.due_s, connection.answered = due_s, False
        try:
            connection.socket.sendall(self._request)
        except OSError:
            self._broken(connection)

    def _opened(self) -> Connection | None:
        if len(self._by_fd) >= self._arrivals.connections_max:
            return None
        try:
            connection = Connection(self._arrivals.target)
        except OSError:
            return None
        self._by_fd[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        return connection

    def _take(self, wait_s: float) -> None:
        for fd, _ in self._poll.poll(wait_s):
            connection = self._by_fd[fd]
            try:
                chunk = connection.socket.recv(CHUNK_BYTES)
                if not chunk:
                    raise ConnectionResetError("the server closed the connection")
                connection.parser.feed_data(chunk)
            except (OSError, httptools.HttpParserError):
                self._broken(connection)
            else:
                if connection.answered:
                    self._count(connection)

    def _count(self, connection: Connection) -> None:
        status = connection.parser.get_status_code()
        if status == OK:
            self._due_s.append(connection.due_s)
            self._took_s.append(self._now_s() - connection.due_s)
        else:
            self._refused += status in REFUSALS
            self._failed += status not in REFUSALS
            self._bad_last_s = max(self._bad_last_s, connection.due_s)
        connection.answered = False
        self._free.append(connection)

    def _broken(self, connection: Connection) -> None:
        self._failed += 1
        self._bad_last_s = max(self._bad_last_s, connection.due_s)
        del self._by_fd[connection.socket.fileno()]
        connection.socket.close()


def due_times(arrivals: Arrivals) -> Sequence[float]:
    """When each arrival is due, in seconds since the first step began. The same seed gives the same times."""
    chance = random.Random(arrivals.seed)
    dues: list[float] = []
    began_s = 0.0
    for step in arrivals.steps:
        due_s = began_s + chance.expovariate(step.per_s)
        while due_s < began_s + step.seconds:
            dues.append(due_s)
            due_s += chance.expovariate(step.per_s)
        began_s += step.seconds
    return dues


if __name__ == "__main__":
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    gc.disable()  # nothing here makes cycles, and no pause comes in the middle
    sys.stdout.buffer.write(
        msgspec.json.encode(OpenLoop(msgspec.json.decode(sys.stdin.buffer.read(), type=Arrivals)).run())
    )
