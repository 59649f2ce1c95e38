"""Knative's autoscaler as it is compared with: the numbers that its own tests and documents give."""

import pytest

from benchmarks.kpa import Buckets, Kpa, KpaConfig, Panic, scale

# Knative's own tests use a target of 10 a pod: pkg/autoscaler/scaling/autoscaler_test.go.
TEN = KpaConfig(container_concurrency=10.0, target_utilisation=1.0, scale_up_rate_max=10.0)


def test_the_defaults_are_those_of_config_autoscaler() -> None:
    config = KpaConfig()
    assert (config.stable_window_s, config.panic_window_s, config.tick_s) == (60.0, 6.0, 2.0)
    assert (config.panic_threshold, config.scale_up_rate_max, config.scale_down_rate_max) == (
        2.0,
        1000.0,
        2.0,
    )
    assert (config.target_burst_capacity, config.scale_to_zero_grace_s) == (211.0, 30.0)
    assert KpaConfig(container_concurrency=10.0).target == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("stable", "burst", "ready", "pods"),
    [
        pytest.param(50, 50, 1, 5, id="five pods for fifty requests"),
        pytest.param(1, 1, 1, 1, id="rounded up"),
        pytest.param(50, 50, 0, 5, id="no pod counts as one"),
        pytest.param(1000, 1000, 1, 10, id="no more than ten times as many"),
        pytest.param(0, 0, 10, 5, id="no fewer than half"),
        pytest.param(0, 0, 1, 0, id="one pod may go"),
        pytest.param(30, 10, 10, 5, id="a lower stable average, held by the rate"),
    ],
)
def test_one_evaluation(stable: float, burst: float, ready: int, pods: int) -> None:
    assert scale(TEN, stable=stable, burst=burst, ready=ready, panic=None, now_s=0).pods == pods


def test_a_panic_begins_at_twice_the_pods_and_takes_the_short_window() -> None:
    calm = scale(TEN, stable=10, burst=19, ready=1, panic=None, now_s=0)
    assert (calm.pods, calm.panic) == (2, Panic(0, 2))  # 19 takes two pods, which is twice the one
    assert scale(TEN, stable=10, burst=10, ready=1, panic=None, now_s=0).panic is None
    assert scale(TEN, stable=10, burst=80, ready=1, panic=None, now_s=0) == scale(
        TEN, stable=80, burst=80, ready=1, panic=None, now_s=0
    )


def test_a_panic_never_shrinks_and_ends_a_stable_window_after_its_last_sign() -> None:
    panic = scale(TEN, stable=10, burst=80, ready=1, panic=None, now_s=0).panic
    held = scale(TEN, stable=10, burst=10, ready=8, panic=panic, now_s=60)
    assert (held.pods, held.panic) == (8, Panic(0, 8))
    over = scale(TEN, stable=10, burst=10, ready=8, panic=panic, now_s=61)
    assert (over.pods, over.panic) == (4, None)


@pytest.mark.parametrize(("ready", "burst", "excess"), [(0, 0, -211), (1, 5, -206), (40, 100, 89)])
def test_spare_capacity_decides_who_is_in_the_path(ready: int, burst: float, excess: int) -> None:
    scaled = scale(TEN, stable=burst, burst=burst, ready=ready, panic=None, now_s=0)
    assert scaled.excess_burst_capacity == excess


def test_an_average_is_over_the_seconds_that_there_are() -> None:
    buckets = Buckets(60)
    assert buckets.empty(0)
    for second in range(1, 7):
        buckets.record(second, 10)
    assert buckets.average(6) == 10  # six seconds, not sixty
    for second in range(7, 61):
        buckets.record(second, 0)
    assert buckets.average(60) == 1
    assert buckets.average(63) == pytest.approx(30 / 57, abs=1e-6)
    assert (buckets.average(120), buckets.empty(120), buckets.empty(121)) == (0, False, True)


def test_values_of_one_second_add_up_and_gaps_count_as_nothing() -> None:
    buckets = Buckets(6)
    buckets.record(10.1, 1)
    buckets.record(10.9, 2)
    buckets.record(13.5, 3)
    assert buckets.average(13.9) == 6 / 4
    buckets.record(30, 5)
    assert buckets.average(30) == 5


def test_the_first_request_to_nothing_is_acted_upon_at_once() -> None:
    kpa = Kpa(KpaConfig(container_concurrency=1.0), pods=0)
    assert kpa.changed(1, 0, 100.2)
    assert not kpa.changed(2, 0, 100.3)
    assert kpa.tick(0, 100.2 + 0.1) == 2  # one request over a target of 0.7


def test_a_revision_goes_to_zero_when_its_window_is_empty_and_the_activator_is_in_the_path() -> None:
    kpa = Kpa(KpaConfig(container_concurrency=1.0), pods=1)
    kpa.tick(1, 2.0)
    kpa.changed(1, 1, 10.0)
    kpa.changed(0, 1, 10.5)
    pods = {now_s: kpa.tick(1, float(now_s)) for now_s in range(12, 120, 2)}
    gone = min(now_s for now_s, count in pods.items() if count == 0)
    assert 70 <= gone <= 76
    assert all(count >= 1 for now_s, count in pods.items() if now_s < 70)


def test_half_of_the_pods_go_at_a_tick() -> None:
    kpa = Kpa(KpaConfig(container_concurrency=1.0), pods=16)
    kpa.changed(11, 16, 1.0)
    kpa.tick(16, 60.0)
    kpa.changed(0, 16, 60.0)
    seen, ready = [], 16
    for now_s in range(122, 140, 2):
        ready = kpa.tick(ready, float(now_s))
        seen.append(ready)
    assert seen[:4] == [8, 4, 2, 1]
