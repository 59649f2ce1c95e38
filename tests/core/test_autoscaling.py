"""The number of workers: one tick at a time, then the laws that hold for any history."""

from math import ceil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.autoscaling import Decision, Load, Panic, Reason, ScalingPolicy, decide, policy_for
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
        pytest.param(load(0, 0, 1, 0, starting=1), 1, "steady", id="a wake under way is not doubled"),
        pytest.param(load(0.01, 0.1, 1, 1), 1, "steady", id="one worker is enough for a trickle"),
        pytest.param(load(1.0, 1.0, 1, 1), 1, "steady", id="one caller after another fills one worker"),
        pytest.param(load(2.4, 2.4, 2, 3), 3, "steady", id="averages are rounded up"),
        pytest.param(load(2.0, 2.6, 3, 4), 3, "steady", id="surplus goes when the slow average lets it"),
        pytest.param(load(1.0, 4.4, 4, 5), 5, "steady", id="but not what the fast average still needs"),
        pytest.param(load(2.4, 2.9, 3, 2), 3, "steady", id="slow growth needs no panic"),
        pytest.param(load(1.0, 80, 80, 4), 8, "growth", id="a burst grows by the growth limit"),
        pytest.param(load(1.0, 8, 8, 4), 8, "panic", id="a burst outruns the slow average"),
        pytest.param(load(1.0, 8, 8, 4, starting=2), 8, "panic", id="starting workers count"),
        pytest.param(load(900, 900, 900, 60), 100, "maximum", id="workers_max is the end"),
        pytest.param(load(0, 0, 0, 3, idle_for_s=59.9), 1, "keep_alive", id="surplus goes, the last stays"),
        pytest.param(load(0, 0, 0, 1, idle_for_s=60), 0, "idle", id="the last goes after the keep-alive"),
        pytest.param(load(0, 0, 0, 0, idle_for_s=5), 0, "steady", id="a keep-alive wakes nobody"),
        pytest.param(load(0, 0, 1, 1, idle_for_s=60), 1, "steady", id="a long invocation keeps its worker"),
    ],
)
def test_one_tick(seen: Load, workers: int, reason: str) -> None:
    decision = decide(POLICY, seen, None, now_s=0)
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
    decision = decide(policy, seen, None, now_s=0)
    assert (decision.workers, decision.reason) == (workers, reason)


def test_a_panic_begins_with_its_floor_at_what_was_granted() -> None:
    decision = decide(POLICY, load(1, 8, 8, 4), None, now_s=7)
    assert decision == Decision(8, Reason.PANIC, Panic(7, floor=8))


def test_a_panic_goes_on_growing_below_its_own_threshold() -> None:
    decision = decide(POLICY, load(1, 9, 9, 8), Panic(7, floor=8), now_s=8)
    assert decision == Decision(9, Reason.PANIC, Panic(7, floor=9))


def test_a_panic_lasts_one_stable_window_from_its_last_sign() -> None:
    calm = load(1, 1, 1, 8)
    assert decide(POLICY, calm, Panic(7, floor=8), now_s=37).workers == 8
    assert decide(POLICY, calm, Panic(7, floor=8), now_s=37.1) == Decision(1, Reason.STEADY, None)
    again = decide(POLICY, load(1, 16, 16, 8), Panic(7, floor=8), now_s=37.1)
    assert again.panic == Panic(37.1, floor=16)


def test_a_worker_lost_in_a_panic_is_replaced_without_a_limit_of_growth() -> None:
    assert decide(POLICY, load(1, 8, 8, 1), Panic(0, floor=8), now_s=1).workers == 8


def test_starting_workers_are_not_given_up_because_the_ready_ones_died() -> None:
    decision = decide(POLICY, load(6, 6, 6, 0, starting=5), None, now_s=0)
    assert (decision.workers, decision.reason) == (5, Reason.GROWTH)


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
    ],
    ids=str,
)
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"workers|windows|above"):
        ScalingPolicy(**(msgspec.structs.asdict(POLICY) | wrong))


concurrency = st.floats(0, 300, allow_nan=False)
counts = st.integers(0, 120)


@st.composite
def policies(draw: st.DrawFn) -> ScalingPolicy:
    workers_min = draw(st.integers(0, 5))
    stable_window_s = draw(st.floats(0.5, 30))
    return ScalingPolicy(
        target_concurrency=draw(st.sampled_from([0.5, 1.0, 4.0])),
        workers_min=workers_min,
        workers_max=draw(st.integers(max(1, workers_min), 100)),
        growth_max=draw(st.sampled_from([1.1, 2.0, 10.0])),
        panic_ratio=draw(st.sampled_from([1.5, 2.0])),
        stable_window_s=stable_window_s,
        burst_window_s=draw(st.floats(0.1, stable_window_s)),
        keep_alive_s=draw(st.sampled_from([0.0, 1.0, 60.0])),
    )


loads = st.builds(
    Load,
    concurrency_stable=concurrency,
    concurrency_burst=concurrency,
    concurrency_now=st.integers(0, 300),
    workers_ready=counts,
    workers_starting=counts,
    idle_for_s=st.floats(0, 100),
)
panics = st.none() | st.builds(Panic, since_s=st.integers(-60, 0).map(float), floor=counts)


@given(policies(), st.lists(loads, max_size=30), st.integers(1, 20))
def test_keeps_its_bounds_and_never_shrinks_in_a_panic(
    policy: ScalingPolicy, history: list[Load], tick_s: int
) -> None:
    panic, workers = None, 0
    for tick, seen in enumerate(history):
        decision = decide(policy, seen, panic, now_s=float(tick * tick_s))
        assert policy.workers_min <= decision.workers <= policy.workers_max
        if decision.panic and panic:
            assert decision.workers >= workers
        if decision.panic:
            present = seen.workers_ready + seen.workers_starting
            assert decision.workers >= min(present, policy.workers_max)
        panic, workers = decision.panic, decision.workers


@given(policies(), loads, panics)
def test_goes_to_zero_only_after_a_whole_keep_alive_of_nothing(
    policy: ScalingPolicy, seen: Load, panic: Panic | None
) -> None:
    decision = decide(policy, seen, panic, now_s=0)
    if decision.workers == 0 and seen.workers_ready + seen.workers_starting > 0:
        assert seen.concurrency_now == 0
        assert seen.idle_for_s >= policy.keep_alive_s
    if seen.concurrency_now:
        assert decision.workers >= 1


@given(policies(), loads, panics)
def test_growth_is_limited_and_the_limit_takes_nothing_away(
    policy: ScalingPolicy, seen: Load, panic: Panic | None
) -> None:
    decision = decide(policy, seen, panic, now_s=0)
    present = seen.workers_ready + seen.workers_starting
    step = ceil(max(1, seen.workers_ready) * policy.growth_max)
    assert decision.workers <= max(step, present, policy.workers_min, panic.floor if panic else 0)
    if decision.reason is Reason.GROWTH:
        assert decision.workers >= min(present, policy.workers_max)


@given(policies(), loads, panics)
def test_the_same_facts_give_the_same_answer(policy: ScalingPolicy, seen: Load, panic: Panic | None) -> None:
    assert decide(policy, seen, panic, now_s=5.0) == decide(policy, seen, panic, now_s=5.0)
