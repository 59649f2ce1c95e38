"""The dispatcher's queue: who waits, who is shed, and what the shed are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.admission import (
    REFUSAL_S_MAX,
    REFUSALS_BURST,
    REFUSALS_PER_S,
    RETRY_AFTER_S_MAX,
    RETRY_AFTER_S_MIN,
    Admission,
    Bound,
    Depth,
    Verdict,
    offer,
    offer_bytes,
    refusal_due_s,
    retry_after_s,
    served_per_s,
    smoothed_run_s,
)

WAIT = Admission(Verdict.WAIT)


@pytest.mark.parametrize(
    ("queued", "in_project", "bound"),
    [
        pytest.param(0, 0, None, id="nobody before"),
        pytest.param(9, 29, None, id="the last place in both queues"),
        pytest.param(10, 10, Bound.DEPLOYMENT, id="the deployment's queue is full"),
        pytest.param(0, 30, Bound.PROJECT, id="the project's queue is full"),
        pytest.param(10, 30, Bound.DEPLOYMENT, id="both are: the narrower one is named"),
    ],
)
def test_a_verdict(queued: int, in_project: int, bound: Bound | None) -> None:
    admission = offer(Depth(queued, 10), Depth(in_project, 30))
    assert admission == (Admission(Verdict.SHED, bound) if bound else WAIT)


@pytest.mark.parametrize(
    ("queued", "per_s", "expected_s"),
    [
        pytest.param(100, 8.0, 12.5, id="as long as the queue takes"),
        pytest.param(1000, 0.0, RETRY_AFTER_S_MIN, id="nothing has been measured yet"),
        pytest.param(10, 4000.0, RETRY_AFTER_S_MIN, id="a header counts whole seconds"),
        pytest.param(100_000, 1 / 60, RETRY_AFTER_S_MAX, id="longer than an estimate is worth"),
    ],
)
def test_when_to_try_again(queued: int, per_s: float, expected_s: float) -> None:
    assert retry_after_s(queued=queued, per_s=per_s) == expected_s


@pytest.mark.parametrize(
    ("run_s", "workers", "concurrency", "per_s"),
    [
        pytest.param(0.5, 4, 1, 8.0, id="workers run side by side"),
        pytest.param(2.0, 1, 10, 5.0, id="and slots in them"),
        pytest.param(0.0, 4, 1, 0.0, id="unknown"),
    ],
)
def test_how_fast_a_queue_moves(run_s: float, workers: int, concurrency: int, per_s: float) -> None:
    assert served_per_s(run_s=run_s, workers=workers, concurrency=concurrency) == per_s


@given(st.integers(0, 100_000), st.integers(1, 100_000), st.integers(0, 100_000), st.integers(1, 100_000))
def test_no_queue_grows_past_its_maximum_and_nobody_is_shed_before(
    queued: int, queued_max: int, in_project: int, in_project_max: int
) -> None:
    admission = offer(Depth(queued, queued_max), Depth(in_project, in_project_max))
    fits = queued + 1 <= queued_max and in_project + 1 <= in_project_max
    assert (admission.verdict is Verdict.WAIT) == fits


@pytest.mark.parametrize(
    ("size", "held", "taken", "bound"),
    [
        pytest.param(100, 0, 0, None, id="alone, and all is free"),
        pytest.param(101, 0, 0, Bound.SERVER, id="larger than all there is"),
        pytest.param(10, 40, 40, None, id="up to half of all"),
        pytest.param(30, 40, 40, Bound.PROJECT, id="and no more"),
        pytest.param(10, 0, 90, None, id="who holds nothing may have the last"),
        pytest.param(11, 0, 90, Bound.SERVER, id="but not more than is left"),
    ],
)
def test_bodies_in_a_hundred_bytes(size: int, held: int, taken: int, bound: Bound | None) -> None:
    admission = offer_bytes(size, held_bytes=held, all_bytes=taken, bytes_max=100)
    assert admission == (Admission(Verdict.SHED, bound) if bound else WAIT)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40)), max_size=200))
def test_greedy_projects_never_hold_more_than_there_is_and_leave_some_to_a_new_one(
    asked: list[tuple[str, int]],
) -> None:
    held: dict[str, int] = {}
    for project, size in asked:
        mine, taken = held.get(project, 0), sum(held.values())
        if offer_bytes(size, held_bytes=mine, all_bytes=taken, bytes_max=1000) == WAIT:
            held[project] = mine + size
    # Each took no more than was free before its last body. Taken one after the other, which is the worst of
    # orders, each has left half of what it found, or one body less.
    assert sum(held.values()) <= 1000 * (1 - 0.5 ** len(held)) + 40


def test_a_few_refusals_are_said_at_once_and_many_at_their_pace() -> None:
    next_s, said = 0.0, []
    for _ in range(2000):
        next_s = refusal_due_s(next_s, 1000.0)
        said.append(max(0.0, next_s - 1000.0))
    assert said[: int(REFUSALS_BURST)] == pytest.approx([0.0] * int(REFUSALS_BURST))
    assert said[-1] == REFUSAL_S_MAX
    assert sum(1 for delay_s in said if delay_s <= 0.1) == pytest.approx(
        REFUSALS_BURST + 0.1 * REFUSALS_PER_S, abs=2
    )


def test_a_project_that_was_quiet_for_a_while_hears_its_refusal_at_once() -> None:
    assert refusal_due_s(999.0, 1000.0) <= 1000.0


def test_the_mean_run_time_starts_at_the_first_and_follows_the_later_ones() -> None:
    mean_s = smoothed_run_s(0.0, 2.0)
    assert mean_s == 2.0
    for _ in range(100):
        mean_s = smoothed_run_s(mean_s, 0.5)
    assert mean_s == pytest.approx(0.5, abs=1e-4)
