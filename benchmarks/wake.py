"""Wakes and memory at their limits, each beside what it is held against, in one run.

Digits and torch models of up to 1 GB beside a fresh process; many workers and fine-tunes beside one; 200
models in the room of 20; a thousand races from zero to one; traces of others through `lambent simulate`.
Needs 4 GB of memory and as much room in the folder for temporary files, and takes about ten minutes.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import cold, crowded, finetunes, models, progress, races, simulated, torch_apps
from benchmarks.figures import Aim, Line, Measured, Missing, Sample, Sense, Unit
from benchmarks.server import Lambent, lambent
from benchmarks.torch_apps import Network

TOPIC: Final = "wake"
WAKES: Final = 15
FRESH: Final = 3
CREW: Final = 16
KEEP_ALIVE_S: Final = 0.5
FASTER: Final = "faster"
WAKE_MAX_MS: Final = 15.0
TIMES_FASTER: Final = 100.0
PRIMED: Final = "{}, primed → first byte"
FRESH_PYTHON: Final = "fresh Python, load, first answer"


class Aims(msgspec.Struct, frozen=True, kw_only=True):
    """What is aimed at for one network; an aim that is None is not this network's."""

    wake_max_ms: float | None = None
    times_faster: float | None = None
    share_of_fresh: float | None = None
    each_worker_max_mib: float | None = None
    crew_times_one: float | None = None


NETWORKS: Final = (
    (
        Network(name="torch-digits", layers=0, width=784),
        Aims(wake_max_ms=WAKE_MAX_MS, times_faster=TIMES_FASTER),
    ),
    (Network(name="torch-200mb", layers=48, width=1024), Aims(crew_times_one=1.10)),
    (Network(name="torch-1gb", layers=62, width=2048), Aims(share_of_fresh=0.05, each_worker_max_mib=16)),
)


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic. What cannot be measured is said, and the others are."""
    return [
        *lines_of("digits", folder, _digits),
        *lines_of("torch", folder, _torch, needs="torch"),
        *lines_of("fine-tunes", folder, lambda inside: finetunes.lines(TOPIC, inside), needs="torch"),
        *lines_of("crowded", folder, lambda inside: crowded.lines(TOPIC, inside)),
        *lines_of("races", folder, lambda inside: races.lines(TOPIC, inside)),
        *lines_of("simulate", folder, lambda _: simulated.lines(TOPIC)),
    ]


def lines_of(
    what: str, folder: Path, lines: Callable[[Path], Iterable[Measured]], *, needs: str = ""
) -> Sequence[Measured]:
    """One part of the topic; where it fails, what it had measured by then, and why it went no further."""
    if needs and importlib.util.find_spec(needs) is None:
        return [Missing(topic=TOPIC, what=what, why=f"{needs} is not installed: make venv-frameworks")]
    inside = folder / what
    inside.mkdir()
    measured: list[Measured] = []
    try:
        for line in lines(inside):
            measured.append(line)  # noqa: PERF402  what was measured before one that fails is kept
    except Exception as error:  # noqa: BLE001  the others can still be measured
        progress.say(f"{TOPIC}: {what}: {error}")
        measured.append(Missing(topic=TOPIC, what=what, why=str(error)))
    return measured


def _digits(folder: Path) -> Iterator[Measured]:
    progress.say(f"{TOPIC}: training the digits model for one epoch")
    digits, readings = models.digits(folder), cold.Readings()
    with lambent(folder / "state") as server:
        cold.rounds(server, cold.deployed(server, digits, "primed"), {}, digits, readings)
    for artifact in ("onnx", "keras"):
        what = PRIMED.format(f"{artifact}-digits")
        wakes, fresh = readings.sample(f"primed {artifact}"), readings.sample(f"fresh {artifact}")
        if wakes is None or fresh is None:
            why = readings.failed.get(f"primed {artifact}", f"{artifact} is not installed")
            yield Missing(topic=TOPIC, what=what, why=why)
            continue
        yield from _wake_lines(what, Aims(wake_max_ms=WAKE_MAX_MS, times_faster=TIMES_FASTER), wakes, fresh)


def _torch(folder: Path) -> Iterator[Measured]:
    with lambent(folder / "state") as server:
        for network, aims in NETWORKS:
            progress.say(f"{TOPIC}: {network.name}")
            app = network.write(folder)
            torch_apps.deploy(server, network, app, keep_alive_s=KEEP_ALIVE_S)
            weights = _weights(folder / "state")
            wakes = Sample(tuple(_wake(server, network) for _ in range(WAKES)), Unit.MS)
            fresh = Sample(tuple(_fresh(app, weights) for _ in range(FRESH)), Unit.MS)
            yield from _wake_lines(PRIMED.format(network.name), aims, wakes, fresh)
            if network.layers:
                yield from _memory_lines(server, network, app, aims)
            with server.client() as client:
                client.remove(network.name)


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


def _wake_lines(what: str, aims: Aims, wakes: Sample, fresh: Sample) -> Iterator[Line]:
    if aims.wake_max_ms is not None:
        yield Line(topic=TOPIC, what=what, measured=wakes, aim=Aim(Sense.AT_MOST, aims.wake_max_ms))
    if aims.share_of_fresh is not None:
        aim = Aim(Sense.AT_MOST, aims.share_of_fresh)
        yield Line(topic=TOPIC, what=what, measured=wakes, beside=FRESH_PYTHON, against=fresh, aim=aim)
        return
    faster = None if aims.times_faster is None else Aim(Sense.AT_LEAST, aims.times_faster)
    yield Line(
        topic=TOPIC,
        what=what,
        measured=wakes,
        beside=FRESH_PYTHON,
        against=fresh,
        inverse=FASTER,
        aim=faster,
    )


def _memory_lines(server: Lambent, network: Network, app: Path, aims: Aims) -> Iterator[Measured]:
    progress.say(f"{TOPIC}: {network.name} with 1 and with {CREW} workers")
    one = torch_apps.staffed(server, network, app, 1)
    crew = torch_apps.staffed(server, network, app, CREW)
    what = f"{network.name}, all processes with {CREW} workers"
    aim = None if aims.crew_times_one is None else Aim(Sense.AT_MOST, aims.crew_times_one)
    yield Line(topic=TOPIC, what=what, measured=crew, beside="with 1 worker", against=one, aim=aim)
    each = Sample(((crew.median - one.median) / (CREW - 1),), Unit.MIB)
    aim = None if aims.each_worker_max_mib is None else Aim(Sense.AT_MOST, aims.each_worker_max_mib)
    yield Line(topic=TOPIC, what="  each further worker", measured=each, aim=aim)
