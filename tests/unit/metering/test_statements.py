"""A statement adds up, says its period, and prices what users were told."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from lambent.core.invocation import Status
from lambent.core.pricing import PLANS, Meter
from lambent.core.spec import Temperature
from lambent.metering.ledger import Ledger
from lambent.metering.segment import segments_in
from lambent.metering.statements import Statements, described
from lambent.wire.api import UsageView
from tests.support.usage import HOUR_MS, MIB, NOON_UNIX_MS, used

Write = Callable[..., None]


def statement(ledger: Ledger) -> UsageView:
    return Statements(ledger).usage(
        "default", since_unix_ms=NOON_UNIX_MS - 5 * HOUR_MS, until_unix_ms=NOON_UNIX_MS + HOUR_MS
    )


def test_it_has_a_line_for_each_deployment_and_their_total(ledger: Ledger, write: Write) -> None:
    write(
        used(deployment="hello", memory_bytes=1024 * MIB, billed_ms=500, run_us=500_000, cpu_us=250_000),
        used(
            deployment="hello", memory_bytes=512 * MIB, billed_ms=1000, run_us=1_000_000, status=Status.FAILED
        ),
        used(deployment="digits", temperature=Temperature.PRIMED, billed_init_ms=40),
        used(project="second"),
    )
    view = statement(ledger)
    assert [line.deployment for line in view.lines] == ["digits", "hello"]
    hello = view.lines[1]
    assert (hello.invocations, hello.failed, hello.cold_starts, hello.billed_ms) == (2, 1, 0, 1500)
    assert hello.gb_s == 1.0
    assert hello.cpu_s == pytest.approx(0.252)
    total = view.total
    assert (total.deployment, total.invocations, total.failed, total.cold_starts) == ("", 3, 1, 1)
    assert total.billed_ms == sum(line.billed_ms for line in view.lines)
    for plan in view.plans:
        assert total.cost_usd[plan] == pytest.approx(sum(line.cost_usd[plan] for line in view.lines))


def test_the_price_at_aws_is_that_of_its_page(ledger: Ledger, write: Write) -> None:
    # 1000 invocations of 120 ms at 1536 MiB: 180 GB-s and 1000 requests.
    write(*[used(memory_bytes=1536 * MIB, billed_ms=120, run_us=120_000) for _ in range(1000)])
    view = statement(ledger)
    assert view.total.gb_s == 180.0
    assert view.total.cost_usd["aws-lambda"] == pytest.approx(180 * 0.0000166667 + 1000 * 0.0000002)
    assert next(iter(view.plans)) == "aws-lambda"


def test_every_plan_has_a_price_and_a_sentence(ledger: Ledger, write: Write) -> None:
    write(used())
    view = statement(ledger)
    assert list(view.plans) == list(view.total.cost_usd) == list(PLANS)
    assert all(cost > 0 for cost in view.total.cost_usd.values())
    assert "1,000,000 requests, 400,000 GB-s free each month" in view.plans["aws-lambda"]
    assert "(from memory)" in view.plans["sagemaker-serverless"]


def test_a_period_is_widened_to_whole_hours_and_says_so(ledger: Ledger, write: Write) -> None:
    write(*[used(started_unix_ms=NOON_UNIX_MS + turn * HOUR_MS) for turn in range(-1, 3)])
    view = Statements(ledger).usage(
        "default", since_unix_ms=NOON_UNIX_MS + 1, until_unix_ms=NOON_UNIX_MS + HOUR_MS + 1
    )
    assert (view.since_unix_ms, view.until_unix_ms) == (NOON_UNIX_MS, NOON_UNIX_MS + 2 * HOUR_MS)
    assert view.total.invocations == 2


def test_it_covers_the_invocation_that_has_just_ended(ledger: Ledger, write: Write) -> None:
    for number in range(1, 4):
        write(used())
        assert statement(ledger).total.invocations == number


def test_nothing_used_costs_nothing(ledger: Ledger) -> None:
    view = statement(ledger)
    assert view.lines == ()
    assert view.total.invocations == 0
    assert set(view.total.cost_usd.values()) == {0.0}


def test_unreadable_records_are_shown(ledger: Ledger, write: Write, folder: Path) -> None:
    write(used(), used())
    (segment,) = segments_in(folder)
    segment.write_bytes(segment.read_bytes()[:-5])
    write()
    assert statement(ledger).torn_records == 1


def test_a_plan_that_is_newer_than_the_usage_is_left_out(ledger: Ledger, write: Write) -> None:
    write(used())
    newer = msgspec.structs.replace(PLANS["aws-lambda"], name="newer", meter=Meter(granularity_ms=7))
    plans = {"newer": newer, "azure-functions": PLANS["azure-functions"]}
    view = Statements(ledger, plans).usage("default", since_unix_ms=0, until_unix_ms=NOON_UNIX_MS + HOUR_MS)
    assert list(view.total.cost_usd) == ["azure-functions"]


def test_a_plan_without_allowance_promises_none() -> None:
    plan = msgspec.structs.replace(PLANS["modal-cpu"], per_gb_s=Decimal(1))
    assert "free" not in described(plan)


def test_the_last_hour_with_usage_is_known_though_the_clock_was_set_back(
    ledger: Ledger, write: Write
) -> None:
    statements = Statements(ledger)
    assert statements.end_unix_ms("default") == 0
    write(used(started_unix_ms=NOON_UNIX_MS + 5 * HOUR_MS), used(started_unix_ms=NOON_UNIX_MS))
    assert statements.end_unix_ms("default") == NOON_UNIX_MS + 6 * HOUR_MS
    assert statements.end_unix_ms("second") == 0
