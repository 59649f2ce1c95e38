"""A run's price agrees with the bill of its usage, its forecast with its end."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from lambent.core.costing import Forecast, Rate, forecast
from lambent.core.pricing import GIB, PLANS

GB = Rate(memory_bytes=GIB)
HOUR_MS = 3_600_000


def test_an_hour_of_a_gigabyte_costs_what_the_plan_says() -> None:
    per_hour = 3600 * Decimal("0.0000166667") + Decimal("0.0000002")
    assert GB.cost_usd(running_ms=HOUR_MS, slices=1) == pytest.approx(float(per_hour))


@pytest.mark.parametrize(
    ("rate", "times"),
    [
        pytest.param(Rate(memory_bytes=8 * GIB), 8, id="memory"),
        pytest.param(Rate(memory_bytes=GIB, workers=4), 4, id="workers"),
    ],
)
def test_more_of_it_costs_as_much_more(rate: Rate, times: int) -> None:
    one = GB.cost_usd(running_ms=HOUR_MS, slices=1)
    assert rate.cost_usd(running_ms=HOUR_MS, slices=1) == pytest.approx(times * one, rel=1e-4)


def test_what_has_not_run_costs_nothing() -> None:
    assert GB.cost_usd(running_ms=0, slices=0) == 0


def test_slices_are_read_as_their_plan_reads_invocations() -> None:
    rate = Rate(memory_bytes=GIB, plan=PLANS["modal-cpu"])  # whole seconds
    assert rate.cost_usd(running_ms=1500, slices=3) == pytest.approx(rate.cost_usd(running_ms=3000, slices=3))


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        pytest.param(0.0, None, id="nothing is told"),
        pytest.param(0.009, None, id="too little is done"),
        pytest.param(0.25, Forecast(8.0, 30.0), id="a quarter is done"),
        pytest.param(1.0, None, id="all is done"),
        pytest.param(math.nan, None, id="nonsense is told"),
    ],
)
def test_a_forecast_goes_by_the_share_that_is_done(progress: float, told: Forecast | None) -> None:
    assert forecast(cost_usd=2.0, running_ms=10_000, progress=progress) == told
