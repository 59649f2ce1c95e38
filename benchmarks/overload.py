"""Close to capacity, and far over it: how long answers take, how many still come, and how soon it is over.

Capacity is what 64 connections get that ask again at once. Beyond it arrivals do not wait for answers: they
come as a Poisson process, and latency counts from the moment at which each was due. The load generator uses
the same cores: at high rates it takes from the server what would come from another machine on a network.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import arrivals, load, processes, progress
from benchmarks.arrivals import Answers, Arrivals, Step
from benchmarks.echo import BODY, FUNCTION, KEEP_S
from benchmarks.figures import Aim, Line, Measured, Note, Sample, Sense, Unit
from benchmarks.http1 import Target
from benchmarks.load import Load
from benchmarks.server import Lambent, lambent

TOPIC: Final = "overload"
OVERLOAD_S: Final = "LAMBENT_OVERLOAD_S"  # environment variable: a shorter overload, while one develops
OVERLOAD_S_DEFAULT: Final = 60.0
TIMES: Final = 3.0
CONNECTIONS: Final = 64
CONNECTIONS_MAX: Final = 2000
ROUNDS: Final = 3
CAPACITY_S: Final = 3.0
STEADY_SHARE: Final = 0.8
STEADY_S: Final = 8.0
CALM_SHARE: Final = 0.5
CALM_S: Final = 3.0
AFTER_S: Final = 8.0
SETTLE_S: Final = 1.0
SAMPLE_S: Final = 0.5
SLOW_TIMES: Final = 4.0  # over the slowest in a hundred of the calm: not back yet
SLOW_S_MIN: Final = 0.05
WORK: Final = """
import time

def handler(event, context):
    until_s = time.thread_time() + 0.005
    while time.thread_time() < until_s:
        pass
    return event
"""
AIM_TAIL: Final = Aim(Sense.AT_MOST, 4)
AIM_GOODPUT: Final = Aim(Sense.AT_LEAST, 0.9)
AIM_MEMORY: Final = Aim(Sense.AT_MOST, 1.1)
AIM_RECOVERY_S: Final = Aim(Sense.AT_MOST, 2)


class Subject(msgspec.Struct, frozen=True):
    """A deployment that is put under load. `queue_depth_max` is how many may wait."""

    name: str
    what: str
    code: str
    queue_depth_max: int


ECHO: Final = Subject("echo", "echo", FUNCTION, 1000)
BUSY: Final = Subject("busy", "5 ms of CPU, 100 may wait", WORK, 100)


class Overload(msgspec.Struct, frozen=True, kw_only=True):
    """One overload: good answers a second in it, memory early and late in it, seconds to be as before."""

    capacity_per_s: float
    good_per_s: float
    sent_per_s: float
    early_bytes: float
    late_bytes: float
    recovery_s: float
    answers: Answers


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    with lambent(folder / "state") as server:
        for subject in (ECHO, BUSY):
            (folder / f"{subject.name}.py").write_text(subject.code)
            server.deploy(
                folder / f"{subject.name}.py:handler", subject.name,
                workers_max=1, keep_alive_s=KEEP_S, queue_depth_max=subject.queue_depth_max,
            )  # fmt: skip
        lines = list(_tail(server.target("/invoke/echo", BODY)))
        for subject in (ECHO, BUSY):
            lines += _lines(subject, overload(server, subject))
    return lines


def capacity_per_s(target: Target) -> float:
    """Requests a second that are answered where 64 connections ask again at once."""
    return load.generate(Load(target=target, connections=CONNECTIONS, seconds=CAPACITY_S)).per_s


def _tail(target: Target) -> Iterator[Measured]:
    capacity_per_s(target)  # warm
    p50_ms, p99_ms, rates = [], [], []
    for number in range(ROUNDS):
        progress.say(f"overload: echo at {STEADY_SHARE:.0%} of capacity, {number + 1} of {ROUNDS}")
        rates.append(STEADY_SHARE * capacity_per_s(target))
        answers = arrivals.generate(
            Arrivals(
                target=target, steps=(Step(rates[-1], STEADY_S),),
                connections_max=CONNECTIONS_MAX, seed=number,
            )
        )  # fmt: skip
        cuts = statistics.quantiles(answers.within(SETTLE_S, STEADY_S), n=100)
        p50_ms.append(cuts[49] * 1e3)
        p99_ms.append(cuts[98] * 1e3)
    yield Line(
        topic=TOPIC, what=f"echo at {STEADY_SHARE:.0%} of capacity, p99",
        measured=Sample(tuple(p99_ms), Unit.MS), beside="its p50",
        against=Sample(tuple(p50_ms), Unit.MS), aim=AIM_TAIL,
        note=f"{Sample(tuple(rates), Unit.PER_S)}, Poisson",
    )  # fmt: skip


def overload(server: Lambent, subject: Subject) -> Overload:
    """Calm, overload, calm; what came of it."""
    target = server.target(f"/invoke/{subject.name}", BODY)
    for_s = float(os.environ.get(OVERLOAD_S, OVERLOAD_S_DEFAULT))
    capacity = statistics.median(capacity_per_s(target) for _ in range(ROUNDS))
    progress.say(f"overload: {subject.what}, {TIMES:g} × {capacity:,.0f}/s for {for_s:g} s")
    steps = (
        Step(CALM_SHARE * capacity, CALM_S),
        Step(TIMES * capacity, for_s),
        Step(CALM_SHARE * capacity, AFTER_S),
    )
    with _memory(server.pid) as sampled:
        answers = arrivals.generate(Arrivals(target=target, steps=steps, connections_max=CONNECTIONS_MAX))
    over_s = CALM_S + for_s
    good = answers.within(CALM_S + SETTLE_S, over_s)
    sent = TIMES * capacity - answers.unsent / for_s
    during = sampled[round(CALM_S / SAMPLE_S) : round(over_s / SAMPLE_S)]
    third = max(1, len(during) // 3)
    return Overload(
        capacity_per_s=capacity,
        good_per_s=len(good) / (for_s - SETTLE_S),
        sent_per_s=sent,
        early_bytes=max(during[:third]),
        late_bytes=max(during[-third:]),
        recovery_s=recovery_s(answers, over_s),
        answers=answers,
    )


def recovery_s(answers: Answers, over_s: float) -> float:
    """Seconds from the end of the overload until none is refused, or slow by what was so before it."""
    calm = answers.within(0, CALM_S)
    slow_s = max(SLOW_S_MIN, SLOW_TIMES * statistics.quantiles(calm, n=100)[98])
    pairs = zip(answers.due_s, answers.took_s, strict=True)
    slow_last_s = max((due_s for due_s, took_s in pairs if took_s > slow_s), default=0.0)
    return max(0.0, answers.bad_last_s - over_s, slow_last_s - over_s)


@contextlib.contextmanager
def _memory(pid: int) -> Iterator[list[int]]:
    """The memory of a process and all below it, again and again until the block ends."""
    ended, sampled = threading.Event(), list[int]()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            sampled.append(processes.tree_pss_bytes(pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield sampled
    finally:
        ended.set()
        sampler.join()


def _lines(subject: Subject, ran: Overload) -> Iterator[Measured]:
    what = f"{subject.what}, overload at {TIMES:g}×"
    yield Line(
        topic=TOPIC, what=f"{what}: goodput",
        measured=Sample((ran.good_per_s,), Unit.PER_S), beside="capacity",
        against=Sample((ran.capacity_per_s,), Unit.PER_S), aim=AIM_GOODPUT,
    )  # fmt: skip
    yield Line(
        topic=TOPIC, what=f"{what}: memory in its last third",
        measured=Sample((ran.late_bytes / 2**20,), Unit.MIB), beside="in its first third",
        against=Sample((ran.early_bytes / 2**20,), Unit.MIB), aim=AIM_MEMORY,
    )  # fmt: skip
    yield Line(
        topic=TOPIC, what=f"{what}: until it is as before",
        measured=Sample((ran.recovery_s,), Unit.S), aim=AIM_RECOVERY_S,
    )  # fmt: skip
    yield Note(
        topic=TOPIC,
        text=f"{ran.sent_per_s:,.0f} a second were sent in the overload, on at most {CONNECTIONS_MAX:,} "
        f"connections; {ran.answers.refused:,} were refused, {ran.answers.failed:,} failed",
    )
