"""How quickly and how cheaply the number of workers follows the traffic, beside Knative's autoscaler.

In virtual time: the decisions are the server's own (`core.autoscaling`, `pool.traffic`), Knative's are those
of `benchmarks.kpa`. Both find the same arrivals, the same queue and workers that take equally long to come.
The measure is violation seconds × worker-seconds: the time by which those who came missed their target, which
is their own run and 100 ms, times what the workers cost. The settings are the defaults of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks import progress
from benchmarks.figures import Aim, Line, Measured, Missing, Note, Sample, Sense, Unit
from benchmarks.kpa import Kpa, KpaConfig
from benchmarks.scaling_traces import Traffic as Trace
from benchmarks.scaling_traces import bursts, published
from benchmarks.scaling_world import Scaler, Score, Seen, Setting, play
from lambent.core.autoscaling import Load, Memory, decide, policy_for
from lambent.core.spec import DeploymentSpec, Kind
from lambent.pool.autoscaler import REACTION_S
from lambent.pool.traffic import Traffic

TRACES: Final = "LAMBENT_TRACES"
WAKE_S: Final = 0.005  # of a primed revision
POD_WAKE_S: Final = 2.0  # of a pod whose image is there
WAIT_S: Final = 0.1
WORKERS_MAX: Final = 1024
TICK_S: Final = 0.25
RATIO_MAX: Final = 0.5


class Lambent:
    """The server's decisions in the simulator: its tick, its looks out of turn, its facts."""

    tick_s = TICK_S
    workers_at_start = 0
    drains = False

    def __init__(self, setting: Setting) -> None:
        spec = DeploymentSpec(
            name="f", kind=Kind.FUNCTION, concurrency=setting.slots, workers_max=WORKERS_MAX
        )
        self._policy = policy_for(spec)
        self._traffic = Traffic(0.0)
        self._memory = Memory()
        self._setting = setting

    def changed(self, seen: Seen, now_s: float) -> float | None:
        """Whoever waits wakes the first worker at once and has the autoscaler look soon for more."""
        while self._traffic.present < seen.present:
            self._traffic.arrive(now_s)
        while self._traffic.present > seen.present:
            self._traffic.leave(now_s)
        if seen.present <= seen.ready * self._setting.slots:
            return None
        return REACTION_S if seen.ready + seen.starting else 0.0

    def ran(self, run_s: float) -> None:
        """As the dispatcher tells it."""
        self._traffic.took(run_s)

    def look(self, seen: Seen, now_s: float) -> int:
        """As `pool.autoscaler` does."""
        traffic, policy = self._traffic, self._policy
        load = Load(
            concurrency_stable=traffic.level.average(now_s, policy.stable_window_s),
            concurrency_burst=traffic.level.average(now_s, policy.burst_window_s),
            concurrency_now=traffic.present,
            concurrency_peak=traffic.most,
            workers_ready=seen.ready,
            workers_starting=seen.starting,
            idle_for_s=0.0 if traffic.present else now_s - traffic.quiet_since_s,
            run_s=traffic.expected_run_s(now_s),
            work=traffic.work,
            wake_s=self._setting.wake_s,
        )
        traffic.looked(now_s, serving=bool(seen.ready))
        decision = decide(policy, load, self._memory, now_s=now_s)
        self._memory = decision.memory
        return decision.workers


class Knative:
    """Knative's decisions in the simulator."""

    workers_at_start = 1  # initial-scale
    drains = True

    def __init__(self, setting: Setting) -> None:
        config = KpaConfig(container_concurrency=float(setting.slots), scale_max=WORKERS_MAX)
        self._kpa = Kpa(config, pods=self.workers_at_start)
        self.tick_s = config.tick_s

    def changed(self, seen: Seen, now_s: float) -> float | None:
        """The activator's first request pokes the autoscaler of a revision that has no pod."""
        return 0.0 if self._kpa.changed(seen.present, seen.ready, now_s) else None

    def ran(self, run_s: float) -> None:
        """It does not ask."""

    def look(self, seen: Seen, now_s: float) -> int:
        """One evaluation."""
        return self._kpa.tick(seen.ready, now_s)


def measure(_: Path) -> Sequence[Measured]:
    """All traffic that there is, with one and with four slots to a worker."""
    folder, lines = os.environ.get(TRACES, ""), list[Measured]()
    for trace in (bursts(), *(published(Path(folder)) if folder else ())):
        for slots in (1, 4):
            progress.say(f"scaling: {trace.name}, {slots} slots")
            lines += _compared(trace, slots)
    if not folder:
        why = f"say where traces are: {TRACES}"
        lines.append(Missing(topic="scaling", what="published traces", why=why))
    text = "violation seconds × worker-seconds; a ratio of 0 means that everybody was inside the target"
    return [*lines, Note(topic="scaling", text=text)]


def _compared(trace: Trace, slots: int) -> Iterator[Measured]:
    quick, slow = (Setting(slots=slots, wake_s=wake_s, wait_s=WAIT_S) for wake_s in (WAKE_S, POD_WAKE_S))
    ours, theirs = _score(trace, quick, Lambent(quick)), _score(trace, quick, Knative(quick))
    ours_slow, theirs_slow = _score(trace, slow, Lambent(slow)), _score(trace, slow, Knative(slow))
    aim, name = Aim(Sense.AT_MOST, RATIO_MAX), f"{trace.name}, {slots} slot{'s' * (slots > 1)}"
    yield _line(f"{name}, wakes of 5 ms", ours, theirs, aim)
    yield _line(f"{name}, pods of 2 s", ours_slow, theirs_slow, None)
    yield _line(f"{name}, 5 ms beside pods of 2 s", ours, theirs_slow, None)


def _score(trace: Trace, setting: Setting, scaler: Scaler) -> Score:
    return play(trace.arrivals, setting, scaler)


def _line(what: str, ours: Score, theirs: Score, aim: Aim | None) -> Measured:
    note = f"ours: {in_words(ours)} | Knative: {in_words(theirs)}"
    if not theirs.product:
        return Missing(topic="scaling", what=what, why=f"Knative missed no target here; {note}")
    return Line(
        topic="scaling", what=what, measured=Sample((ours.product,), Unit.S2), beside="Knative KPA",
        against=Sample((theirs.product,), Unit.S2), aim=aim, note=note,
    )  # fmt: skip


def in_words(score: Score) -> str:
    """All that a score says, for a note below its line."""
    return (
        f"{score.violation_s:,.2f} s over in {score.missed:,} of {score.invocations:,} calls "
        f"({score.violated_s:,} bad seconds), {score.worker_s:,.0f} worker-s, {score.wakes:,} wakes, "
        f"wait p50/p99 {score.wait_p50_s * 1e3:,.0f}/{score.wait_p99_s * 1e3:,.0f} ms, "
        f"latency p50/p99 {score.latency_p50_s:,.2f}/{score.latency_p99_s:,.2f} s"
    )
