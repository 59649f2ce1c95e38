"""What usage costs under a price plan. Plans are data; sums are exact.

Providers round each invocation up, so rounding cannot be done on a sum. Usage is therefore kept once per
`Meter`, which is the way in which a plan reads one invocation (docs/decisions/0002). Amounts are `Decimal`,
and every step is exact or raises: the charges of the parts add up to the charge of the whole, and cents are
rounded where they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, localcontext
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.spec import MIB

GIB: Final = 2**30

# Prices, gigabytes and milliseconds are all decimal fractions of finite length: 100 digits hold any product
# of them.
EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero])


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """How one invocation is read: in steps of `granularity_ms`, at least `minimum_ms`, its wake in or out."""

    granularity_ms: int = 1
    minimum_ms: int = 1
    bills_init: bool = False

    def read(self, *, run_us: int, init_us: int = 0) -> int:
        """Billed milliseconds of an invocation that ran `run_us` and whose wake loaded for `init_us`."""
        used_us = run_us + (init_us if self.bills_init else 0)
        steps = -(-used_us // (self.granularity_ms * 1000))
        return max(self.minimum_ms, steps * self.granularity_ms)

    @property
    def label(self) -> str:
        """A stable name for storage: `1ms`, `100ms`, `1ms+init`, `1ms>=100ms` with a minimum of its own."""
        minimum = f">={self.minimum_ms}ms" if self.minimum_ms > self.granularity_ms else ""
        return f"{self.granularity_ms}ms{minimum}{'+init' if self.bills_init else ''}"


class Confidence(StrEnum):
    """How sure the constants of a plan are."""

    PUBLISHED = "published"  # the provider's own page or documents
    ARCHIVED = "archived"  # what the provider's page said once
    SECOND_HAND = "second_hand"
    FROM_MEMORY = "from_memory"


class PricePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's prices in US dollars, its rounding and its free allowance of one month. A GB is 2³⁰ bytes.

    Memory is billed in steps of `memory_step_bytes`, at least `memory_min_bytes`; storage above
    `storage_free_bytes`.
    """

    name: str
    source: str
    confidence: Confidence
    meter: Meter
    per_gb_s: Decimal
    per_request: Decimal = Decimal(0)
    per_vcpu_s: Decimal = Decimal(0)
    per_storage_gb_s: Decimal = Decimal(0)
    per_data_gb: Decimal = Decimal(0)
    memory_step_bytes: int = MIB
    memory_min_bytes: int = 128 * MIB
    storage_free_bytes: int = 512 * MIB
    free_requests: int = 0
    free_gb_s: int = 0
    free_vcpu_s: int = 0


class UsageClass(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of invocations that had the same resources.

    `billed_ms` is the sum of each meter's readings. `data_bytes` is what went in and out, `storage_bytes` the
    scratch space that each invocation was granted.
    """

    memory_bytes: int
    invocations: int
    billed_ms: Mapping[Meter, int]
    vcpus: int = 1
    storage_bytes: int = 512 * MIB
    data_bytes: int = 0


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What usage costs. `gb_s` and `requests` were used, of which the free allowance leaves `…_billed`.

    `duration_usd` is memory and vCPU over time. All amounts are exact.
    """

    gb_s: Decimal
    gb_s_billed: Decimal
    requests: int
    requests_billed: int
    duration_usd: Decimal
    requests_usd: Decimal
    storage_usd: Decimal
    data_usd: Decimal
    total_usd: Decimal


class MissingMeter(LookupError):
    """Usage was not read by the meter that a plan needs, so its price cannot be known."""


def price(plan: PricePlan, usage: Iterable[UsageClass]) -> Charge:
    """The charge for one account's usage of one month. Raises `MissingMeter`."""
    with localcontext(EXACT):
        requests, gb_s, vcpu_s, storage_gb_s, data_gb = 0, Decimal(0), Decimal(0), Decimal(0), Decimal(0)
        for part in usage:
            billed_ms = _billed_ms(plan, part)
            requests += part.invocations
            gb_s += gb_seconds(_billed_memory(plan, part.memory_bytes), billed_ms)
            vcpu_s += Decimal(part.vcpus * billed_ms) / 1000
            storage_gb_s += gb_seconds(max(0, part.storage_bytes - plan.storage_free_bytes), billed_ms)
            data_gb += Decimal(part.data_bytes) / GIB
        requests_billed = max(0, requests - plan.free_requests)
        gb_s_billed = max(Decimal(0), gb_s - plan.free_gb_s)
        vcpu_s_billed = max(Decimal(0), vcpu_s - plan.free_vcpu_s)
        duration_usd = gb_s_billed * plan.per_gb_s + vcpu_s_billed * plan.per_vcpu_s
        requests_usd = requests_billed * plan.per_request
        storage_usd = storage_gb_s * plan.per_storage_gb_s
        data_usd = data_gb * plan.per_data_gb
        return Charge(
            gb_s=gb_s,
            gb_s_billed=gb_s_billed,
            requests=requests,
            requests_billed=requests_billed,
            duration_usd=duration_usd,
            requests_usd=requests_usd,
            storage_usd=storage_usd,
            data_usd=data_usd,
            total_usd=duration_usd + requests_usd + storage_usd + data_usd,
        )


def _billed_ms(plan: PricePlan, part: UsageClass) -> int:
    if part.invocations and plan.meter not in part.billed_ms:
        raise MissingMeter(f"the plan {plan.name!r} needs readings of {plan.meter.label}; the usage has none")
    return part.billed_ms.get(plan.meter, 0)


def _billed_memory(plan: PricePlan, memory_bytes: int) -> int:
    steps = -(-memory_bytes // plan.memory_step_bytes)
    return max(plan.memory_min_bytes, steps * plan.memory_step_bytes)


def gb_seconds(size_bytes: int, billed_ms: int) -> Decimal:
    """`size_bytes` held for `billed_ms`, in GB-seconds, exactly."""
    with localcontext(EXACT):
        return Decimal(size_bytes * billed_ms) / (GIB * 1000)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum of amounts. Python's own `sum` would round to the 28 digits of its default context."""
    with localcontext(EXACT):
        return sum(amounts, Decimal(0))


def without_free_allowance(plan: PricePlan) -> PricePlan:
    """The plan of an account whose allowance is used up: what a part of the usage costs by itself."""
    return msgspec.structs.replace(plan, free_requests=0, free_gb_s=0, free_vcpu_s=0)


def _per_million(amount: str) -> Decimal:
    return Decimal(amount).scaleb(-6)


_READ: Final = "as read in November 2026"

# What no source states is left at its default and said in the note. GPU prices wait for usage that has GPUs.
PLANS: Final[Mapping[str, PricePlan]] = {
    plan.name: plan
    for plan in (
        PricePlan(
            name="aws-lambda",
            source=f"AWS Lambda pricing page, x86, us-east-1, {_READ}; INIT is billed since 1 August 2025",
            confidence=Confidence.PUBLISHED,
            meter=Meter(bills_init=True),
            per_gb_s=Decimal("0.0000166667"),
            per_request=_per_million("0.20"),
            per_storage_gb_s=Decimal("0.0000000309"),
            free_requests=1_000_000,
            free_gb_s=400_000,
        ),
        PricePlan(
            name="aws-lambda-edge",
            source=f"AWS's worked example for Lambda@Edge: $0.00000625125 per 128 MB-second, {_READ}",
            confidence=Confidence.PUBLISHED,
            meter=Meter(),
            per_gb_s=Decimal("0.00000625125") * 8,
            per_request=_per_million("0.60"),
        ),
        PricePlan(
            name="aws-lambda-100ms",
            source="AWS Lambda as it was until December 2020, by its worked example: steps of 100 ms",
            confidence=Confidence.ARCHIVED,
            meter=Meter(granularity_ms=100, minimum_ms=100),
            per_gb_s=Decimal("0.00001667"),
            per_request=_per_million("0.20"),
            free_requests=1_000_000,
            free_gb_s=400_000,
        ),
        PricePlan(
            name="google-cloud-run",
            source=f"second-hand, {_READ}; requests that overlap in one instance would be billed once",
            confidence=Confidence.SECOND_HAND,
            meter=Meter(granularity_ms=100, minimum_ms=100),
            per_gb_s=Decimal("0.0000025"),
            per_vcpu_s=Decimal("0.000024"),
            per_request=_per_million("0.40"),
            free_requests=2_000_000,
            free_gb_s=360_000,
            free_vcpu_s=180_000,
        ),
        PricePlan(
            name="azure-functions",
            source=f"Azure's documents of the consumption plan, {_READ}; memory granted, not measured",
            confidence=Confidence.PUBLISHED,
            meter=Meter(),
            per_gb_s=Decimal("0.000016"),
            per_request=_per_million("0.20"),
            memory_step_bytes=128 * MIB,
            free_requests=1_000_000,
            free_gb_s=400_000,
        ),
        PricePlan(
            name="modal-cpu",
            source=f"partly second-hand, {_READ}; per second and core, no minimum of memory known",
            confidence=Confidence.SECOND_HAND,
            meter=Meter(granularity_ms=1000, minimum_ms=1000),
            per_gb_s=Decimal("0.00000222"),
            per_vcpu_s=Decimal("0.0000131"),
            memory_min_bytes=MIB,
        ),
        PricePlan(
            name="sagemaker-serverless",
            source="from memory only, not checked: about these prices per GB-second and per GB of data",
            confidence=Confidence.FROM_MEMORY,
            meter=Meter(),
            per_gb_s=Decimal("0.00002"),
            per_data_gb=Decimal("0.016"),
        ),
    )
}

# What a user sees as `Lambent-Billed-Ms`: a wake costs its caller time and nothing else.
OWN_METER: Final = Meter()
METERS: Final = tuple(dict.fromkeys([OWN_METER, *(plan.meter for plan in PLANS.values())]))
