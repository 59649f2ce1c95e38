"""The number of workers: the laws that hold for any history."""

from math import ceil

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from lambent.core.autoscaling import PEAKS_MAX, Load, Memory, Panic, Reason, ScalingPolicy, decide, needed

replace = msgspec.structs.replace

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
    concurrency_peak=st.integers(0, 300),
    workers_ready=counts,
    workers_starting=counts,
    idle_for_s=st.floats(0, 100),
    run_s=st.sampled_from([0.0, 0.0001, 0.05, 3.0]),
    work=st.sampled_from([0.0, 0.5, 1.0, 4.0, 99.0]),
    wake_s=st.sampled_from([0.0, 0.005, 2.0]),
    cpu_share=st.sampled_from([0.0, 0.01, 1.0, 4.0]),
    cores=st.sampled_from([1.0, 2.0, 64.0]),
    workers_scheduled=st.integers(0, 120),
)
memories = st.builds(
    Memory, panic=st.none() | st.builds(Panic, since_s=st.integers(-60, 0).map(float), floor=counts)
)


def lowest(policy: ScalingPolicy, seen: Load) -> int:
    return max(policy.workers_min, min(seen.workers_scheduled, policy.workers_max))


@given(policies(), st.lists(loads, max_size=30), st.integers(1, 20))
def test_keeps_its_bounds_and_never_shrinks_in_a_panic(
    policy: ScalingPolicy, history: list[Load], tick_s: int
) -> None:
    memory = Memory()
    for tick, seen in enumerate(history):
        decision = decide(policy, seen, memory, now_s=float(tick * tick_s))
        assert lowest(policy, seen) <= decision.workers <= policy.workers_max
        # Where a minimum is what is left of an idle deployment, that is the reason which is told.
        idle = seen.concurrency_now == 0 and seen.idle_for_s >= policy.keep_alive_s
        if decision.memory.panic and not idle:
            assert decision.workers >= min(seen.workers_present, policy.workers_max)
        assert len(decision.memory.peaks) <= PEAKS_MAX
        memory = decision.memory


@given(policies(), loads, memories)
def test_goes_to_zero_only_after_a_whole_keep_alive_of_nothing(
    policy: ScalingPolicy, seen: Load, memory: Memory
) -> None:
    decision = decide(policy, seen, memory, now_s=0)
    if decision.workers == 0 and seen.workers_present > 0:
        assert seen.concurrency_now == 0
        assert seen.idle_for_s >= policy.keep_alive_s
    if seen.concurrency_now:
        assert decision.workers >= 1


@given(policies(), loads, memories)
def test_growth_is_limited_and_the_limits_take_nothing_away(
    policy: ScalingPolicy, seen: Load, memory: Memory
) -> None:
    decision = decide(policy, seen, memory, now_s=0)
    step = ceil(max(1, seen.workers_present) * policy.growth_max)
    assert decision.workers <= max(step, lowest(policy, seen))
    if decision.reason in (Reason.GROWTH, Reason.CORES):
        assert decision.workers >= min(seen.workers_present, policy.workers_max)


@given(policies(), loads, memories)
def test_whoever_would_wait_too_long_gets_more_workers_at_this_look(
    policy: ScalingPolicy, seen: Load, memory: Memory
) -> None:
    wait_s = max(policy.allowed_wait_s(seen.run_s), seen.wake_s)
    asked = needed(policy, seen.concurrency_now, run_s=seen.run_s, wait_s=wait_s)
    decision = decide(policy, seen, memory, now_s=0)
    if seen.concurrency_now and asked > seen.workers_present:
        limited = decision.reason in (Reason.MAXIMUM, Reason.CORES)
        assert decision.workers > seen.workers_present or limited


HALF_A_SLOT = ScalingPolicy(
    target_concurrency=0.5, workers_min=0, workers_max=2, growth_max=1.1, panic_ratio=1.5,
    stable_window_s=1, burst_window_s=1, keep_alive_s=0,
)  # fmt: skip
ONE_ALWAYS = Load(
    concurrency_stable=0, concurrency_burst=0, concurrency_now=1, workers_ready=0, workers_starting=2,
    idle_for_s=0, run_s=0.0001, work=0.5,
)  # fmt: skip


@example(HALF_A_SLOT, ONE_ALWAYS, 20)  # went from two to one and back: what saturates one was pause for two
@given(policies(), loads, st.integers(2, 40))
def test_the_same_load_again_and_again_never_shrinks_and_grows_again(
    policy: ScalingPolicy, seen: Load, ticks: int
) -> None:
    memory, workers, shrunk = Memory(), seen.workers_present, False
    seen = replace(seen, concurrency_peak=seen.concurrency_now)
    for tick in range(ticks):
        now = replace(seen, workers_ready=workers, workers_starting=0)
        decision = decide(policy, now, memory, now_s=tick / 4)
        assert not (shrunk and decision.workers > workers)
        shrunk = shrunk or decision.workers < workers
        memory, workers = decision.memory, decision.workers


@given(policies(), loads, memories)
def test_the_same_facts_give_the_same_answer(policy: ScalingPolicy, seen: Load, memory: Memory) -> None:
    assert decide(policy, seen, memory, now_s=5.0) == decide(policy, seen, memory, now_s=5.0)
