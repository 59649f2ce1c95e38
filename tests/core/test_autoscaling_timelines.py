"""Autoscaling over time: traffic comes and goes, and the number of workers tells the story."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.autoscaling import Load, Memory, ScalingPolicy, decide, policy_for
from lambent.core.spec import DeploymentSpec, Kind
from lambent.core.window import Level

STEPS_PER_S = 20  # time is whole steps of 50 ms
STEPS_PER_TICK = 5


class Work(NamedTuple):
    """An invocation of `steps`. Its caller sends the next one with the answer, until step `again_until`."""

    steps: int
    again_until: int = 0


@dataclass
class Worker:
    """Ready from `ready_at` on; runs `work` until `busy_until`. All are steps."""

    ready_at: int
    work: Work | None = None
    busy_until: int = 0


@dataclass
class World:
    """A deployment whose decisions are carried out as a pool does it: the idle stop, the busy finish."""

    spec: DeploymentSpec
    arrivals: dict[int, list[Work]]
    wake_steps: int = 1
    queue: list[Work] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    quiet_since: int = 0

    def play(self, seconds: float) -> Iterator[tuple[float, int]]:
        """Each tick as (second, workers)."""
        policy, level = policy_for(self.spec), Level(0.0)
        for step in range(int(seconds * STEPS_PER_S)):
            self._move(step)
            level.set(self._present(), step / STEPS_PER_S)
            if step % STEPS_PER_TICK == 0:
                self._tick(policy, level, step)
                yield step / STEPS_PER_S, len(self.workers)

    def _move(self, step: int) -> None:
        arrived = list(self.arrivals.get(step, []))
        for worker in self.workers:
            if worker.work and worker.busy_until == step:
                arrived += [worker.work] if step < worker.work.again_until else []
                worker.work, self.quiet_since = None, step
        if arrived:
            self.queue += arrived
            self.quiet_since = step
        if self.queue and not self.workers:  # the pool wakes the first worker without a tick
            self.workers.append(Worker(step + self.wake_steps))
        for worker in self.workers:
            if self.queue and worker.ready_at <= step and not worker.work:
                worker.work = self.queue.pop(0)
                worker.busy_until = step + worker.work.steps

    def _present(self) -> int:
        return len(self.queue) + sum(worker.work is not None for worker in self.workers)

    def _tick(self, policy: ScalingPolicy, level: Level, step: int) -> None:
        now_s, present = step / STEPS_PER_S, self._present()
        ready = sum(worker.ready_at <= step for worker in self.workers)
        seen = Load(
            concurrency_stable=level.average(now_s, policy.stable_window_s),
            concurrency_burst=level.average(now_s, policy.burst_window_s),
            concurrency_now=present,
            workers_ready=ready,
            workers_starting=len(self.workers) - ready,
            idle_for_s=0.0 if present else (step - self.quiet_since) / STEPS_PER_S,
            wake_s=self.wake_steps / STEPS_PER_S,
        )
        decision = decide(policy, seen, self.memory, now_s=now_s)
        self.memory = decision.memory
        self.workers += [Worker(step + self.wake_steps) for _ in range(decision.workers - len(self.workers))]
        for idle in [worker for worker in self.workers if not worker.work]:
            if len(self.workers) > decision.workers:
                self.workers.remove(idle)


def spec(*, keep_alive_s: float = 60.0, workers_max: int = 4, workers_min: int = 0) -> DeploymentSpec:
    return DeploymentSpec(
        name="digits",
        kind=Kind.MODEL,
        keep_alive_s=keep_alive_s,
        workers_min=workers_min,
        workers_max=workers_max,
    )


def once(*moments_s: float) -> dict[int, list[Work]]:
    """Single short invocations."""
    return {int(moment_s * STEPS_PER_S): [Work(2)] for moment_s in moments_s}


def callers(count: int, *, from_s: float, until_s: float, run_s: float = 0.5) -> dict[int, list[Work]]:
    """`count` callers, each of whom always has one invocation under way."""
    work = Work(int(run_s * STEPS_PER_S), again_until=int(until_s * STEPS_PER_S))
    return {int(from_s * STEPS_PER_S): [work] * count}


def changes(timeline: Iterator[tuple[float, int]]) -> list[tuple[float, int]]:
    """The ticks at which the number of workers differs from the tick before."""
    seen: list[tuple[float, int]] = []
    for now_s, workers in timeline:
        if workers != (seen[-1][1] if seen else 0):
            seen.append((now_s, workers))
    return seen


def numbers(timeline: Iterator[tuple[float, int]]) -> list[int]:
    return [workers for _, workers in changes(timeline)]


def test_a_single_invocation_wakes_one_worker_which_goes_after_the_keep_alive() -> None:
    world = World(spec(), once(1.0))
    assert changes(world.play(120)) == [(1.0, 1), (61.25, 0)]


def test_a_burst_brings_a_second_worker_which_goes_first_and_then_the_last_one() -> None:
    world = World(spec(keep_alive_s=20.0), callers(2, from_s=1, until_s=5))
    seen = changes(world.play(60))
    assert [workers for _, workers in seen] == [2, 1, 0]
    assert seen[0][0] == 1.0, "the second worker comes at the first look"
    assert seen[2][0] == pytest.approx(5 + 20, abs=1.0)


def test_a_short_keep_alive_is_kept_to_where_no_burst_was() -> None:
    world = World(spec(keep_alive_s=1.0), once(1.0, 20.0))
    assert changes(world.play(40)) == [(1.0, 1), (2.25, 0), (20.0, 1), (21.25, 0)]


def test_a_steady_pair_of_callers_gets_two_workers_and_they_stay() -> None:
    world = World(spec(), callers(2, from_s=0, until_s=100))
    assert numbers(world.play(100)) == [2]


def test_one_caller_never_gets_a_second_worker() -> None:
    world = World(spec(), callers(1, from_s=0, until_s=200, run_s=0.25))
    assert numbers(world.play(200)) == [1]


def test_a_surge_grows_by_doubling_to_the_maximum_and_not_beyond() -> None:
    world = World(spec(workers_max=8), callers(30, from_s=1, until_s=4))
    assert numbers(world.play(10)) == [2, 4, 8]


def test_a_dip_inside_a_burst_does_not_shrink_the_pool() -> None:
    traffic = callers(4, from_s=0, until_s=5) | callers(4, from_s=8, until_s=13)
    seen = numbers(World(spec(), traffic).play(13))
    assert seen == sorted(seen)
    assert seen[-1] == 4


def test_workers_min_is_there_before_any_traffic_and_after_it() -> None:
    world = World(spec(workers_min=1, keep_alive_s=1.0), callers(3, from_s=5, until_s=8))
    seen = numbers(world.play(60))
    assert (seen[0], min(seen), seen[-1]) == (1, 1, 1)
    assert max(seen) == 3


@given(
    arrivals=st.dictionaries(
        st.integers(0, 400),
        st.lists(st.builds(Work, st.integers(1, 60), st.sampled_from([0, 500])), max_size=6),
        max_size=40,
    ),
    keep_alive_s=st.sampled_from([0.0, 1.0, 10.0]),
    wake_steps=st.integers(1, 30),
)
def test_whatever_comes_is_served_and_then_everything_goes(
    arrivals: dict[int, list[Work]], keep_alive_s: float, wake_steps: int
) -> None:
    work_steps = sum(work.steps for each in arrivals.values() for work in each)
    world = World(spec(keep_alive_s=keep_alive_s), arrivals, wake_steps)
    timeline = list(world.play((500 + 2 * work_steps) / STEPS_PER_S + 60))
    assert world.queue == []
    assert timeline[-1][1] == 0
    assert max(workers for _, workers in timeline) <= 4
