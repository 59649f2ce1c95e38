"""Warm echo: a function in a worker behind Lambent's gateway, beside the same function inside FastAPI.

Both keep their connections, both get the same body, and they are measured in turn. Lambent authenticates,
queues, meters and crosses a process boundary twice; FastAPI does none of these. CPU per request counts every
process of the side under test, the workers included, and not the load generator.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import load, processes, progress
from benchmarks.figures import Aim, Line, Measured, Note, Sample, Sense, Unit
from benchmarks.http1 import Target
from benchmarks.load import Load
from benchmarks.server import lambent, uvicorn

TOPIC: Final = "echo"
CONNECTIONS: Final = (1, 8, 64)
REPETITIONS: Final = 3
WARM_UP_S: Final = 1.0
RUN_S: Final = 2.5
LIMIT_S: Final = 2.0
LIMIT_RUN_S: Final = 30.0
KEEP_S: Final = 600
FUNCTION: Final = "def handler(event, context):\n    return event\n"
BODY: Final = json.dumps(
    {
        "user": "0f8c1d2e-5b7a-4c39-9a61-3d2f4e5a6b7c",
        "items": [
            {"sku": "A-1047", "quantity": 2, "price": 19.9},
            {"sku": "B-2210", "quantity": 1, "price": 4.25},
        ],
        "note": "leave at the door",
        "express": True,
    }
).encode()
ONE, TWO, PEER, BARE = "lambent, 1 worker", "lambent, 2 workers", "FastAPI", "bare ASGI"
FRAMES: Final = str(Path(__file__).parent / "peers" / "frames_echo.py")
AIM: Final = Aim(Sense.AT_LEAST, 1)


class Side(msgspec.Struct, frozen=True):
    """One server under load: its root process and where to ask."""

    name: str
    pid: int
    target: Target


class Readings:
    """Repetitions by side and number of connections."""

    def __init__(self) -> None:
        self.per_s: Final[defaultdict[tuple[str, int], list[float]]] = defaultdict(list)
        self.p50_us: Final[defaultdict[tuple[str, int], list[float]]] = defaultdict(list)
        self.cpu_us: Final[defaultdict[tuple[str, int], list[float]]] = defaultdict(list)
        self.root_us: Final[defaultdict[tuple[str, int], list[float]]] = defaultdict(list)
        self.failed = 0

    def take(self, side: Side, connections: int, seconds: float) -> None:
        """Put the side under load once and note how it went."""
        all_before_s = processes.cpu_s(processes.tree(side.pid))
        root_before_s = processes.cpu_s([side.pid])
        result = load.generate(Load(target=side.target, connections=connections, seconds=seconds))
        all_s = processes.cpu_s(processes.tree(side.pid)) - all_before_s
        root_s = processes.cpu_s([side.pid]) - root_before_s
        key = (side.name, connections)
        self.failed += result.failed
        self.per_s[key].append(result.per_s)
        self.p50_us[key].append(result.p50_us)
        self.cpu_us[key].append(all_s * 1e6 / max(1, result.answered))
        self.root_us[key].append(root_s * 1e6 / max(1, result.answered))


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    (folder / "echo.py").write_text(FUNCTION)
    peer = uvicorn("benchmarks.peers.fastapi_echo:app", "/echo", folder)
    bare = uvicorn("benchmarks.peers.bare_asgi:app", "/echo", folder)
    with (
        lambent(folder / "state") as server,
        peer as (peer_pid, peer_target),
        bare as (bare_pid, bare_target),
    ):
        for name, workers in (("one", 1), ("two", 2)):
            server.deploy(folder / "echo.py:handler", name, workers_max=workers, keep_alive_s=KEEP_S)
        sides = [
            Side(ONE, server.pid, server.target("/invoke/one", BODY)),
            Side(PEER, peer_pid, msgspec.structs.replace(peer_target, body=BODY)),
            Side(TWO, server.pid, server.target("/invoke/two", BODY)),
            Side(BARE, bare_pid, msgspec.structs.replace(bare_target, body=BODY)),
        ]
        for side in sides:  # a second worker needs a queue to be started for
            load.generate(Load(target=side.target, connections=max(CONNECTIONS), seconds=WARM_UP_S))
        readings = Readings()
        for number in range(REPETITIONS):
            for connections in CONNECTIONS:
                progress.say(f"echo: {connections} connections, repetition {number + 1} of {REPETITIONS}")
                for side in sides:
                    readings.take(side, connections, RUN_S)
    return list(_lines(readings))


def _lines(readings: Readings) -> Iterator[Measured]:
    yield from _throughput(readings)
    yield from _comparison("p50 at {} connection", readings.p50_us, CONNECTIONS[:1])
    yield from _comparison("CPU a request at {} connections", readings.cpu_us, CONNECTIONS)
    roots = ((at, Sample(tuple(readings.root_us[ONE, at]), Unit.US)) for at in CONNECTIONS)
    gateway = ", ".join(f"{sample} at {at}" for at, sample in roots)
    yield Note(
        topic=TOPIC, text=f"of Lambent's CPU, in the server: {gateway} connections; the rest in the worker"
    )
    yield _frames()
    if readings.failed:
        yield Note(topic=TOPIC, text=f"{readings.failed} requests failed; they are no throughput")


def _throughput(readings: Readings) -> Iterator[Line]:
    for connections in CONNECTIONS:
        theirs = Sample(tuple(readings.per_s[PEER, connections]), Unit.PER_S)
        for ours in (ONE, TWO, BARE):
            yield Line(
                topic=TOPIC,
                what=f"{ours}, {connections} connections",
                measured=Sample(tuple(readings.per_s[ours, connections]), Unit.PER_S),
                beside=PEER,
                against=theirs,
                aim=AIM if ours == ONE and connections > 1 else None,
            )


def _comparison(
    what: str, values: Mapping[tuple[str, int], list[float]], at: Sequence[int]
) -> Iterator[Line]:
    for connections in at:
        for ours in (ONE, BARE):
            yield Line(
                topic=TOPIC,
                what=f"{ours}, {what.format(connections)}",
                measured=Sample(tuple(values[ours, connections]), Unit.US),
                beside=PEER,
                against=Sample(tuple(values[PEER, connections]), Unit.US),
            )


def _frames() -> Measured:
    what = "limit: frames over a socket pair, 1 in flight"
    words = [sys.executable, FRAMES, str(LIMIT_S)]
    runs = (
        subprocess.run(words, input=BODY, stdout=subprocess.PIPE, check=True, timeout=LIMIT_RUN_S)
        for _ in range(REPETITIONS)
    )
    limits = [json.loads(run.stdout) for run in runs]
    cpu = Sample(tuple(limit["cpu_us"] for limit in limits), Unit.US)
    return Line(
        topic=TOPIC,
        what=what,
        measured=Sample(tuple(limit["per_s"] for limit in limits), Unit.PER_S),
        note=f"{cpu} of CPU a call in both processes together",
    )
