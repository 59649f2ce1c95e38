"""What a run of a job costs: so far, and at its end as far as anybody can tell.

A run is priced as its usage is: each slice is one invocation that held the job's memory for as long as it
ran, times as many workers as it has. Checkpoints are not priced: no plan has a price for files that are kept
on the user's own disk. Free allowances are left out, as in `lambent usage`: they are the account's, not the
run's.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from lambent.core.pricing import PLANS, PricePlan, UsageClass, price, without_free_allowance

# The prices that most readers know, and those that `lambent usage` shows.
PLAN: Final = PLANS["aws-lambda"]
# Below this share of the work a forecast would be a guess.
PROGRESS_MIN: Final = 0.01


class Forecast(msgspec.Struct, frozen=True):
    """What a run will have come to at its end if it goes on as so far: dollars, and seconds from now on."""

    cost_usd: float
    left_s: float


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's running costs: `memory_bytes` in each of `workers` processes, under a price plan."""

    memory_bytes: int
    workers: int = 1
    plan: PricePlan = PLAN

    def cost_usd(self, *, running_ms: int, slices: int) -> float:
        """The price of so much running time, in so many slices."""
        if running_ms <= 0 and slices <= 0:
            return 0.0
        calls = max(1, slices)
        meter = self.plan.meter
        # Rounding up is done once for each slice: by the mean, since only the sum of them is known.
        billed_ms = calls * meter.read(run_us=math.ceil(running_ms * 1000 / calls))
        usage = UsageClass(
            memory_bytes=self.memory_bytes,
            invocations=calls * self.workers,
            billed_ms={meter: billed_ms * self.workers},
        )
        return float(price(without_free_allowance(self.plan), [usage]).total_usd)


def forecast(*, cost_usd: float, running_ms: int, progress: float) -> Forecast | None:
    """By the share of the work that is done; None while too little of it is, or none is told."""
    if not PROGRESS_MIN <= progress < 1 or running_ms <= 0:
        return None
    times = 1 / progress
    return Forecast(cost_usd=cost_usd * times, left_s=running_ms / 1000 * (times - 1))
