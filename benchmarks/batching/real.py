"""Batching of real models by a real server: throughput, goodput in overload, and what fixed batches would do.

* Throughput: 64 callers who wait for each answer, beside a loop in one process that runs ideal batches of
  rows which are arrays already. Rows a second of the worker's CPU are compared too, for a machine that is
  busy with other things gives the worker and the loop different shares of itself.
* Goodput: callers at Poisson times, at nine tenths of that throughput and at the double of this, each answer
  held to a latency target of ten times a lone run, but 50 ms at least.
* Rates: how many a second are sustained with 99 % in time. This server knows no fixed batches, and their loss
  is not its own: all rules run in the simulator, on the run times that were measured here.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Final

import msgspec

from benchmarks import load, open_loop, processes, progress
from benchmarks.batching.models import Curve
from benchmarks.batching.networks import NETWORKS, Network
from benchmarks.batching.search import Setting, judge
from benchmarks.figures import Aim, Line, Measured, Note, Sample, Sense, Unit
from benchmarks.load import Load
from benchmarks.open_loop import Count, OpenLoad
from benchmarks.server import Lambent, lambent

TOPIC: Final = "batching"
CONNECTIONS: Final = 64
REPETITIONS: Final = 3
RAW_S: Final = 0.4
RAW_RUN_S: Final = 120.0
CLOSED_S: Final = 4.0
OPEN_S: Final = 6.0
TARGET_RATIO: Final = 10.0
TARGET_S_MIN: Final = 0.05
SATURATION: Final = 0.9  # of the throughput of a closed loop
SIMULATED: Final = 6000
EMBEDDER: Final = "embedder"  # the one that has an aim for throughput
THROUGHPUT: Final = Aim(Sense.AT_LEAST, 0.9)
OVERLOAD: Final = Aim(Sense.AT_LEAST, 0.95)
RATE: Final = Aim(Sense.AT_LEAST, 1.1)

Times = Mapping[int, Sequence[float]]


class Readings(msgspec.Struct):
    """Repetitions of one network."""

    raw: list[Times] = []
    per_s: list[float] = []
    per_cpu_s: list[float] = []
    at_saturation: list[Count] = []
    in_overload: list[Count] = []
    failed: int = 0

    @property
    def times(self) -> Times:
        """All run times, by size."""
        return {size: [run for each in self.raw for run in each[size]] for size in self.raw[0]}


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    lines: list[Measured] = []
    with lambent(folder / "state") as server:
        for name, make in NETWORKS.items():
            (folder / name).mkdir()
            network = make(folder / name / f"{name}.onnx")
            readings = _read(server, name, network)
            lines += _lines(name, readings)
            if name != EMBEDDER:
                lines += _rates(name, readings.times)
    return lines


def _read(server: Lambent, name: str, network: Network) -> Readings:
    readings = Readings()
    readings.raw.append(_raw(network))
    target_s = max(TARGET_S_MIN, TARGET_RATIO * statistics.median(readings.raw[0][1]))
    settings: dict[str, str | float] = {"workers_max": 1, "keep_alive_s": 600, "memory": "2GiB"}
    server.deploy(network.path, name, **settings)
    server.deploy(network.path, f"{name}-timed", latency_target_ms=target_s * 1e3, **settings)
    timed = server.target(f"/invoke/{name}-timed", network.body)
    for one in (name, f"{name}-timed"):  # both learn what batches take
        server.invoke(one, network.body)
        _closed(server, one, network)
    for number in range(REPETITIONS):
        progress.say(f"batching: {name}, repetition {number + 1} of {REPETITIONS}")
        if number:
            readings.raw.append(_raw(network))
        before_s = _workers_cpu_s(server)
        result = _closed(server, name, network)
        cpu_s = _workers_cpu_s(server) - before_s
        readings.failed += result.failed
        readings.per_s.append(result.per_s)
        readings.per_cpu_s.append(result.answered / cpu_s)
        for factor, counts in ((1.0, readings.at_saturation), (2.0, readings.in_overload)):
            rate = factor * SATURATION * result.per_s
            asked = OpenLoad(target=timed, rate=rate, seconds=OPEN_S, within_s=target_s, seed=number)
            counts.append(open_loop.generate(asked))
    return readings


def _raw(network: Network) -> Times:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.batching.raw", str(network.path.parent), str(RAW_S)],
        input=json.dumps(network.row.tolist()).encode(), stdout=subprocess.PIPE,
        check=True, timeout=RAW_RUN_S,
    )  # fmt: skip
    return {int(size): runs for size, runs in json.loads(done.stdout).items()}


def _closed(server: Lambent, name: str, network: Network) -> load.Result:
    target = server.target(f"/invoke/{name}", network.body)
    return load.generate(Load(target=target, connections=CONNECTIONS, seconds=CLOSED_S))


def _workers_cpu_s(server: Lambent) -> float:
    return processes.cpu_s(processes.tree(server.pid)) - processes.cpu_s([server.pid])


def _lines(name: str, readings: Readings) -> Iterator[Measured]:
    ideal = Sample(
        tuple(max(size / statistics.median(runs) for size, runs in times.items()) for times in readings.raw),
        Unit.PER_S,
    )
    aim = THROUGHPUT if name == EMBEDDER else None
    yield Line(
        topic=TOPIC,
        what=f"{name}, {CONNECTIONS} callers",
        measured=Sample(tuple(readings.per_s), Unit.PER_S),
        beside="ideal batches in a loop, a CPU second",
        against=ideal,
        aim=aim,
    )
    yield Line(
        topic=TOPIC,
        what=f"{name}, {CONNECTIONS} callers, a CPU second of the worker",
        measured=Sample(tuple(readings.per_cpu_s), Unit.PER_S),
        beside="ideal batches in a loop, a CPU second",
        against=ideal,
    )
    yield Line(
        topic=TOPIC,
        what=f"{name}, goodput at twice the rate of saturation",
        measured=Sample(tuple(count.goodput for count in readings.in_overload), Unit.PER_S),
        beside="goodput at saturation",
        against=Sample(tuple(count.goodput for count in readings.at_saturation), Unit.PER_S),
        aim=OVERLOAD,
    )
    medians = ", ".join(
        f"{size}: {statistics.median(runs) * 1e3:.2f}" for size, runs in readings.times.items()
    )
    yield Note(topic=TOPIC, text=f"{name}, CPU ms of a batch of so many rows: {medians}")
    shares = [f"{count.share:.3f}" for count in readings.at_saturation]
    yield Note(topic=TOPIC, text=f"{name}, share in time at saturation: {', '.join(shares)}")
    if readings.failed:
        yield Note(topic=TOPIC, text=f"{name}: {readings.failed} requests failed; they are no throughput")


def _rates(name: str, times: Times) -> Iterator[Measured]:
    progress.say(f"batching: {name}, fixed batches in the simulator")
    lone_s = statistics.median(times[1])
    for ratio in (10, 5):
        setting = Setting(
            model=name,
            target_ratio=ratio,
            curves=MappingProxyType({name: curve_of(times)}),
            lone_s=MappingProxyType({name: lone_s}),
            count=SIMULATED,
        )
        found = judge(setting)
        best = max(found.baselines, key=lambda baseline: found.baselines[baseline])
        yield Line(
            topic=TOPIC,
            what=f"{name}, simulated, 99 % within {ratio} × L(1)",
            measured=Sample((found.ours,), Unit.PER_S),
            beside=f"best fixed: {best}",
            against=Sample((max(1e-9, found.baselines[best]),), Unit.PER_S),
            aim=RATE,
            note=f"goodput at twice that rate, over the most at any: {found.peak:.2f}",
        )


def curve_of(times: Times) -> Curve:
    """Run times drawn from those that were measured: of the next sizes, in proportion between them."""
    sizes = sorted(times)
    # What is beyond the slowest runs but few was somebody else's use of the machine.
    runs = {size: sorted(times[size])[: max(1, round(0.9 * len(times[size])))] for size in sizes}

    def drawn(rows: int, random: Random) -> float:
        upper = bisect_left(sizes, rows)
        share = random.random()
        high_s = runs[sizes[upper]][int(share * len(runs[sizes[upper]]))]
        if sizes[upper] == rows:
            return high_s
        low = sizes[upper - 1]
        low_s = runs[low][int(share * len(runs[low]))]
        return low_s + (high_s - low_s) * (rows - low) / (sizes[upper] - low)

    return drawn
