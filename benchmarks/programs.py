"""Programs that poll AWS Lambda's Runtime API, beside the same function in a worker of ours: calls and wakes.

Each is asked in turn on one connection, so that all see the same machine.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import processes, progress
from benchmarks.cold import KEEP_ALIVE_S, PART
from benchmarks.echo import KEEP_S
from benchmarks.figures import Aim, Line, Measured, Note, Sample, Sense, Unit
from benchmarks.http1 import ask_on, connect
from benchmarks.server import Lambent, lambent

TOPIC: Final = "programs"
ROUNDS: Final = 60
CALLS: Final = 30
WARM_UP: Final = 50
WAKES: Final = 12
BODY: Final = b'{"x":1}'
HANDLER: Final = "def handler(event, context):\n    return event\n"
# A shell would measure its forks: this is the least that Python does for a call.
BOOTSTRAP: Final = f"""#!{sys.executable}
import http.client, os
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = connection.getresponse()
    body, asked = answer.read(), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    connection.request("POST", f"/2018-06-01/runtime/invocation/{{asked}}/response", body)
    connection.getresponse().read()
"""
NATIVE: Final = "native"
PROGRAMS: Final[Mapping[str, str]] = {"awslambdaric": "AWS's client", "bootstrap": "a bootstrap in Python"}
AIM: Final = Aim(Sense.AT_MOST, 1)


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    took_ms: defaultdict[str, list[float]] = defaultdict(list)
    used_s: defaultdict[str, float] = defaultdict(float)
    woken: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    with lambent(folder / "state") as server:
        _deploy(server, folder)
        for name in (NATIVE, *PROGRAMS):
            _medians(server, name, WARM_UP)
        for number in range(ROUNDS):
            if number % 10 == 0:
                progress.say(f"programs: round {number + 1} of {ROUNDS}")
            for name in (NATIVE, *PROGRAMS):
                before_s = processes.cpu_s(processes.tree(server.pid))
                took_ms[name].append(_medians(server, name, CALLS))
                used_s[name] += processes.cpu_s(processes.tree(server.pid)) - before_s
        for number in range(WAKES):
            progress.say(f"programs: wake {number + 1} of {WAKES}")
            for name in PROGRAMS:
                woken[name].append(_wake(server, f"{name}-cold"))
    lines: list[Measured] = []
    for name, what in PROGRAMS.items():
        lines += _calls(what, took_ms[name], took_ms[NATIVE])
        lines += [_cpu(what, used_s[name], used_s[NATIVE]), *_wakes(what, woken[name])]
    return lines


def _deploy(server: Lambent, folder: Path) -> None:
    (folder / "echo.py").write_text(HANDLER)
    bootstrap = folder / "program" / "bootstrap"
    bootstrap.parent.mkdir()
    bootstrap.write_text(BOOTSTRAP)
    bootstrap.chmod(0o755)
    handler = f"{folder / 'echo.py'}:handler"
    server.deploy(handler, NATIVE, workers_max=1, keep_alive_s=KEEP_S)
    for suffix, keep_alive_s in (("", float(KEEP_S)), ("-cold", KEEP_ALIVE_S)):
        settings = {"workers_max": 1, "keep_alive_s": keep_alive_s}
        server.deploy(handler, f"awslambdaric{suffix}", runtime="awslambdaric", **settings)
        server.deploy(bootstrap, f"bootstrap{suffix}", **settings)


def _medians(server: Lambent, name: str, calls: int) -> float:
    target = server.target(f"/invoke/{name}", BODY)
    with contextlib.closing(connect(target)) as connection:
        return statistics.median(ask_on(connection, target).first_byte_ms for _ in range(calls))


def _wake(server: Lambent, name: str) -> dict[str, float]:
    """What a wake was made of, and all that its caller waited."""
    server.rest(name, "warm")
    reply = server.invoke(name, BODY)
    parts = {part: float(took_ms) for part, took_ms in PART.findall(reply.headers["server-timing"])}
    return {**parts, "whole": reply.first_byte_ms}


def _calls(what: str, took_ms: Sequence[float], native_ms: Sequence[float]) -> Sequence[Measured]:
    added = tuple(mine - theirs for mine, theirs in zip(took_ms, native_ms, strict=True))
    return [
        Line(
            topic=TOPIC, what=f"{what}, p50 at 1 connection", measured=Sample(tuple(took_ms), Unit.MS),
            beside="our worker", against=Sample(tuple(native_ms), Unit.MS),
        ),
        Line(topic=TOPIC, what="the same, more than our worker", measured=Sample(added, Unit.MS), aim=AIM),
    ]  # fmt: skip


def _cpu(what: str, used_s: float, native_s: float) -> Measured:
    def each(seconds: float) -> Sample:
        return Sample((seconds / (ROUNDS * CALLS) * 1e6,), Unit.US)

    return Line(
        topic=TOPIC, what=f"{what}, CPU of all processes a call", measured=each(used_s),
        beside="our worker", against=each(native_s),
    )  # fmt: skip


def _wakes(what: str, woken: Sequence[Mapping[str, float]]) -> Sequence[Measured]:
    whole = Sample(tuple(one["whole"] for one in woken), Unit.MS)
    parts = ("queue", "fork", "restore", "spawn", "init", "run")
    said = ", ".join(f"{part} {statistics.median(one.get(part, 0.0) for one in woken):.1f}" for part in parts)
    return [
        Line(topic=TOPIC, what=f"{what}, warm → first byte", measured=whole),
        Note(topic=TOPIC, text=f"{what}: medians of the parts in ms: {said} (queue is all that was waited)"),
    ]
