"""A load generator: so many keep-alive connections, each with one request in flight, for so many seconds.

`wrk` is used where it is installed. Else this module runs itself as a process of its own
(`python -m benchmarks.load`, a `Load` as JSON on stdin, a `Result` as JSON on stdout): one thread, epoll, raw
sockets, and a parser that only looks for the end of each response, so that it costs a fraction of any server.
"""

from __future__ import annotations

import array
import contextlib
import gc
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httptools
import msgspec

from benchmarks.http1 import CHUNK_BYTES, Target

GRACE_S: Final = 15.0
FAILED_MAX: Final = 1_000
OK: Final = 200
WRK: Final = shutil.which("wrk")
WRK_TIME: Final = re.compile(r"50%\s+([\d.]+)(us|ms|s)")
WRK_COUNT: Final = re.compile(r"(\d+) requests in ([\d.]+)(s|m)")
WRK_FAILED: Final = re.compile(r"Non-2xx or 3xx responses: (\d+)")
US_PER: Final = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, how much at once and for how long."""

    target: Target
    connections: int
    seconds: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it went. `failed` counts answers other than 200 and connections that broke."""

    answered: int
    failed: int
    seconds: float
    p50_us: float

    @property
    def per_s(self) -> float:
        """Requests answered in a second."""
        return self.answered / self.seconds


def generator() -> str:
    """Which generator `generate` uses here."""
    return "wrk" if WRK else "benchmarks.load"


def generate(load: Load) -> Result:
    """Run the load in another process. Raises `SubprocessError` if it ends badly or hangs."""
    if WRK:
        return _wrk(WRK, load)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=msgspec.json.encode(load), stdout=subprocess.PIPE, check=True,
        timeout=load.seconds + 2 * GRACE_S,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Result)


class Connection:
    """One connection and the request in flight on it."""

    __slots__ = ("answered", "parser", "request", "sent_s", "socket")

    def __init__(self, target: Target, request: bytes) -> None:
        self.socket = socket.create_connection((target.host, target.port), timeout=GRACE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.parser = httptools.HttpResponseParser(self)
        self.send()

    def send(self) -> None:
        """Put the next request on the wire. It is small and the peer waits for it: this does not block."""
        self.answered = False
        self.sent_s = time.perf_counter()
        self.socket.sendall(self.request)

    def receive(self) -> int:
        """The status of the response if it is complete now, else 0. Raises `OSError` or `HttpParserError`."""
        chunk = self.socket.recv(CHUNK_BYTES)
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        self.parser.feed_data(chunk)
        return self.parser.get_status_code() if self.answered else 0

    def on_message_complete(self) -> None:
        """The parser has seen the end of the response."""
        self.answered = True


class ClosedLoop:
    """So many connections, each of which sends its next request when its answer is there."""

    def __init__(self, target: Target) -> None:
        self.took_s: Final = array.array("d")
        self.failed = 0
        self._target: Final = target
        self._request: Final = target.request()
        self._poll: Final = select.epoll()
        self._by_fd: Final[dict[int, Connection]] = {}

    def open(self) -> None:
        """One connection more, its first request on the way."""
        connection = Connection(self._target, self._request)
        self._by_fd[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)

    def turn(self, wait_s: float) -> None:
        """Take the answers that are there, waiting at most `wait_s` for the first."""
        for fd, _ in self._poll.poll(wait_s):
            connection = self._by_fd[fd]
            try:
                if status := connection.receive():
                    self._count(status, connection)
                    connection.send()
            except (OSError, httptools.HttpParserError):
                self.failed += 1
                self._by_fd.pop(fd).socket.close()  # and so epoll forgets it
                self.open()

    def close(self) -> None:
        """Leave, whatever is in flight."""
        for connection in self._by_fd.values():
            connection.socket.close()
        self._poll.close()

    def _count(self, status: int, connection: Connection) -> None:
        if status == OK:
            self.took_s.append(time.perf_counter() - connection.sent_s)
        else:
            self.failed += 1


def run(load: Load) -> Result:
    """The load itself, in this process."""
    with contextlib.closing(ClosedLoop(load.target)) as loop:
        started_s = time.perf_counter()
        until_s = started_s + load.seconds
        for _ in range(load.connections):
            loop.open()
        while (now_s := time.perf_counter()) < until_s and loop.failed < FAILED_MAX:
            loop.turn(until_s - now_s)
        seconds = time.perf_counter() - started_s
    p50_us = statistics.median(loop.took_s) * 1e6 if loop.took_s else 0.0
    return Result(answered=len(loop.took_s), failed=loop.failed, seconds=seconds, p50_us=p50_us)


def _wrk(program: str, load: Load) -> Result:
    target = load.target
    headers = {"Content-Type": "application/json", **target.headers}
    script = [f"wrk.method = {_lua(target.method)}", f"wrk.body = {_lua(target.body.decode())}"]
    script += [f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in headers.items()]
    seconds = max(1, round(load.seconds))
    with tempfile.TemporaryDirectory(prefix="lambent-bench-") as folder:
        path = Path(folder) / "request.lua"
        path.write_text("\n".join(script))
        done = subprocess.run(
            [program, "-t1", f"-c{load.connections}", f"-d{seconds}s", "--latency", "-s", str(path),
             f"http://{target.host}:{target.port}{target.path}"],
            check=True, capture_output=True, text=True, timeout=seconds + 2 * GRACE_S,
        )  # fmt: skip
    count, p50 = WRK_COUNT.search(done.stdout), WRK_TIME.search(done.stdout)
    if not count or not p50:
        raise subprocess.SubprocessError(f"wrk printed something unknown:\n{done.stdout}")
    failed = WRK_FAILED.search(done.stdout)
    refused = int(failed[1]) if failed else 0
    return Result(
        answered=int(count[1]) - refused,
        failed=refused,
        seconds=float(count[2]) * (60.0 if count[3] == "m" else 1.0),
        p50_us=float(p50[1]) * US_PER[p50[2]],
    )


def _lua(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


if __name__ == "__main__":
    gc.disable()  # a few seconds of one small array: nothing to collect, and no pause in the middle
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Load))))
