"""Many more models than fit: 200 deployed, a budget that holds 20, calls by Zipf's law.

The budget is what twenty of them take primed, read from the kernel in the same run. Every fourth call is
followed by one to a model that is pinned hot: what a call costs that need not wait for anything. The server
of the first run has learned nothing before; that of the second knows what the first has seen, as after any
restart.
"""

from __future__ import annotations

import http
import random
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import models, processes, progress
from benchmarks.figures import Aim, Line, Measured, Sample, Sense, Unit
from benchmarks.http1 import ask_on, connect
from benchmarks.server import Lambent, lambent

MODELS: Final = 200
HELD: Final = 20
CALLS: Final = 2_000
SEED: Final = 20
REFERENCE: Final = "reference"
REFERENCE_EACH: Final = 4
CONNECTIONS: Final = (1, 4)
TELL_EACH: Final = 25
READ_S: Final = 1.0
REST_S: Final = 3.0
MIB: Final = 2**20
HOT_TIMES_MAX: Final = 2.0
TEMPERATURES: Final = ("hot", "primed", "warm", "cold")


class Call(msgspec.Struct, frozen=True):
    """One answer: its status, what the model was on arrival, and what it took."""

    status: int
    temperature: str
    ms: float


class Traffic:
    """Calls in their order, taken by so many connections, and what came of them."""

    def __init__(self, server: Lambent, names: Sequence[str], body: bytes) -> None:
        self._server: Final = server
        self._body: Final = body
        self._names: Final = names
        self._next = 0
        self._lock: Final = threading.Lock()
        self.calls: Final[list[Call]] = []
        self.hot: Final[list[Call]] = []
        self.broken: Final[list[str]] = []

    def run(self, connections: int) -> Sequence[float]:
        """Call until all is called; the MiB of templates and workers, once a second meanwhile."""
        threads = [threading.Thread(target=self._connection) for _ in range(connections)]
        for thread in threads:
            thread.start()
        used_mib = []
        while any(thread.is_alive() for thread in threads):
            used_mib.append(_used_bytes(self._server) / MIB)
            threads[0].join(READ_S)
        for thread in threads:
            thread.join()
        return used_mib

    def _connection(self) -> None:
        with connect(self._server.target("/")) as connection:
            while (number := self._take()) is not None:
                try:
                    self.calls.append(self._call(connection, self._names[number]))
                    if number % REFERENCE_EACH == 0:
                        self.hot.append(self._call(connection, REFERENCE))
                except OSError as error:
                    self.broken.append(str(error))
                    return

    def _take(self) -> int | None:
        with self._lock:
            number, self._next = self._next, self._next + 1
        return number if number < len(self._names) else None

    def _call(self, connection: socket.socket, name: str) -> Call:
        reply = ask_on(connection, self._server.target(f"/invoke/{name}", self._body))
        return Call(reply.status, reply.headers.get("lambent-temperature", ""), reply.first_byte_ms)


def lines(topic: str, folder: Path) -> Iterator[Measured]:
    """The rows for each number of connections."""
    body = models.picture(folder).read_bytes()
    names = [f"model-{number}" for number in range(MODELS)]
    state_dir = folder / "state"
    with lambent(state_dir) as server:
        _deploy(topic, server, models.small(folder, MODELS + 1), [*names, REFERENCE])
        progress.say(f"{topic}: priming {HELD} of {MODELS} models")
    with lambent(state_dir) as server, server.client() as client:
        for name in names[:HELD]:
            client.prime(name)
        server.rest(names[HELD - 1], "primed")
        server.staff(REFERENCE, 1)
        time.sleep(REST_S)
        budget_bytes = _used_bytes(server)
    for connections in CONNECTIONS:
        progress.say(f"{topic}: {CALLS:,} calls on {connections} connection(s), {budget_bytes / MIB:.0f} MiB")
        order = random.Random(SEED).choices(names, [1 / rank for rank in range(1, MODELS + 1)], k=CALLS)
        with lambent(state_dir, "--memory-budget", str(budget_bytes)) as server:
            server.staff(REFERENCE, 1)
            traffic = Traffic(server, order, body)
            used_mib = traffic.run(connections)
        yield from _rows(topic, traffic, connections, used_mib, budget_bytes / MIB)


def _deploy(topic: str, server: Lambent, files: Sequence[Path], names: Sequence[str]) -> None:
    with server.client() as client:
        for number, (file, name) in enumerate(zip(files, names, strict=True)):
            if number % TELL_EACH == 0:
                progress.say(f"{topic}: deploying model {number} of {len(names)}")
            client.deploy(file, name=name, settings={"keep": "hot"} if name == REFERENCE else {})


def _used_bytes(server: Lambent) -> int:
    return sum(map(processes.pss_bytes, processes.tree(server.pid)[1:]))


def _rows(
    topic: str, traffic: Traffic, connections: int, used_mib: Sequence[float], budget_mib: float
) -> Iterator[Measured]:
    what = f"{MODELS} models in the room of {HELD}, {connections} conn"
    good = [call for call in traffic.calls if call.status == http.HTTPStatus.OK]
    failed = CALLS - len(good)
    yield Line(
        topic=topic,
        what=f"{what}, failed calls",
        measured=Sample((float(failed),), Unit.COUNT),
        aim=Aim(Sense.AT_MOST, 0),
        note="; ".join(traffic.broken[:3]),
    )
    found = Counter(call.temperature for call in good)
    yield Line(
        topic=topic,
        what=f"{what}, p50",
        measured=Sample(tuple(call.ms for call in good), Unit.MS),
        beside="interleaved calls of a hot model",
        against=Sample(tuple(call.ms for call in traffic.hot), Unit.MS),
        aim=Aim(Sense.AT_MOST, HOT_TIMES_MAX),
        note="found " + ", ".join(_share(good, one, found[one]) for one in TEMPERATURES if found[one]),
    )
    over = sum(reading > budget_mib for reading in used_mib) / max(1, len(used_mib))
    yield Line(
        topic=topic,
        what=f"{what}, memory meanwhile",
        measured=Sample(tuple(used_mib), Unit.MIB),
        beside="the budget",
        against=Sample((budget_mib,), Unit.MIB),
        note=f"above it in {over:.0%} of {len(used_mib)} readings",
    )


def _share(calls: Sequence[Call], temperature: str, count: int) -> str:
    ms = statistics.median(call.ms for call in calls if call.temperature == temperature)
    return f"{temperature} {count / len(calls):.0%} ({ms:.1f} ms)"
