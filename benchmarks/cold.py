"""Cold start from zero: one request to a sleeping deployment, beside starting Python and a bare fork.

Everything is repeated in turn (wake, fork, wake, fork, ..., fresh process), so that all see the same machine.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import models, progress
from benchmarks.figures import Aim, Line, Measured, Missing, Sample, Sense, Unit
from benchmarks.http1 import Reply
from benchmarks.models import Digits
from benchmarks.server import Lambent, lambent

TOPIC: Final = "cold"
ROUNDS: Final = 5
WAKES_PER_ROUND: Final = 4
WARM_WAKES: Final = 5
RESTARTS: Final = 3
ANSWER_S: Final = 60.0
# Short enough that a repetition takes about a second; no measured request is on its way while it runs.
KEEP_ALIVE_S: Final = 0.2
SCRIPT: Final = str(Path(__file__).parent / "peers" / "inference.py")
FASTER: Final = "faster"
PART: Final = re.compile(r"([\w-]+);dur=([\d.]+)")
AIM_FRESH: Final = Aim(Sense.AT_LEAST, 50)
AIM_FORK: Final = Aim(Sense.AT_MOST, 4)


class Asleep(msgspec.Struct, frozen=True):
    """A deployment to wake: `artifact` is the model's framework, `temperature` what it sleeps at."""

    artifact: str
    name: str
    temperature: str


class Readings:
    """Milliseconds by what was measured, and the parts of each wake."""

    def __init__(self) -> None:
        self.ms: Final[defaultdict[str, list[float]]] = defaultdict(list)
        self.parts: Final[defaultdict[str, list[dict[str, float]]]] = defaultdict(list)
        self.failed: Final[dict[str, str]] = {}

    def sample(self, key: str) -> Sample | None:
        """The measurements of one thing, None where there are none."""
        return Sample(tuple(self.ms[key]), Unit.MS) if self.ms[key] else None

    def wake(self, key: str, reply: Reply) -> None:
        """One wake."""
        self.ms[key].append(reply.first_byte_ms)
        found = PART.findall(reply.headers.get("server-timing", ""))
        self.parts[key].append({name: float(ms) for name, ms in found})

    def parts_in_words(self, key: str) -> str:
        """The median of each part that the server named."""
        names = dict.fromkeys(name for parts in self.parts[key] for name in parts)
        medians = (
            (name, Sample(tuple(parts.get(name, 0.0) for parts in self.parts[key]), Unit.MS))
            for name in names
        )
        return "Server-Timing: " + ", ".join(f"{name} {sample}" for name, sample in medians)


class Forker:
    """A process that has loaded the model and forks a child for each question."""

    def __init__(self, framework: str, model: Path, picture: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT, "forker", framework, str(model), str(picture)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**models.environ(), **models.ONE_THREAD},
        )  # fmt: skip
        if self._say() != "ready":
            raise RuntimeError(f"the {framework} process did not load {model.name}")

    def fork(self) -> float:
        """Milliseconds from the fork to the first byte of the answer. Raises `RuntimeError` if it hung."""
        assert self._process.stdin
        self._process.stdin.write("fork\n")
        self._process.stdin.flush()
        if not (said := self._say()):
            raise RuntimeError("the forked child hung")
        return float(said)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _say(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    progress.say("cold: training the digits model for one epoch")
    digits = models.digits(folder)
    readings = Readings()
    state_dir = folder / "state"
    artifacts = digits.artifacts
    with lambent(state_dir) as server, contextlib.ExitStack() as forkers:
        primed = deployed(server, digits, "primed")
        warm = deployed(server, digits, "warm", template_keep_s=0)
        by_framework = {}
        for framework, file in artifacts.items():
            by_framework[framework] = forkers.enter_context(
                contextlib.closing(Forker(framework, file, digits.picture))
            )
        rounds(server, primed, by_framework, digits, readings)
        _warm(server, warm, digits, readings)
    _cold(state_dir, primed, digits, readings)
    return list(_lines(list(artifacts), readings))


def deployed(server: Lambent, digits: Digits, temperature: str, **settings: float) -> Sequence[Asleep]:
    """The digits model in each of its forms, to be woken from this temperature."""
    asleep = [Asleep(artifact, f"{artifact}-{temperature}", temperature) for artifact in digits.artifacts]
    for one in asleep:
        file = digits.artifacts[one.artifact]
        server.deploy(file, one.name, keep_alive_s=KEEP_ALIVE_S, workers_max=1, **settings)
    return asleep


def rounds(
    server: Lambent,
    primed: Sequence[Asleep],
    forkers: Mapping[str, Forker],
    digits: Digits,
    readings: Readings,
) -> None:
    """In turn: a wake of each, a fork of each, now and then a fresh process of each."""
    body = digits.picture.read_bytes()
    for asleep in primed:
        server.invoke(asleep.name, body)  # the first one ever builds the templates
    for number in range(ROUNDS):
        progress.say(f"cold: round {number + 1} of {ROUNDS}")
        for _ in range(WAKES_PER_ROUND):
            for asleep in primed:
                _wake(server, asleep, body, readings)
            for framework, forker in forkers.items():
                _fork(framework, forker, readings)
        for framework, file in digits.artifacts.items():
            readings.ms[f"fresh {framework}"].append(_fresh(framework, file, digits.picture))


def _warm(server: Lambent, warm: Sequence[Asleep], digits: Digits, readings: Readings) -> None:
    progress.say("cold: waking from warm")
    body = digits.picture.read_bytes()
    for asleep in warm:
        server.invoke(asleep.name, body)
    for _ in range(WARM_WAKES):
        for asleep in warm:
            _wake(server, asleep, body, readings)


def _cold(state_dir: Path, deployed: Sequence[Asleep], digits: Digits, readings: Readings) -> None:
    """A server that has just started has no template: whatever is asked first wakes from cold."""
    progress.say("cold: waking from cold")
    for _ in range(RESTARTS):
        for asleep in deployed:
            with lambent(state_dir) as server:
                server.rest(asleep.name, "cold")
                readings.wake(
                    f"cold {asleep.artifact}", server.invoke(asleep.name, digits.picture.read_bytes())
                )


def _wake(server: Lambent, asleep: Asleep, body: bytes, readings: Readings) -> None:
    key = f"{asleep.temperature} {asleep.artifact}"
    if key in readings.failed:
        return
    try:
        server.rest(asleep.name, asleep.temperature)
    except TimeoutError as error:
        readings.failed[key] = str(error)
        return
    reply = server.invoke(asleep.name, body)
    if (was := reply.headers.get("lambent-temperature")) == asleep.temperature:
        readings.wake(key, reply)
    else:
        readings.failed[key] = f"{asleep.name} was {was} on arrival, not {asleep.temperature}"


def _fork(framework: str, forker: Forker, readings: Readings) -> None:
    key = f"fork {framework}"
    if key in readings.failed:
        return
    try:
        readings.ms[key].append(forker.fork())
    except (RuntimeError, OSError) as error:
        readings.failed[key] = str(error)


def _fresh(framework: str, model: Path, picture: Path) -> float:
    """Milliseconds from the start of Python to the first byte of its answer."""
    started_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, SCRIPT, "fresh", framework, str(model), str(picture)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=models.environ(),
    ) as process:  # fmt: skip
        assert process.stdout
        first = process.stdout.read(1)
        took_ms = (time.perf_counter() - started_s) * 1e3
        process.communicate(timeout=ANSWER_S)
    if not first:
        raise RuntimeError(f"a fresh process gave no answer with {model.name}")
    return took_ms


def _lines(artifacts: Sequence[str], readings: Readings) -> Iterator[Measured]:
    for artifact in artifacts:
        yield from _artifact_lines(artifact, readings)


def _artifact_lines(artifact: str, readings: Readings) -> Iterator[Measured]:
    what = f"{artifact} digits, {{}} → first byte"
    if (wake := readings.sample(f"primed {artifact}")) is None:
        yield Missing(topic=TOPIC, what=what.format("primed"), why=readings.failed[f"primed {artifact}"])
        return
    primed = what.format("primed")
    yield Line(
        topic=TOPIC, what=primed, measured=wake, beside=f"fresh Python with {artifact}",
        against=readings.sample(f"fresh {artifact}"), inverse=FASTER, aim=AIM_FRESH,
        note=readings.parts_in_words(f"primed {artifact}"),
    )  # fmt: skip
    # Keras is held against its own fork and against that of the ONNX form that it is served by.
    for framework in dict.fromkeys((artifact, "onnx")):
        if fork := readings.sample(f"fork {framework}"):
            beside = f"fork of loaded {framework}"
            yield Line(topic=TOPIC, what=primed, measured=wake, beside=beside, against=fork, aim=AIM_FORK)
        else:
            why = readings.failed.get(f"fork {framework}", "no fork answered")
            yield Missing(topic=TOPIC, what=f"fork of loaded {framework}", why=why)
    for temperature in ("warm", "cold"):
        key = f"{temperature} {artifact}"
        if sample := readings.sample(key):
            note = readings.parts_in_words(key)
            yield Line(topic=TOPIC, what=what.format(temperature), measured=sample, note=note)
        else:
            yield Missing(
                topic=TOPIC, what=what.format(temperature), why=readings.failed.get(key, "no wake was seen")
            )
