"""What a project used in a period, and what that would have cost under each price plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from lambent.core.pricing import (
    OWN_METER,
    PLANS,
    Confidence,
    MissingMeter,
    PricePlan,
    UsageClass,
    gb_seconds,
    price,
    total,
    without_free_allowance,
)
from lambent.metering.ledger import BY_LABEL, HOUR_MS, Ledger, UsageHour
from lambent.wire.api import UsageLine, UsageView

US_IN_S: Final = 1_000_000


class Statements:
    """Statements from a ledger. Methods block and may be called from any thread."""

    def __init__(self, ledger: Ledger, plans: Mapping[str, PricePlan] = PLANS) -> None:
        self._ledger = ledger
        self._plans = plans

    def end_unix_ms(self, project: str) -> int:
        """When the last hour ends in which a project used anything: ahead where the clock was set back."""
        self._ledger.catch_up()
        return self._ledger.end_unix_ms(project)

    def usage(self, project: str, *, since_unix_ms: int, until_unix_ms: int) -> UsageView:
        """What a project used, up to the last invocation that has ended.

        The ledger counts by the hour: the period is widened to whole hours, and the view says to which.
        Prices are without a plan's free allowance, so that the lines add up to the total. A plan whose meter
        did not read all of the usage is left out.
        """
        self._ledger.catch_up()
        since = since_unix_ms - since_unix_ms % HOUR_MS
        until = until_unix_ms + -until_unix_ms % HOUR_MS
        hours = self._ledger.hours(project, since_unix_ms=since, until_unix_ms=until)
        return UsageView(
            since_unix_ms=since,
            until_unix_ms=until,
            lines=tuple(
                self._line(deployment, list(of_one))
                for deployment, of_one in groupby(hours, key=lambda hour: hour.deployment)
            ),
            total=self._line("", hours),
            torn_records=self._ledger.torn_records(),
            plans={name: described(plan) for name, plan in self._plans.items()},
        )

    def _line(self, deployment: str, hours: Sequence[UsageHour]) -> UsageLine:
        return UsageLine(
            deployment=deployment,
            invocations=sum(hour.invocations for hour in hours),
            failed=sum(hour.failed for hour in hours),
            cold_starts=sum(hour.cold_starts for hour in hours),
            billed_ms=sum(hour.billed_ms for hour in hours),
            gb_s=float(total(gb_seconds(hour.memory_bytes, hour.billed_ms) for hour in hours)),
            cpu_s=sum(hour.cpu_us for hour in hours) / US_IN_S,
            cost_usd=self._costs(hours),
        )

    def _costs(self, hours: Iterable[UsageHour]) -> dict[str, float]:
        usage = [_usage_class(hour) for hour in hours]
        costs = {}
        for name, plan in self._plans.items():
            try:
                costs[name] = float(price(without_free_allowance(plan), usage).total_usd)
            except MissingMeter:
                continue  # a plan that is newer than the usage
        return costs


def described(plan: PricePlan) -> str:
    """A plan in one sentence: where its prices are from, how sure they are, and what is not taken off."""
    sure = "" if plan.confidence is Confidence.PUBLISHED else f" ({plan.confidence.replace('_', ' ')})"
    allowances = [
        f"{amount:,} {what}"
        for amount, what in (
            (plan.free_requests, "requests"),
            (plan.free_gb_s, "GB-s"),
            (plan.free_vcpu_s, "vCPU-s"),
        )
        if amount
    ]
    free = f"; not taken off: {', '.join(allowances)} free each month" if allowances else ""
    return f"{plan.source}{sure}{free}"


def _usage_class(hour: UsageHour) -> UsageClass:
    # Our own meter's reading is what users were told, so that the bill is made of the numbers they saw.
    known = {BY_LABEL[label]: billed for label, billed in hour.readings.items() if label in BY_LABEL}
    return UsageClass(
        memory_bytes=hour.memory_bytes,
        invocations=hour.invocations,
        billed_ms={**known, OWN_METER: hour.billed_ms},
        data_bytes=hour.request_bytes + hour.response_bytes,
    )
