"""Replays greedy-dual-size-frequency, which knows a budget of bytes instead of a price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.core.outcomes import Anatomy, Outcome, summed
from lambent.core.policies.greedy_dual import GreedyDual
from lambent.core.simulation import Tape, Trace

CLOSE_ENOUGH: Final = 0.002
BISECTIONS_MAX: Final = 24


def greedy_dual(
    trace: Trace, anatomy: Anatomy, *, budget_bytes: int, cuts: Sequence[int] = ()
) -> Sequence[Outcome]:
    """What it comes to in each part of the trace between the cuts (ticks), under one budget throughout."""
    store = GreedyDual(budget_bytes)
    parts = [
        _Part(Tape(a, b), [0] * len(trace.revisions))
        for a, b in zip([0, *cuts], [*cuts, trace.ticks], strict=True)
    ]
    present, since_tick, number = parts[0], 0, 0
    for tick, revision, count in zip(trace.tick, trace.revision, trace.calls, strict=True):
        while tick >= present.tape.until_tick:
            present.held += store.used_bytes * (present.tape.until_tick - since_tick)
            since_tick, number = present.tape.until_tick, number + 1
            present = parts[number]
        present.held += store.used_bytes * (tick - since_tick)
        since_tick = tick
        size_bytes = trace.revisions[revision].memory_bytes
        present.tape.call(revision, count, 0.0)
        present.used += size_bytes
        if store.arrive(revision, size_bytes, anatomy.cold_ms) is not None:
            present.colds[revision] += 1
    for part in parts[number:]:
        part.held += store.used_bytes * (part.tape.until_tick - max(since_tick, part.tape.from_tick))
    return [part.outcome(trace, anatomy) for part in parts]


def greedy_dual_at(
    trace: Trace, anatomy: Anatomy, *, wasted_gb_s: float, cuts: Sequence[int]
) -> Sequence[Outcome]:
    """The same under the budget that wastes so much in the last part, by bisection."""
    low, high = 0, sum(revision.memory_bytes for revision in trace.revisions)
    outcomes = greedy_dual(trace, anatomy, budget_bytes=high, cuts=cuts)
    for _ in range(BISECTIONS_MAX):
        wasted = outcomes[-1].wasted_gb_s
        if abs(wasted - wasted_gb_s) <= CLOSE_ENOUGH * wasted_gb_s or high - low <= 1:
            break
        middle = (low + high) // 2
        outcomes = greedy_dual(trace, anatomy, budget_bytes=middle, cuts=cuts)
        low, high = (low, middle) if outcomes[-1].wasted_gb_s > wasted_gb_s else (middle, high)
    return outcomes


class _Part:
    """One part of the trace while it is replayed."""

    def __init__(self, tape: Tape, colds: list[int]) -> None:
        self.tape, self.colds = tape, colds
        self.held = self.used = 0  # bytes × ticks

    def outcome(self, trace: Trace, anatomy: Anatomy) -> Outcome:
        # What is in use in a tick is held in it, too: the rest is wasted.
        wasted = max(0, self.held - self.used)
        return summed(self.tape, trace, wasted, self.colds, {anatomy.cold_ms: sum(self.colds)})
