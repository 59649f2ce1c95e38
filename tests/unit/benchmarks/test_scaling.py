"""The simulator in which autoscalers are compared, and the comparison itself."""

from collections.abc import Sequence

import pytest

from benchmarks.scaling import Knative, Lambent
from benchmarks.scaling_traces import bursts
from benchmarks.scaling_world import Arrival, Scaler, Seen, Setting, play


class Fixed:
    """Always so many workers."""

    tick_s = 1.0
    drains = True

    def __init__(self, workers: int) -> None:
        self.workers_at_start = workers
        self.looked: list[Seen] = []

    def changed(self, seen: Seen, now_s: float) -> float | None:
        """Nothing is urgent."""

    def ran(self, run_s: float) -> None:
        """Nothing is learnt."""

    def look(self, seen: Seen, now_s: float) -> int:
        """As always."""
        self.looked.append(seen)
        return self.workers_at_start


ONE = Setting(slots=1, wake_s=0.5, wait_s=0.25)


def test_a_queue_is_worked_off_in_order_and_what_is_over_the_target_is_added_up() -> None:
    score = play([Arrival(1.0, 2.0), Arrival(1.0, 2.0), Arrival(1.5, 2.0)], ONE, Fixed(1))
    # Waits of 0, 2 and 3.5 s, of which 0.25 are inside the target.
    assert (score.invocations, score.missed, score.violated_s) == (3, 2, 1)
    assert score.violation_s == pytest.approx(1.75 + 3.25)
    assert score.latency_p99_s == pytest.approx(5.5)


def test_a_worker_costs_from_its_start_on_and_serves_after_its_wake() -> None:
    score = play([Arrival(0.0, 1.0)], ONE, Fixed(1))
    assert score.wait_p99_s == pytest.approx(0.5)
    assert score.worker_s == pytest.approx(120.0, abs=1.1)
    assert score.wakes == 1


def test_slots_run_at_once() -> None:
    arrivals = [Arrival(1.0, 1.0)] * 4
    assert play(arrivals, Setting(slots=4, wake_s=0.5, wait_s=0.25), Fixed(1)).missed == 0
    assert play(arrivals, Setting(slots=2, wake_s=0.5, wait_s=0.25), Fixed(1)).missed == 2


@pytest.mark.parametrize("make", [Lambent, Knative])
def test_the_same_seed_gives_the_same_score(make: type[Lambent] | type[Knative]) -> None:
    arrivals = bursts(7, hours=0.2).arrivals
    assert play(arrivals, ONE, make(ONE)) == play(arrivals, ONE, make(ONE))


@pytest.mark.parametrize("make", [Lambent, Knative])
@pytest.mark.parametrize("slots", [1, 4])
def test_everybody_is_served_whoever_decides(make: type[Lambent] | type[Knative], slots: int) -> None:
    setting = Setting(slots=slots, wake_s=0.005, wait_s=0.1)
    arrivals = bursts(3, hours=0.3).arrivals
    assert play(arrivals, setting, make(setting)).invocations == len(arrivals)


def steady(count: int, run_s: float, *, until_s: float) -> Sequence[Arrival]:
    return [Arrival(n * run_s / count, run_s) for n in range(int(until_s * count / run_s))]


@pytest.mark.parametrize(("count", "run_s"), [(1, 0.5), (3, 0.5), (8, 2.0), (20, 5.0)])
def test_a_steady_load_is_served_without_a_worker_coming_or_going(count: int, run_s: float) -> None:
    setting = Setting(slots=1, wake_s=0.005, wait_s=0.1)
    whole = play(steady(count, run_s, until_s=300), setting, Lambent(setting))
    part = play(steady(count, run_s, until_s=60), setting, Lambent(setting))
    assert whole.wakes == part.wakes


@pytest.mark.parametrize("slots", [1, 4])
def test_bursts_cost_half_of_what_they_cost_under_knative_at_most(slots: int) -> None:
    setting = Setting(slots=slots, wake_s=0.005, wait_s=0.1)
    arrivals = bursts(11).arrivals
    scalers: list[Scaler] = [Lambent(setting), Knative(setting)]
    ours, theirs = (play(arrivals, setting, scaler) for scaler in scalers)
    assert ours.product <= 0.5 * theirs.product
    assert ours.worker_s <= theirs.worker_s
