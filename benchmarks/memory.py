"""Memory: how much the platform takes with twenty idle models deployed, at each temperature.

Proportional set size (PSS) of the server and everything below it, so that a page that several processes share
is counted once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import models, processes, progress
from benchmarks.figures import Aim, Line, Measured, Missing, Sample, Sense, Unit
from benchmarks.server import Lambent, lambent

TOPIC: Final = "memory"
MODELS: Final = 20
READINGS: Final = 3
LIMIT_S: Final = 30.0
BETWEEN_S: Final = 0.5
KEEP_ALIVE_S: Final = 0.2
# Long enough that the first model is still primed when the last one has been woken and all have been read.
TEMPLATE_KEEP_S: Final = 20.0
MIB: Final = 2**20
ALONE_MAX_MIB: Final = 80
ASLEEP_MAX_MIB: Final = 20
PRIMED_EACH_MAX_MIB: Final = 8


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    picture = models.picture(folder).read_bytes()
    files = models.small(folder, MODELS)
    state_dir = folder / "state"
    progress.say("memory: the platform with nothing deployed")
    with lambent(folder / "empty") as server:
        alone, none = _server(server), _platform(server)
    with lambent(state_dir) as server:
        progress.say(f"memory: deploying {MODELS} models")
        names = [file.stem for file in files]
        for file, name in zip(files, names, strict=True):
            settings = {"keep_alive_s": KEEP_ALIVE_S, "template_keep_s": TEMPLATE_KEEP_S, "workers_max": 1}
            server.deploy(file, name, **settings)
        after_deploy = _platform(server)
    with lambent(state_dir) as server:
        progress.say("memory: all cold")
        cold = _at(server, names, "cold")
        progress.say("memory: all primed")
        for name in names:
            server.invoke(name, picture)
        primed = _at(server, names, "primed")
        progress.say("memory: all warm")
        warm = _at(server, names, "warm")
    return [*_lines(alone, none, after_deploy, cold=cold, warm=warm, primed=primed), _limit()]


def _lines(
    alone: Sample,
    none: Sample,
    after_deploy: Sample,
    *,
    cold: Sample | str,
    warm: Sample | str,
    primed: Sample | str,
) -> Sequence[Measured]:
    lines: list[Measured] = [
        Line(
            topic=TOPIC,
            what="server alone, nothing deployed",
            measured=alone,
            aim=Aim(Sense.AT_MOST, ALONE_MAX_MIB),
        ),
        Line(topic=TOPIC, what="platform, nothing deployed", measured=none),
        Line(topic=TOPIC, what=f"platform right after {MODELS} deploys", measured=after_deploy),
    ]
    for name, at in (("cold", cold), ("warm", warm)):
        what = f"platform, {MODELS} models {name}"
        if isinstance(at, str):
            lines.append(Missing(topic=TOPIC, what=what, why=at))
            continue
        lines.append(Line(topic=TOPIC, what=what, measured=at))
        more, aim = _minus(at, none), Aim(Sense.AT_MOST, ASLEEP_MAX_MIB)
        lines.append(Line(topic=TOPIC, what=f"  more than with none, {name}", measured=more, aim=aim))
    what = f"platform, {MODELS} models primed"
    if isinstance(primed, str) or isinstance(warm, str):
        return [*lines, Missing(topic=TOPIC, what=what, why=f"{primed if isinstance(primed, str) else warm}")]
    each = Sample(tuple(value / MODELS for value in _minus(primed, warm).values), Unit.MIB)
    aim = Aim(Sense.AT_MOST, PRIMED_EACH_MAX_MIB)
    return [
        *lines,
        Line(topic=TOPIC, what=what, measured=primed),
        Line(topic=TOPIC, what="  each primed model, more than warm", measured=each, aim=aim),
    ]


def _limit() -> Line:
    """What one process costs that has the framework ready, with nothing of Lambent in it."""
    words = [sys.executable, "-c", "import numpy, onnxruntime; print(); input()"]
    environ = {**models.environ(), **models.ONE_THREAD}
    with subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        read = _read([[process.pid]] * READINGS)
        process.communicate(b"\n", timeout=LIMIT_S)
    return Line(topic=TOPIC, what="limit: a Python with onnxruntime imported", measured=read)


def _at(server: Lambent, names: Sequence[str], temperature: str) -> Sample | str:
    """The platform's memory when every deployment has this temperature, or why that was not to be had."""
    try:
        for name in names:
            server.rest(name, temperature)
    except TimeoutError as error:
        return str(error)
    read = _platform(server)
    for name in names:
        if (now := server.view(name)["temperature"]) != temperature:
            return f"{name} became {now} while memory was read"
    return read


def _server(server: Lambent) -> Sample:
    return _read([[server.pid]] * READINGS)


def _platform(server: Lambent) -> Sample:
    return _read([processes.tree(server.pid)] * READINGS)


def _read(trees: Sequence[Sequence[int]]) -> Sample:
    values = []
    for tree in trees:
        time.sleep(BETWEEN_S)
        values.append(sum(map(processes.pss_bytes, tree)) / MIB)
    return Sample(tuple(values), Unit.MIB)


def _minus(more: Sample, less: Sample) -> Sample:
    return Sample(tuple(value - less.median for value in more.values), more.unit)
