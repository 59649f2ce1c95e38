"""Two tenants on one server: what a flood of one on 64 connections does to the p99 of the other's calls.

Once with calls of no work, where both share the event loop; once with calls that compute for 20 ms, where
they share the cores.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from benchmarks import load, progress
from benchmarks.figures import Aim, Line, Measured, Sample, Sense, Unit
from benchmarks.http1 import Target, ask_on, connect
from benchmarks.load import Load
from benchmarks.server import lambent
from lambent.client.client import Client
from lambent.clock import SystemClock
from lambent.core.invocation import Role
from lambent.gateway.auth import Keys
from lambent.storage.sql import SqlStore

TOPIC: Final = "neighbours"
CONNECTIONS: Final = 64
CALLS: Final = 300
ROUNDS: Final = 3
FLOOD_S: Final = 8.0
AHEAD_S: Final = 2.5  # until the flood has its workers, and their weights
# Each of its calls waits for a turn of the loop beside 64 others, and computes as if it were half of them.
TIMES_MAX: Final = MappingProxyType({"echo": 10.0, "spin": 3.0})
CODE: Final = """
import time

def echo(event, context):
    return event

def spin(event, context):
    end_s = time.thread_time() + 0.02
    while time.thread_time() < end_s:
        pass
"""


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    state_dir = folder / "state"
    keys = {project: _key(state_dir, project) for project in ("flood", "quiet")}
    (folder / "tenants.py").write_text(CODE)
    lines: list[Measured] = []
    with lambent(state_dir) as server:
        for key in keys.values():
            with Client(f"http://127.0.0.1:{server.port}", key) as client:
                for name in ("echo", "spin"):
                    client.deploy(f"{folder / 'tenants.py'}:{name}", settings={"workers_max": 4})
        for name in ("echo", "spin"):
            quiet, flood = (
                _as(server.target(f"/invoke/{name}", b"{}"), keys[one]) for one in ("quiet", "flood")
            )
            alone, beside = list[float](), list[float]()
            for number in range(ROUNDS):
                progress.say(f"neighbours: {name}, round {number + 1} of {ROUNDS}")
                alone.append(_p99_ms(quiet))
                beside.append(_beside(quiet, flood))
            lines.append(
                Line(
                    topic=TOPIC, what=f"{name}: p99 of 1 connection beside a flood of {CONNECTIONS}",
                    measured=Sample(tuple(beside), Unit.MS),
                    beside="without the flood", against=Sample(tuple(alone), Unit.MS),
                    aim=Aim(Sense.AT_MOST, TIMES_MAX[name]),
                )
            )  # fmt: skip
    return lines


def _beside(quiet: Target, flood: Target) -> float:
    told = Load(target=flood, connections=CONNECTIONS, seconds=FLOOD_S)
    flooding = threading.Thread(target=load.generate, args=(told,))
    flooding.start()
    flooding.join(AHEAD_S)
    p99_ms = _p99_ms(quiet, while_alive=flooding)
    flooding.join()
    return p99_ms


def _p99_ms(target: Target, *, while_alive: threading.Thread | None = None) -> float:
    took_ms = []
    with connect(target) as connection:
        for _ in range(CALLS):
            if while_alive is not None and not while_alive.is_alive():
                break
            reply = ask_on(connection, target)
            if reply.status != 200:
                raise RuntimeError(f"the quiet tenant was told {reply.status}: {reply.body!r}")
            took_ms.append(reply.first_byte_ms)
    return statistics.quantiles(took_ms, n=100)[-1]


def _as(target: Target, key: str) -> Target:
    return msgspec.structs.replace(target, headers={"Authorization": f"Bearer {key}"})


def _key(state_dir: Path, project: str) -> str:
    """A key of a project, put into the state of a server that does not run yet."""
    state_dir.mkdir(parents=True, exist_ok=True)
    store = SqlStore.open(state_dir / "lambent.db", SystemClock())
    try:
        return asyncio.run(Keys(store.keys, b"", SystemClock()).create(project, "", Role.ADMIN)).api_key
    finally:
        store.close()
