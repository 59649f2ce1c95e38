"""Usage and its charge: the providers' own worked examples, to the cent, then the laws of exact sums."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.pricing import (
    METERS,
    MIB,
    OWN_METER,
    PLANS,
    Charge,
    Confidence,
    Meter,
    MissingMeter,
    PricePlan,
    UsageClass,
    gb_seconds,
    price,
    total,
    without_free_allowance,
)

GIB = 1024 * MIB


def cents(amount_usd: Decimal) -> Decimal:
    """As a provider's example prints it, half a cent up."""
    return amount_usd.quantize(Decimal("0.01"), ROUND_HALF_UP)


def readings(*, run_us: int, init_us: int) -> Mapping[Meter, int]:
    """One invocation as each meter reads it."""
    return {meter: meter.read(run_us=run_us, init_us=init_us) for meter in METERS}


def alike(
    invocations: int, run_ms: int, memory_mb: int, *, storage_mb: int = 512, init_ms: int = 0
) -> UsageClass:
    """`invocations` that all took the same."""
    one = readings(run_us=run_ms * 1000, init_us=init_ms * 1000)
    return UsageClass(
        memory_bytes=memory_mb * MIB,
        invocations=invocations,
        billed_ms={meter: billed_ms * invocations for meter, billed_ms in one.items()},
        storage_bytes=storage_mb * MIB,
    )


EXAMPLES = [
    pytest.param(PLANS["aws-lambda"], alike(3_000_000, 120, 1536), "2.73", id="AWS 1"),
    pytest.param(
        without_free_allowance(PLANS["aws-lambda"]), alike(7_440_000, 2000, 1024), "249.49", id="AWS 2"
    ),
    pytest.param(
        PLANS["aws-lambda"], alike(6_000_000, 280, 4096, storage_mb=2048), "106.41", id="AWS 3, scratch space"
    ),
    pytest.param(PLANS["aws-lambda-edge"], alike(10_000_000, 10, 128), "6.63", id="Lambda@Edge"),
    pytest.param(
        PLANS["aws-lambda-100ms"], alike(3_000_000, 1000, 512), "18.74", id="AWS in steps of 100 ms"
    ),
]


@pytest.mark.parametrize(("plan", "usage", "total_usd"), EXAMPLES)
def test_a_worked_example_comes_out_to_the_cent(plan: PricePlan, usage: UsageClass, total_usd: str) -> None:
    assert cents(price(plan, [usage]).total_usd) == Decimal(total_usd)


def test_the_parts_of_aws_s_first_example() -> None:
    charge = price(PLANS["aws-lambda"], [alike(3_000_000, 120, 1536)])
    assert charge.gb_s == 540_000
    assert charge.gb_s_billed == 140_000
    assert (charge.requests, charge.requests_billed) == (3_000_000, 2_000_000)
    assert cents(charge.duration_usd) == Decimal("2.33")
    assert charge.requests_usd == Decimal("0.40")


def test_azure_s_example_of_nine_days() -> None:
    hour = UsageClass(
        memory_bytes=128 * MIB,
        invocations=6_500_012,
        billed_ms=dict.fromkeys(METERS, 90_305_037_184 // 128),
    )
    charge = price(without_free_allowance(PLANS["azure-functions"]), [hour])
    assert charge.gb_s.quantize(Decimal("0.1")) == Decimal("88188.5")
    assert charge.total_usd.quantize(Decimal("0.001")) == Decimal("2.711")
    assert cents(charge.total_usd * 24 * 9) == Decimal("585.58")


def test_cloud_run_bills_the_processor_beside_the_memory() -> None:
    charge = price(PLANS["google-cloud-run"], [alike(2_000_000, 250, 1024)])
    # 0.3 s each: 600,000 vCPU-s less 180,000, and 600,000 GiB-s less 360,000; the requests are free.
    assert charge.requests_usd == 0
    assert charge.duration_usd == 420_000 * Decimal("0.000024") + 240_000 * Decimal("0.0000025")


def test_data_is_billed_where_the_plan_says_so() -> None:
    usage = msgspec.structs.replace(alike(1, 1, 1024), data_bytes=10 * GIB)
    assert price(PLANS["sagemaker-serverless"], [usage]).data_usd == Decimal("0.16")
    assert price(PLANS["aws-lambda"], [usage]).data_usd == 0


@pytest.mark.parametrize(
    ("meter", "run_us", "init_us", "billed_ms"),
    [
        pytest.param(Meter(), 1, 0, 1, id="a microsecond is a millisecond"),
        pytest.param(Meter(), 0, 0, 1, id="nothing runs for nothing"),
        pytest.param(Meter(), 3000, 0, 3, id="a whole millisecond is itself"),
        pytest.param(Meter(), 3001, 0, 4, id="and a hair more is the next"),
        pytest.param(Meter(granularity_ms=100, minimum_ms=100), 260_000, 0, 300, id="Google's 260 ms"),
        pytest.param(Meter(granularity_ms=100, minimum_ms=100), 300_000, 0, 300, id="a whole step"),
        pytest.param(Meter(granularity_ms=1000, minimum_ms=1000), 1, 0, 1000, id="Modal's second"),
        pytest.param(Meter(minimum_ms=100), 30_500, 0, 100, id="a minimum above the step"),
        pytest.param(Meter(minimum_ms=100), 130_500, 0, 131, id="above the minimum by steps"),
        pytest.param(Meter(), 5000, 900_000, 5, id="a wake is not billed"),
        pytest.param(Meter(bills_init=True), 5400, 900_400, 906, id="a wake is billed, rounded once"),
    ],
)
def test_a_meter_reads_one_invocation(meter: Meter, run_us: int, init_us: int, billed_ms: int) -> None:
    assert meter.read(run_us=run_us, init_us=init_us) == billed_ms


def test_a_cold_start_costs_more_at_aws_and_nothing_at_lambent() -> None:
    cold, warm = alike(1, 10, 512, init_ms=2000), alike(1, 10, 512)
    assert cold.billed_ms[OWN_METER] == warm.billed_ms[OWN_METER] == 10
    plan = without_free_allowance(PLANS["aws-lambda"])
    ratio = price(plan, [cold]).duration_usd / price(plan, [warm]).duration_usd
    assert ratio == 201


@pytest.mark.parametrize(
    ("plan", "memory_mb", "billed_mb"),
    [("aws-lambda", 64, 128), ("aws-lambda", 160, 160), ("azure-functions", 160, 256), ("modal-cpu", 16, 16)],
)
def test_memory_is_rounded_as_the_plan_says(plan: str, memory_mb: int, billed_mb: int) -> None:
    charge = price(PLANS[plan], [alike(1000, 1000, memory_mb)])
    assert charge.gb_s == Decimal(billed_mb * 1000) / 1024


def test_usage_that_was_not_read_by_the_plan_s_meter_has_no_price() -> None:
    usage = UsageClass(memory_bytes=GIB, invocations=1, billed_ms={Meter(): 10})
    with pytest.raises(MissingMeter, match="'aws-lambda-100ms' needs readings of 100ms"):
        price(PLANS["aws-lambda-100ms"], [usage])


def test_no_usage_costs_nothing() -> None:
    for plan in PLANS.values():
        assert price(plan, []).total_usd == 0
        assert price(plan, [UsageClass(memory_bytes=GIB, invocations=0, billed_ms={})]).total_usd == 0


def test_every_plan_says_where_it_comes_from_and_what_is_only_remembered_says_so() -> None:
    for name, plan in PLANS.items():
        assert plan.name == name
        assert plan.source
        assert plan.per_gb_s > 0
        assert ("from memory" in plan.source) == (plan.confidence is Confidence.FROM_MEMORY)
        assert ("second-hand" in plan.source) == (plan.confidence is Confidence.SECOND_HAND)


def test_meters_have_names_of_their_own_and_cover_every_plan() -> None:
    assert {plan.meter for plan in PLANS.values()} <= set(METERS)
    assert [meter.label for meter in METERS] == ["1ms", "1ms+init", "100ms", "1000ms"]
    assert Meter(minimum_ms=100).label == "1ms>=100ms"


runs = st.lists(st.tuples(st.integers(0, 5_000_000), st.integers(0, 3_000_000)), max_size=20)
plans = st.sampled_from(sorted(PLANS)).map(PLANS.__getitem__)


def summed(runs: Sequence[tuple[int, int]], memory_bytes: int) -> UsageClass:
    read = [readings(run_us=run_us, init_us=init_us) for run_us, init_us in runs]
    return UsageClass(
        memory_bytes=memory_bytes,
        invocations=len(runs),
        billed_ms={meter: sum(each[meter] for each in read) for meter in METERS},
        data_bytes=sum(run_us for run_us, _ in runs),
    )


@given(plans, st.lists(runs, max_size=5), st.integers(1, 10 * GIB))
def test_the_charges_of_the_parts_add_up_to_the_charge_of_the_whole(
    plan: PricePlan, parts: list[list[tuple[int, int]]], memory_bytes: int
) -> None:
    plan = without_free_allowance(plan)
    whole = price(plan, [summed([run for part in parts for run in part], memory_bytes)])
    each = [price(plan, [summed(part, memory_bytes)]) for part in parts]
    assert total(charge.total_usd for charge in each) == whole.total_usd
    assert total(charge.gb_s for charge in each) == whole.gb_s


@given(plans, runs, st.integers(1, 10 * GIB))
def test_a_free_allowance_never_raises_a_charge_nor_makes_it_negative(
    plan: PricePlan, runs: list[tuple[int, int]], memory_bytes: int
) -> None:
    usage = [summed(runs, memory_bytes)]
    assert 0 <= price(plan, usage).total_usd <= price(without_free_allowance(plan), usage).total_usd


@given(plans, st.integers(1, 2**47), st.integers(1, 10**15))
def test_amounts_stay_exact_at_any_scale(plan: PricePlan, memory_bytes: int, billed_ms: int) -> None:
    usage = UsageClass(
        memory_bytes=memory_bytes,
        invocations=10**12,
        billed_ms=dict.fromkeys(METERS, billed_ms),
        data_bytes=2**60 + 1,
    )
    charge = price(plan, [usage])  # would raise `decimal.Inexact`
    assert isinstance(charge, Charge)
    assert Fraction(gb_seconds(memory_bytes, billed_ms)) * 2**30 * 1000 == memory_bytes * billed_ms


@given(runs)
def test_a_coarser_meter_never_reads_less(runs: list[tuple[int, int]]) -> None:
    for run_us, init_us in runs:
        read = readings(run_us=run_us, init_us=init_us)
        assert read[OWN_METER] <= read[Meter(bills_init=True)]
        assert read[OWN_METER] <= read[Meter(granularity_ms=100, minimum_ms=100)]
        assert read[OWN_METER] * 1000 >= run_us
