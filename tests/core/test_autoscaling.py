"""The number of workers, one look at a time."""

import msgspec
import pytest

from lambent.core.autoscaling import (
    PEAKS_MAX,
    Decision,
    Load,
    Memory,
    Panic,
    Peak,
    Reason,
    ScalingPolicy,
    decide,
    hold,
    needed,
    policy_for,
)
from lambent.core.spec import DeploymentSpec, Kind

POLICY = ScalingPolicy(
    target_concurrency=1.0,
    workers_min=0,
    workers_max=100,
    stable_window_s=30.0,
    burst_window_s=3.0,
    keep_alive_s=60.0,
)
replace = msgspec.structs.replace


def load(
    stable: float, burst: float, now: int, ready: int, *, starting: int = 0, idle_for_s: float = 0.0
) -> Load:
    return Load(
        concurrency_stable=stable,
        concurrency_burst=burst,
        concurrency_now=now,
        workers_ready=ready,
        workers_starting=starting,
        idle_for_s=idle_for_s,
    )


@pytest.mark.parametrize(
    ("seen", "workers", "reason"),
    [
        pytest.param(load(0, 0, 0, 0, idle_for_s=999), 0, "idle", id="nothing stays nothing"),
        pytest.param(load(0, 0, 1, 0), 1, "wake", id="the first invocation wakes one worker at once"),
        pytest.param(load(0, 0, 1, 0, starting=1), 1, "waiting", id="a wake under way is not doubled"),
        pytest.param(load(0.01, 0.1, 1, 1), 1, "steady", id="one worker is enough for a trickle"),
        pytest.param(load(1.0, 1.0, 1, 1), 1, "steady", id="one caller after another fills one worker"),
        pytest.param(load(2.4, 2.4, 2, 3), 3, "steady", id="averages are rounded up"),
        pytest.param(
            load(1.0, 4.4, 4, 5), 5, "steady", id="what the fast average still needs is not given up"
        ),
        pytest.param(
            load(0.1, 0.1, 3, 2), 3, "waiting", id="who waits gets a worker before any average moves"
        ),
        pytest.param(load(1.0, 1.0, 8, 4), 8, "waiting", id="work that waits is answered within one look"),
        pytest.param(load(1.0, 80, 80, 4), 8, "growth", id="a burst grows by the growth limit"),
        pytest.param(load(1.0, 8, 8, 4), 8, "steady", id="a burst outruns the slow average"),
        pytest.param(load(1.0, 8, 8, 4, starting=2), 8, "steady", id="starting workers count"),
        pytest.param(load(1.0, 40, 40, 4, starting=4), 16, "growth", id="growth is from what is coming, too"),
        pytest.param(load(900, 900, 900, 60), 100, "maximum", id="workers_max is the end"),
        pytest.param(load(0, 0, 0, 3, idle_for_s=59.9), 1, "keep_alive", id="surplus goes, the last stays"),
        pytest.param(load(0, 0, 0, 1, idle_for_s=60), 0, "idle", id="the last goes after the keep-alive"),
        pytest.param(load(0, 0, 0, 0, idle_for_s=5), 0, "steady", id="a keep-alive wakes nobody"),
        pytest.param(load(0, 0, 1, 1, idle_for_s=60), 1, "waiting", id="a long invocation keeps its worker"),
    ],
)
def test_one_tick(seen: Load, workers: int, reason: str) -> None:
    decision = decide(POLICY, seen, Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (workers, reason)


@pytest.mark.parametrize(
    ("policy", "seen", "workers", "reason"),
    [
        pytest.param(
            replace(POLICY, workers_min=2), load(0, 0, 0, 2, idle_for_s=999), 2, "minimum", id="workers_min"
        ),
        pytest.param(
            replace(POLICY, workers_min=9),
            load(0, 0, 0, 1),
            9,
            "minimum",
            id="growth does not delay workers_min",
        ),
        pytest.param(
            replace(POLICY, keep_alive_s=0.0), load(0.9, 1.0, 0, 1), 0, "idle", id="no keep-alive at all"
        ),
        pytest.param(
            replace(POLICY, target_concurrency=4.0), load(9, 9, 9, 2), 3, "steady", id="several to a worker"
        ),
        pytest.param(replace(POLICY, growth_max=1.1), load(3, 3, 3, 2), 3, "steady", id="growth rounds up"),
        pytest.param(
            replace(POLICY, workers_max=2), load(0, 0, 0, 5), 1, "keep_alive", id="a lowered maximum"
        ),
    ],
)
def test_one_tick_under_another_policy(policy: ScalingPolicy, seen: Load, workers: int, reason: str) -> None:
    decision = decide(policy, seen, Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (workers, reason)


@pytest.mark.parametrize(
    ("facts", "workers", "reason"),
    [
        pytest.param(
            {"run_s": 0.001}, 1, "steady", id="thirty short runs are over sooner than anybody minds"
        ),
        pytest.param({"run_s": 0.01}, 5, "waiting", id="thirty runs of 10 ms within 50 ms take five workers"),
        pytest.param({"run_s": 10.0}, 30, "waiting", id="long runs take a worker each"),
        pytest.param(
            {"run_s": 0.1, "wake_s": 2.0}, 2, "waiting", id="who is served before a worker has come"
        ),
    ],
)
def test_how_long_a_run_and_a_wake_take_says_how_many_it_needs(
    facts: dict[str, float], workers: int, reason: str
) -> None:
    seen = replace(load(0.1, 0.1, 30, 15), **facts)
    decision = decide(POLICY, seen, Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (workers, reason)


@pytest.mark.parametrize(
    ("work", "now", "ready", "workers", "reason"),
    [
        pytest.param(0.5, 4, 1, 1, "steady", id="it has pauses: nobody waits long"),
        pytest.param(0.95, 4, 1, 2, "busy", id="four callers keep one worker busy all the time"),
        pytest.param(1.9, 4, 2, 4, "busy", id="and two"),
        pytest.param(2.9, 4, 3, 4, "busy", id="one more is enough"),
        pytest.param(4.0, 4, 4, 4, "busy", id="four are kept busy and nobody waits"),
        pytest.param(1.05, 1, 3, 1, "steady", id="one caller keeps one"),
        pytest.param(99.0, 3, 2, 3, "busy", id="no worker works more than all of its time"),
    ],
)
def test_workers_without_a_pause_get_more_while_somebody_waits(
    work: float, now: int, ready: int, workers: int, reason: str
) -> None:
    seen = replace(load(0.1, 0.1, now, ready), run_s=0.01, work=work)
    decision = decide(POLICY, seen, Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (workers, reason)


def test_workers_that_compute_are_not_sent_away_because_there_are_few_cores() -> None:
    seen = replace(load(30, 30, 30, 20), run_s=10.0, cpu_share=1.0, cores=2.0)
    decision = decide(POLICY, seen, Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (20, Reason.CORES)


@pytest.mark.parametrize(
    ("cpu_share", "slots", "workers"),
    [
        pytest.param(0.0, 1, 30, id="nothing is known of the CPU"),
        pytest.param(1.0, 1, 4, id="each run keeps a core busy"),
        pytest.param(0.5, 1, 8, id="half of the time"),
        pytest.param(0.01, 1, 30, id="it waits for others"),
        pytest.param(2.0, 1, 2, id="two threads each"),
        pytest.param(0.25, 4, 4, id="four runs share a worker"),
    ],
)
def test_workers_that_compute_are_no_more_than_the_cores_can_run(
    cpu_share: float, slots: int, workers: int
) -> None:
    seen = replace(load(0, 0, 30 * slots, 0), run_s=100.0, cpu_share=cpu_share, cores=4.0)
    policy = replace(POLICY, target_concurrency=float(slots), growth_max=1000.0)
    assert decide(policy, seen, Memory(), now_s=0).workers == workers


@pytest.mark.parametrize(
    ("workers_min", "scheduled", "workers", "reason"),
    [
        (0, 3, 3, "schedule"),
        (2, 3, 3, "schedule"),
        (3, 2, 3, "minimum"),
        (0, 500, 100, "schedule"),
    ],
)
def test_a_scheduled_minimum_is_there_without_any_traffic(
    workers_min: int, scheduled: int, workers: int, reason: str
) -> None:
    seen = replace(load(0, 0, 0, 0, idle_for_s=999), workers_scheduled=scheduled)
    decision = decide(replace(POLICY, workers_min=workers_min), seen, Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (workers, reason)


@pytest.mark.parametrize(
    ("concurrency", "run_s", "wait_s", "slots", "workers"),
    [
        (0, 1, 1, 1, 0),
        (1, 0, 1, 1, 1),
        (10, 1, 1, 1, 5),
        (10, 1, 9, 1, 1),
        (10, 1, 1e-9, 1, 10),
        (10, 1, 1, 2, 3),
    ],
)
def test_the_last_of_them_waits_no_longer_than_is_allowed(
    concurrency: int, run_s: float, wait_s: float, slots: int, workers: int
) -> None:
    policy = replace(POLICY, target_concurrency=float(slots))
    assert needed(policy, concurrency, run_s=run_s, wait_s=wait_s) == workers


@pytest.mark.parametrize(
    ("target_s", "run_s", "wait_s"), [(0, 1, 0.05), (0.2, 0.1, 0.05), (0.1, 0.2, 0.005), (5, 1, 2)]
)
def test_half_of_what_a_latency_target_leaves_may_be_waited(
    target_s: float, run_s: float, wait_s: float
) -> None:
    policy = replace(POLICY, latency_target_s=target_s)
    assert policy.allowed_wait_s(run_s) == pytest.approx(wait_s)


@pytest.mark.parametrize(("wake_s", "hold_s"), [(0.0, 1.5), (0.005, 1.5), (0.1, 10.0), (2.0, 60.0)])
def test_what_was_needed_is_kept_for_as_long_as_a_wake_is_dear(wake_s: float, hold_s: float) -> None:
    assert hold(POLICY, wake_s=wake_s) == hold_s


def test_the_most_of_late_is_kept_until_it_is_forgotten() -> None:
    memory = decide(POLICY, replace(load(1, 1, 1, 5), concurrency_peak=5), Memory(), now_s=0).memory
    kept = decide(POLICY, load(1, 1, 1, 5), memory, now_s=1.4)
    assert (kept.workers, kept.reason) == (5, Reason.RECENT)
    assert decide(POLICY, load(1, 1, 1, 5), memory, now_s=1.6).workers == 1


def test_a_peak_that_was_over_before_anybody_looked_starts_no_worker() -> None:
    seen = replace(load(1, 1, 1, 2), concurrency_peak=5)
    decision = decide(POLICY, seen, Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (2, Reason.RECENT)


def test_only_the_falling_maxima_are_remembered_and_no_more_than_there_is_room_for() -> None:
    memory, slow = Memory(), {"wake_s": 2.0}
    for tick in range(3 * PEAKS_MAX):
        seen = replace(load(0, 0, 3 * PEAKS_MAX - tick, 100), **slow)
        memory = decide(POLICY, seen, memory, now_s=tick / 100).memory
        counts = [peak.workers for peak in memory.peaks]
        assert counts == sorted(counts, reverse=True)
        assert len(memory.peaks) <= PEAKS_MAX
    assert memory.peaks[0].workers == 3 * PEAKS_MAX
    memory = decide(POLICY, replace(load(0, 0, 99, 100), **slow), memory, now_s=2).memory
    assert [peak.workers for peak in memory.peaks] == [99]


def test_a_panic_begins_with_its_floor_at_what_was_granted() -> None:
    decision = decide(POLICY, load(1, 8, 8, 4), Memory(), now_s=7)
    assert decision == Decision(8, Reason.STEADY, Memory(Panic(7, floor=8), (Peak(7, 8),)))


def test_a_panic_lasts_from_its_last_sign_for_as_long_as_a_wake_is_dear() -> None:
    calm, panic = load(1, 1, 1, 8), Memory(Panic(7, floor=8))
    assert decide(POLICY, calm, panic, now_s=10).workers == 8  # a burst window where wakes are cheap
    over = decide(POLICY, calm, panic, now_s=10.1)
    assert (over.workers, over.memory.panic) == (1, None)
    dear = replace(calm, wake_s=2.0)
    assert decide(POLICY, dear, panic, now_s=67).workers == 8
    assert decide(POLICY, dear, panic, now_s=67.1).memory.panic is None
    again = decide(POLICY, load(1, 16, 16, 8), panic, now_s=10.1)
    assert again.memory.panic == Panic(10.1, floor=16)


def test_starting_workers_are_not_given_up_because_the_ready_ones_died() -> None:
    decision = decide(POLICY, load(20, 20, 20, 0, starting=5), Memory(), now_s=0)
    assert (decision.workers, decision.reason) == (10, Reason.GROWTH)


@pytest.mark.parametrize(
    ("keep_alive_s", "stable_s", "burst_s"),
    [(0.0, 2.0, 0.5), (1.0, 2.0, 0.5), (20.0, 20.0, 2.0), (60.0, 30.0, 3.0), (86_400.0, 30.0, 3.0)],
)
def test_windows_follow_the_keep_alive(keep_alive_s: float, stable_s: float, burst_s: float) -> None:
    policy = policy_for(DeploymentSpec(name="x", kind=Kind.FUNCTION, keep_alive_s=keep_alive_s))
    assert (policy.stable_window_s, policy.burst_window_s) == (stable_s, burst_s)
    assert policy.keep_alive_s == keep_alive_s


def test_a_policy_takes_its_bounds_from_the_specification() -> None:
    spec = DeploymentSpec(name="x", kind=Kind.MODEL, workers_min=1, workers_max=7)
    policy = policy_for(spec)
    assert (policy.workers_min, policy.workers_max) == (1, 7)
    assert policy.target_concurrency == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers_min": 3, "workers_max": 2},
        {"workers_min": -1},
        {"workers_max": 0},
        {"burst_window_s": 31.0},
        {"stable_window_s": 31.0},
        {"burst_window_s": 0.0},
        {"target_concurrency": 0.0},
        {"growth_max": 1.0},
        {"panic_ratio": 1.0},
        {"wait_s_max": 0.0},
        {"latency_target_s": -1.0},
    ],
    ids=str,
)
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"workers|windows|above"):
        ScalingPolicy(**(msgspec.structs.asdict(POLICY) | wrong))
