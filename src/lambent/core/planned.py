"""Replays a trace through `keepalive.plan` itself, under a budget of bytes, as a node's thermostat would.

Any policy that a server may run runs here as it does there (`policies/prospects.py`). Once a step (a minute,
or a tick where those are longer) the plan is made anew from what is expected of each revision; a call finds
its revision at the temperature of the last plan, is woken from there and leaves it hot. Revisions share
environments, by number modulo how many there are: traces do not tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.core.keepalive import ORDER, Facts, Plan, Reason, Wakes, plan
from lambent.core.outcomes import Anatomy, Outcome, summed
from lambent.core.policies.base import PolicyName
from lambent.core.policies.prospects import Prospect, Prospects, Wake, rule_of
from lambent.core.simulation import PUBLISH_S, Tape, Trace
from lambent.core.spec import Temperature

STEP_S: Final = 60.0


def planned(
    trace: Trace, name: PolicyName, anatomy: Anatomy, *, budget_bytes: int, from_tick: int = 0
) -> Outcome:
    """What it comes to from `from_tick` on, all before having been learned from."""
    prospects = Prospects(name, trace.resolution_s)
    node = _Node(trace, prospects, anatomy, budget_bytes, from_tick)
    resolution_s, step_ticks = trace.resolution_s, max(1, round(STEP_S / trace.resolution_s))
    due, published_s = step_ticks, 0.0
    for tick, revision, count in zip(trace.tick, trace.revision, trace.calls, strict=True):
        while tick >= due:
            node.turn(due, step_ticks)
            if due * resolution_s - published_s >= PUBLISH_S:
                published_s = due * resolution_s
                prospects.publish()
            due += step_ticks
        node.call(tick, revision, count)
    while due < trace.ticks:
        node.turn(due, step_ticks)
        due += step_ticks
    return node.outcome()


class _Node:
    """One machine on virtual time."""

    def __init__(
        self, trace: Trace, prospects: Prospects, anatomy: Anatomy, budget_bytes: int, from_tick: int
    ) -> None:
        self._trace, self._anatomy = trace, anatomy
        self._rule = rule_of(prospects.name, budget_bytes)
        self._fresh = prospects.fresh
        self._prospects: dict[int, Prospect] = {}  # of those that were called
        self._tape = Tape(from_tick, trace.ticks)
        self._temperatures = [Temperature.COLD] * len(trace.revisions)
        self._warm: frozenset[str] = frozenset()
        self._colds = [0] * len(trace.revisions)
        self._wakes: dict[float, int] = {}
        self._held = self._used = 0  # bytes × ticks
        self._environments = {
            f"environment-{number}": anatomy.environment_bytes for number in range(anatomy.environments)
        }
        self._wake_ms = {
            Temperature.COLD: anatomy.cold_ms,
            Temperature.WARM: anatomy.warm_ms,
            Temperature.PRIMED: anatomy.primed_ms,
        }

    def call(self, tick: int, revision: int, count: int) -> None:
        """Calls in one tick: the first of them may have to wait."""
        found = self._found(revision)
        now_s = tick * self._trace.resolution_s
        if revision not in self._prospects:
            self._prospects[revision] = self._fresh()
        self._prospects[revision].arrive(now_s, count)
        self._temperatures[revision] = Temperature.HOT
        if tick < self._tape.from_tick:
            return
        self._tape.call(revision, count, 0.0)
        self._used += self._trace.revisions[revision].memory_bytes
        if found is not Temperature.HOT:
            took_ms = self._wake_ms[found]
            self._wakes[took_ms] = self._wakes.get(took_ms, 0) + 1
            self._colds[revision] += found is not Temperature.PRIMED

    def turn(self, tick: int, step_ticks: int) -> None:
        """Make a plan at the beginning of this tick, and follow it until the next."""
        now_s = tick * self._trace.resolution_s
        made = plan(self._facts(now_s), self._rule, self._environments, now_s=now_s)
        self._follow(made)
        if tick >= self._tape.from_tick:
            self._held += made.planned_bytes * min(step_ticks, self._trace.ticks - tick)

    def outcome(self) -> Outcome:
        """The sums. Memory in use counts as held, too."""
        wasted = max(0, self._held - self._used)
        return summed(self._tape, self._trace, wasted, self._colds, self._wakes)

    def _found(self, revision: int) -> Temperature:
        temperature = self._temperatures[revision]
        if temperature is Temperature.COLD and _environment(revision, self._anatomy) in self._warm:
            return Temperature.WARM
        return temperature

    def _facts(self, now_s: float) -> Sequence[Facts]:
        facts: list[Facts] = []
        anatomy = self._anatomy
        wakes = Wakes(cold_ms=anatomy.cold_ms, warm_ms=anatomy.warm_ms, primed_ms=anatomy.primed_ms)
        for number in sorted(self._prospects):
            primed_bytes = anatomy.primed_bytes(self._trace.revisions[number].memory_bytes)
            wake = Wake(anatomy.cold_ms / 1e3, anatomy.warm_ms, primed_bytes)
            outlook = self._prospects[number].outlook(now_s, wake)
            facts.append(
                Facts(
                    revision=str(number),
                    environment=_environment(number, anatomy),
                    temperature=self._temperatures[number],
                    rate=outlook.rate,
                    rank=outlook.rank,
                    wakes=wakes,
                    primed_bytes=primed_bytes,
                    hot_bytes=anatomy.worker_bytes,
                )
            )
        return facts

    def _follow(self, made: Plan) -> None:
        self._warm = made.environments
        for name, assignment in made.assignments.items():
            number = int(name)
            found = ORDER[self._temperatures[number]]
            if assignment.reason is Reason.PRICE and found >= ORDER[Temperature.PRIMED]:
                self._prospects[number].evicted()
            self._temperatures[number] = assignment.temperature


def _environment(revision: int, anatomy: Anatomy) -> str:
    return f"environment-{revision % anatomy.environments}"
