"""Warm echo with one worker, beside other platforms that serve models, as they come and as they are tuned.

In each round each platform is started, warmed, measured and stopped, and Lambent is measured right before it.
CPU per request counts every process of the side under test and not the load generator.
"""

from __future__ import annotations

import statistics
import timeit
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import load, platforms, processes, progress
from benchmarks.echo import BODY, FUNCTION, KEEP_S
from benchmarks.figures import Aim, Line, Measured, Missing, Note, Sample, Sense, Unit
from benchmarks.http1 import Target
from benchmarks.load import Load
from benchmarks.platforms import Platform
from benchmarks.server import lambent

TOPIC: Final = "serving"
LAMBENT: Final = "lambent, 1 worker"
ONE: Final = 1
MANY: Final = 64
ROUNDS: Final = 3
WARM_UP_S: Final = 2.0
RUN_S: Final = 3.0
CALLS: Final = 20_000
AIM_BEST: Final = Aim(Sense.AT_LEAST, 3)
AIM_ADDED_MS: Final = Aim(Sense.AT_MOST, 0.4)


class Readings:
    """Measurements by side and number of connections; why a platform has none."""

    def __init__(self) -> None:
        self.per_s: Final[defaultdict[tuple[str, int], list[float]]] = defaultdict(list)
        self.p50_ms: Final[defaultdict[tuple[str, int], list[float]]] = defaultdict(list)
        self.cpu_us: Final[defaultdict[tuple[str, int], list[float]]] = defaultdict(list)
        self.missing: Final[dict[str, str]] = {}
        self.failed: Final[defaultdict[str, int]] = defaultdict(int)

    def take(self, side: str, pid: int, target: Target) -> None:
        """Put it under load at each number of connections."""
        for connections in (ONE, MANY):
            before_s = processes.cpu_s(processes.tree(pid))
            result = load.generate(Load(target=target, connections=connections, seconds=RUN_S))
            used_s = processes.cpu_s(processes.tree(pid)) - before_s
            key = (side, connections)
            self.failed[side] += result.failed
            self.per_s[key].append(result.per_s)
            self.p50_ms[key].append(result.p50_us / 1e3)
            self.cpu_us[key].append(used_s * 1e6 / max(1, result.answered))


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    (folder / "echo.py").write_text(FUNCTION)
    readings = Readings()
    with lambent(folder / "state") as server:
        server.deploy(folder / "echo.py:handler", "echo", workers_max=1, keep_alive_s=KEEP_S)
        target = server.target("/invoke/echo", BODY)
        load.generate(Load(target=target, connections=MANY, seconds=WARM_UP_S))
        for number in range(ROUNDS):
            for platform in platforms.ECHO:
                if str(platform) not in readings.missing:
                    progress.say(f"serving: round {number + 1} of {ROUNDS}, {platform}")
                    readings.take(before(platform), server.pid, target)
                    _measure(platform, readings)
    return list(_lines(readings, in_process_ms()))


def before(platform: Platform) -> str:
    """Lambent as it was measured right before this platform, on the same machine in the same state."""
    return f"{LAMBENT}, before {platform}"


def _measure(platform: Platform, readings: Readings) -> None:
    try:
        with platforms.serving(platform, BODY) as peer:
            load.generate(Load(target=peer.target, connections=MANY, seconds=WARM_UP_S))
            readings.take(str(platform), peer.pid, peer.target)
    except (OSError, RuntimeError) as error:
        readings.missing[str(platform)] = str(error)


def in_process_ms() -> Sample:
    """One call of the same function with the same event, decoded and encoded, in this process."""
    space: dict[str, object] = {}
    exec(FUNCTION, space)
    timer = timeit.Timer(
        "encode(handler(decode(body), None))",
        globals={"encode": msgspec.json.encode, "decode": msgspec.json.decode, "body": BODY, **space},
    )
    return Sample(tuple(took_s / CALLS * 1e3 for took_s in timer.repeat(ROUNDS, CALLS)), Unit.MS)


def _lines(readings: Readings, call: Sample) -> Iterator[Measured]:
    measured = [platform for platform in platforms.ECHO if str(platform) not in readings.missing]
    yield from _comparison(f"{LAMBENT}, {MANY} connections", readings.per_s, measured, MANY, Unit.PER_S)
    if measured:
        best = max(measured, key=lambda one: statistics.median(readings.per_s[str(one), MANY]))
        yield Line(
            topic=TOPIC, what=f"{LAMBENT}, {MANY} connections",
            measured=Sample(tuple(readings.per_s[before(best), MANY]), Unit.PER_S),
            beside=f"the best: {best}",
            against=Sample(tuple(readings.per_s[str(best), MANY]), Unit.PER_S), aim=AIM_BEST,
        )  # fmt: skip
    yield from _comparison(f"{LAMBENT}, p50 at 1 connection", readings.p50_ms, measured, ONE, Unit.MS)
    p50_ms = [one for platform in platforms.ECHO for one in readings.p50_ms[before(platform), ONE]]
    yield Line(
        topic=TOPIC, what="p50 added to the call in process, 1 connection",
        measured=Sample(tuple(one - call.median for one in p50_ms), Unit.MS), aim=AIM_ADDED_MS,
        note=f"in process, JSON decoded and encoded: {call}; the load generator's own part is in the figure",
    )  # fmt: skip
    for connections in (ONE, MANY):
        what = f"{LAMBENT}, CPU a request at {connections}"
        yield from _comparison(what, readings.cpu_us, measured, connections, Unit.US)
    for name, why in readings.missing.items():
        yield Missing(topic=TOPIC, what=name, why=why)
    for name, failed in readings.failed.items():
        if failed:
            yield Note(topic=TOPIC, text=f"{name}: {failed} requests failed; they are no throughput")


def _comparison(
    what: str,
    values: Mapping[tuple[str, int], list[float]],
    measured: Sequence[Platform],
    connections: int,
    unit: Unit,
) -> Iterator[Line]:
    for platform in measured:
        yield Line(
            topic=TOPIC,
            what=what,
            measured=Sample(tuple(values[before(platform), connections]), unit),
            beside=str(platform),
            against=Sample(tuple(values[str(platform), connections]), unit),
        )
