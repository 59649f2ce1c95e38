"""Wakes and memory of torch models from 400 KB to 1 GB: fork and map, beside loading in a fresh process.

Needs torch, 4 GB of memory and as much room in the folder for temporary files.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from benchmarks import models, processes, progress
from benchmarks.figures import Aim, Line, Measured, Missing, Sample, Sense, Unit
from benchmarks.server import Lambent, lambent

TOPIC: Final = "wake"
APP: Final = Path(__file__).parent / "peers" / "torch_network.py"
WAKES: Final = 15
FRESH: Final = 3
CREW: Final = 16
CREW_S: Final = 30.0
KEEP_ALIVE_S: Final = 0.5
MIB: Final = 2**20
FASTER: Final = "faster"


class Network(msgspec.Struct, frozen=True):
    """A network to wake, and what is aimed at; an aim that is None is not this network's."""

    name: str
    layers: int
    width: int
    wake_max_ms: float | None = None
    times_faster: float | None = None
    share_of_fresh: float | None = None
    each_worker_max_mib: float | None = None
    crew_times_one: float | None = None


NETWORKS: Final = (
    Network("torch-digits", 0, 784, wake_max_ms=15, times_faster=100),
    Network("torch-200mb", 48, 1024, crew_times_one=1.10),
    Network("torch-1gb", 62, 2048, share_of_fresh=0.05, each_worker_max_mib=16),
)


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    if importlib.util.find_spec("torch") is None:
        return [Missing(topic=TOPIC, what="torch", why="torch is not installed: make venv-frameworks")]
    lines: list[Measured] = []
    with lambent(folder / "state") as server:
        for network in NETWORKS:
            progress.say(f"wake: {network.name}")
            app = _written(network, folder)
            server.deploy(app, keep_alive_s=KEEP_ALIVE_S, timeout_s=120)
            server.invoke(network.name, b"[]")  # trains it, if one may call it that
            weights = _weights(folder / "state")
            wakes = Sample(tuple(_wake(server, network) for _ in range(WAKES)), Unit.MS)
            fresh = Sample(tuple(_fresh(app, weights) for _ in range(FRESH)), Unit.MS)
            lines += _wake_lines(network, wakes, fresh)
            if network.layers:  # the smallest answers too fast for many workers to be needed
                lines += _memory_lines(network, server)
    return lines


def _written(network: Network, folder: Path) -> Path:
    """The App with the network's own numbers. Names of files are names of deployments."""
    text = APP.read_text().replace("LAYERS = 0", f"LAYERS = {network.layers}")
    app = folder / f"{network.name}.py"
    app.write_text(text.replace("WIDTH = 784", f"WIDTH = {network.width}"))
    return app


def _weights(state_dir: Path) -> Path:
    """The newest weights as they were registered."""
    found = (path for path in (state_dir / "artifacts").rglob("net.pt"))
    return max(found, key=lambda path: path.stat().st_ctime)


def _wake(server: Lambent, network: Network) -> float:
    server.rest(network.name, "primed")
    return server.invoke(network.name, b"[]").first_byte_ms


def _fresh(app: Path, weights: Path) -> float:
    """Milliseconds of a process that starts, loads and answers once; the files are in memory already."""
    started_s = time.perf_counter()
    words = [sys.executable, str(app), str(weights)]
    subprocess.run(words, env={**models.environ(), **models.ONE_THREAD}, check=True, stdout=subprocess.PIPE)
    return (time.perf_counter() - started_s) * 1e3


def _wake_lines(network: Network, wakes: Sample, fresh: Sample) -> Iterator[Line]:
    what, beside = f"{network.name}, primed → first byte", "fresh Python, load, first answer"
    if network.wake_max_ms is not None:
        yield Line(topic=TOPIC, what=what, measured=wakes, aim=Aim(Sense.AT_MOST, network.wake_max_ms))
    if network.share_of_fresh is not None:
        aim = Aim(Sense.AT_MOST, network.share_of_fresh)
        yield Line(topic=TOPIC, what=what, measured=wakes, beside=beside, against=fresh, aim=aim)
        return
    aim_faster = None if network.times_faster is None else Aim(Sense.AT_LEAST, network.times_faster)
    yield Line(
        topic=TOPIC, what=what, measured=wakes, beside=beside, against=fresh, inverse=FASTER, aim=aim_faster
    )


def _memory_lines(network: Network, server: Lambent) -> Iterator[Measured]:
    server.rest(network.name, "primed")
    resting = set(processes.tree(server.pid))
    one = _crew(server, network, resting, 1)
    server.rest(network.name, "primed")
    crew = _crew(server, network, resting, CREW)
    what = f"{network.name}, all processes with {CREW} workers"
    if one is None or crew is None:
        yield Missing(topic=TOPIC, what=what, why=f"{CREW} workers were not seen at once")
        return
    aim = None if network.crew_times_one is None else Aim(Sense.AT_MOST, network.crew_times_one)
    yield Line(topic=TOPIC, what=what, measured=crew, beside="with 1 worker", against=one, aim=aim)
    each = Sample(((crew.median - one.median) / (CREW - 1),), Unit.MIB)
    aim = None if network.each_worker_max_mib is None else Aim(Sense.AT_MOST, network.each_worker_max_mib)
    yield Line(topic=TOPIC, what="  each further worker", measured=each, aim=aim)


def _crew(server: Lambent, network: Network, resting: set[int], count: int) -> Sample | None:
    """The memory of the platform when so many workers have answered and live; None where they never do."""
    until_s = time.monotonic() + CREW_S
    while time.monotonic() < until_s:
        asking = [
            threading.Thread(target=server.invoke, args=(network.name, b"[]")) for _ in range(2 * count - 1)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        now = processes.tree(server.pid)
        if len(set(now) - resting) == count:
            total = sum(processes.pss_bytes(pid) for pid in now)
            if set(processes.tree(server.pid)) == set(now) and all(map(psutil.pid_exists, now)):
                return Sample((total / MIB,), Unit.MIB)
    return None
