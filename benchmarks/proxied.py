"""The same FastAPI application as a command on Lambent and by itself: throughput, CPU, and what a wake adds.

Both sides are one uvicorn process with the same options. Lambent's has a gateway and a worker before it,
which authenticate, queue, meter and pass on; with one connection these take turns, and no aim is set. A wake
is held against the start of the same process by itself, from its exec until it listens, in turn.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import load, progress
from benchmarks.cold import KEEP_ALIVE_S, PART
from benchmarks.echo import BODY, KEEP_S, REPETITIONS, RUN_S, WARM_UP_S, Readings, Side
from benchmarks.figures import Aim, Line, Measured, Note, Sample, Sense, Unit
from benchmarks.http1 import ask
from benchmarks.load import Load
from benchmarks.server import HOST, Lambent, free_port, lambent, listens, uvicorn

TOPIC: Final = "proxied"
CONNECTIONS: Final = (1, 8, 64)
WAKES: Final = 8
LOOK_S: Final = 0.001
APP: Final = Path(__file__).parent / "peers" / "fastapi_echo.py"
OPTIONS: Final = "--loop uvloop --http httptools --no-access-log --log-level warning --lifespan off"
OURS, ALONE = "FastAPI as a command", "FastAPI by itself"
FASTER: Final = Aim(Sense.AT_LEAST, 0.4)
ADDED: Final = Aim(Sense.AT_MOST, 20)


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    own_ms, woken = list[float](), list[dict[str, float]]()
    peer = uvicorn("benchmarks.peers.fastapi_echo:app", "/echo", folder)
    with lambent(folder / "state") as server, peer as (pid, target):
        for name, keep_alive_s in (("warm", float(KEEP_S)), ("cold", KEEP_ALIVE_S)):
            command = f"{sys.executable} -m uvicorn fastapi_echo:app --host $HOST --port $PORT {OPTIONS}"
            server.deploy(APP, name, command=command, workers_max=1, keep_alive_s=keep_alive_s)
        sides = [
            Side(OURS, server.pid, server.target("/invoke/warm/echo", BODY)),
            Side(ALONE, pid, msgspec.structs.replace(target, body=BODY)),
        ]
        readings = _loaded(sides)
        for number in range(WAKES):
            progress.say(f"proxied: wake {number + 1} of {WAKES}")
            woken.append(_wake(server))
            own_ms.append(_own_start_ms())
    return [*_throughput(readings), *_wakes(woken, own_ms)]


def _loaded(sides: Sequence[Side]) -> Readings:
    readings = Readings()
    for side in sides:
        load.generate(Load(target=side.target, connections=max(CONNECTIONS), seconds=WARM_UP_S))
    for number in range(REPETITIONS):
        for connections in CONNECTIONS:
            progress.say(f"proxied: {connections} connections, repetition {number + 1} of {REPETITIONS}")
            for side in sides:
                readings.take(side, connections, RUN_S)
    return readings


def _throughput(readings: Readings) -> Iterator[Measured]:
    for at in CONNECTIONS:
        yield Line(
            topic=TOPIC, what=f"{OURS}, {at} connections",
            measured=Sample(tuple(readings.per_s[OURS, at]), Unit.PER_S), beside=ALONE,
            against=Sample(tuple(readings.per_s[ALONE, at]), Unit.PER_S), aim=FASTER if at > 1 else None,
        )  # fmt: skip
    for at in CONNECTIONS:
        yield Line(
            topic=TOPIC, what=f"{OURS}, CPU a request at {at} connections",
            measured=Sample(tuple(readings.cpu_us[OURS, at]), Unit.US), beside=ALONE,
            against=Sample(tuple(readings.cpu_us[ALONE, at]), Unit.US),
        )  # fmt: skip
    if readings.failed:
        yield Note(topic=TOPIC, text=f"{readings.failed} requests failed; they are no throughput")


def _wake(server: Lambent) -> dict[str, float]:
    """What a wake was made of, and all that its caller waited."""
    server.rest("cold", "warm")
    target = server.target("/invoke/cold/echo", BODY)
    reply = ask(target)
    parts = {part: float(took_ms) for part, took_ms in PART.findall(reply.headers["server-timing"])}
    return {**parts, "whole": reply.first_byte_ms}


def _own_start_ms() -> float:
    port = free_port()
    words = [sys.executable, "-m", "uvicorn", "fastapi_echo:app", "--host", HOST, "--port", str(port)]
    started_s = time.perf_counter()
    process = subprocess.Popen([*words, *OPTIONS.split()], cwd=APP.parent, stdin=subprocess.DEVNULL)
    try:
        while not listens(port):
            time.sleep(LOOK_S)
        return (time.perf_counter() - started_s) * 1e3
    finally:
        process.terminate()
        process.wait()


def _wakes(woken: Sequence[Mapping[str, float]], own_ms: Sequence[float]) -> Iterator[Measured]:
    whole = tuple(one["whole"] for one in woken)
    yield Line(
        topic=TOPIC, what=f"{OURS}, warm → first byte", measured=Sample(whole, Unit.MS),
        beside=f"{ALONE}, exec → it listens", against=Sample(tuple(own_ms), Unit.MS),
    )  # fmt: skip
    added = tuple(mine - own for mine, own in zip(whole, own_ms, strict=True))
    yield Line(
        topic=TOPIC, what="the same, more than its own start", measured=Sample(added, Unit.MS), aim=ADDED
    )
    parts = ("queue", "fork", "restore", "spawn", "listen", "other", "run")
    said = ", ".join(f"{part} {statistics.median(one.get(part, 0.0) for one in woken):.1f}" for part in parts)
    yield Note(topic=TOPIC, text=f"medians of the parts in ms: {said} (queue is all that was waited)")
