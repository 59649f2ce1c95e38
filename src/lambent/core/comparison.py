"""Compares keep-alive policies on one trace: fitted on its first half, judged on its second, at equal memory.

The hybrid histogram sets the memory that the others may waste. Ours appears twice for each way of keeping (as
a whole or not, `forecast`, which the literature measures; by temperature, `economic`, as a server does it):
at the price that wasted as much as the hybrid histogram in the first half, which is what one would have set,
and at the price that wastes as much in the second, so that cold starts compare at equal memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from lambent.core.budgeted import greedy_dual_at
from lambent.core.outcomes import Anatomy, Outcome, Reading, alive_or_dead, fit_price, tempered
from lambent.core.planned import planned
from lambent.core.policies.base import PolicyName
from lambent.core.policies.forecast import Foreseen
from lambent.core.policies.windows import FIXED_S, FixedKeepAlive, HybridHistogram
from lambent.core.simulation import Tape, Trace, replay

CURVE: Final = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)


class Policy(StrEnum):
    """What can be compared: what a server may run, and our forecast where there are no temperatures."""

    FIXED = PolicyName.FIXED.value
    HYBRID = PolicyName.HYBRID.value
    GDSF = PolicyName.GDSF.value
    FORECAST = "forecast"
    ECONOMIC = PolicyName.ECONOMIC.value


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One policy at one setting. `knob` says which setting and how it was chosen."""

    policy: str
    knob: str
    outcome: Outcome


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`curves` has, by policy, what it comes to from dear memory to cheap. Ticks say what was judged."""

    trace: str
    revisions: int
    from_tick: int
    until_tick: int
    resolution_s: float
    rows: Sequence[Row]
    curves: Mapping[str, Sequence[Outcome]]


def compare(
    trace: Trace, policies: Sequence[Policy], anatomy: Anatomy, *, budget_bytes: int | None = None
) -> Comparison:
    """Rows in the order of `policies`; with a budget one more for each that a server may run, under it.

    Raises `ValueError` for a trace of less than two ticks.
    """
    if trace.ticks < 2:
        raise ValueError("a trace of less than two ticks has no halves")
    half = trace.ticks // 2
    count = len(trace.revisions)
    hybrid = replay(trace, HybridHistogram(count), cuts=[half])
    judged = _Judged(trace, anatomy, [alive_or_dead(tape, trace, 0.0, anatomy) for tape in hybrid])
    for policy in policies:
        judged.add(policy)
    if budget_bytes is not None:
        for name in (PolicyName(policy) for policy in policies if policy is not Policy.FORECAST):
            outcome = planned(trace, name, anatomy, budget_bytes=budget_bytes, from_tick=half)
            knob = f"thermostat, {budget_bytes / 2**30:.1f} GiB"
            judged.rows.append(Row(policy=name.value, knob=knob, outcome=outcome))
    return Comparison(
        trace=trace.name,
        revisions=count,
        from_tick=half,
        until_tick=trace.ticks,
        resolution_s=trace.resolution_s,
        rows=judged.rows,
        curves=judged.curves,
    )


class _Judged:
    """The rows so far, and the replay of our own forecast, which two policies read."""

    def __init__(self, trace: Trace, anatomy: Anatomy, hybrid: Sequence[Outcome]) -> None:
        self._trace, self._anatomy, self._hybrid = trace, anatomy, hybrid
        self._foreseen: Sequence[Tape] | None = None
        self.rows: list[Row] = []
        self.curves: dict[str, Sequence[Outcome]] = {}

    def add(self, policy: Policy) -> None:
        """Judge one more policy."""
        match policy:
            case Policy.HYBRID:
                self._row(policy, "as published", self._hybrid[1])
            case Policy.FIXED:
                self._row(policy, f"{FIXED_S / 60:g} min", self._fixed())
            case Policy.GDSF:
                self._row(policy, "budget for equal memory", self._greedy_dual())
            case Policy.FORECAST | Policy.ECONOMIC:
                self._priced(policy, READINGS[policy])

    def _row(self, policy: Policy, knob: str, outcome: Outcome) -> None:
        self.rows.append(Row(policy=policy.value, knob=knob, outcome=outcome))

    def _fixed(self) -> Outcome:
        trace = self._trace
        keep = FixedKeepAlive(len(trace.revisions), FIXED_S)
        return alive_or_dead(replay(trace, keep, cuts=[trace.ticks // 2])[1], trace, 0.0, self._anatomy)

    def _greedy_dual(self) -> Outcome:
        wasted_gb_s = self._hybrid[1].wasted_gb_s
        cuts = [self._trace.ticks // 2]
        return greedy_dual_at(self._trace, self._anatomy, wasted_gb_s=wasted_gb_s, cuts=cuts)[1]

    def _priced(self, policy: Policy, reading: Reading) -> None:
        trace, anatomy = self._trace, self._anatomy
        if self._foreseen is None:
            foreseen = Foreseen(len(trace.revisions), trace.resolution_s)
            self._foreseen = replay(trace, foreseen, cuts=[trace.ticks // 2])
        first, second = self._foreseen
        prices = [
            fit_price(reading, tape, trace, anatomy, wasted_gb_s=outcome.wasted_gb_s)
            for tape, outcome in zip((first, second), self._hybrid, strict=True)
        ]
        self._row(policy, "price of the first half", reading(second, trace, prices[0], anatomy))
        self._row(policy, "price for equal memory", reading(second, trace, prices[1], anatomy))
        self.curves[policy.value] = [
            reading(second, trace, prices[1] * factor, anatomy) for factor in reversed(CURVE)
        ]


READINGS: Final[Mapping[Policy, Reading]] = MappingProxyType(
    {Policy.FORECAST: alive_or_dead, Policy.ECONOMIC: tempered}
)
