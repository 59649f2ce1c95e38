"""A run's price agrees with the bill of its usage, its forecast with its end, its bound with its price."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.costing import LONGEST_MS, Forecast, Rate, forecast
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


@given(
    st.floats(0.0001, 100.0),
    st.integers(0, 10 * HOUR_MS),
    st.integers(0, 100),
    st.integers(128, 65_536),
    st.integers(1, 16),
    st.sampled_from(sorted(PLANS)),
)
def test_a_bound_lasts_until_the_price_has_come_to_it(
    budget_usd: float, running_ms: int, slices: int, memory_mib: int, workers: int, plan: str
) -> None:
    rate = Rate(memory_bytes=memory_mib * 2**20, workers=workers, plan=PLANS[plan])
    left_s = rate.lasts_s(budget_usd, running_ms=running_ms, slices=slices)

    def costs_usd(ms: int) -> float:
        return rate.cost_usd(running_ms=running_ms + ms, slices=slices + 1)

    left_ms = round(left_s * 1000)
    assert left_ms == 0 or costs_usd(left_ms) <= budget_usd
    assert left_ms == LONGEST_MS - 1 or costs_usd(left_ms + 1) > budget_usd


def test_a_bound_that_is_reached_lasts_no_longer() -> None:
    assert GB.lasts_s(0.01, running_ms=HOUR_MS, slices=1) == 0


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
