"""What becomes of a run when a slice of it has ended."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.slicing import (
    BRIEF_GRACE_S_MAX,
    FINAL,
    SLICE_S,
    TRANSITIONS,
    Again,
    Asked,
    End,
    Event,
    ExitWord,
    Facts,
    How,
    Limits,
    RunState,
    SliceEnd,
    SliceTerms,
    grace_s,
    limits,
    moved,
    next_step,
)

TERMS = SliceTerms(slice_s=10, grace_s=2, timeout_s=1000, retries=3, retry_first_s=1)


def then(facts: Facts, how: How, asked: Asked = Asked.NOT, *, terms: SliceTerms = TERMS) -> Again | End:
    return next_step(facts, SliceEnd(how, asked, "it broke"), terms, jitter=1.0)


def exit_of(step: Again | End) -> tuple[str, str]:
    assert isinstance(step, End)
    return step.state.value, step.exit.value


@pytest.mark.parametrize(
    ("facts", "how", "asked", "end"),
    [
        pytest.param(Facts(), How.FINISHED, Asked.NOT, ("succeeded", "finished"), id="its work is done"),
        pytest.param(
            Facts(), How.FINISHED, Asked.TIME, ("succeeded", "finished"), id="done in its last moment"
        ),
        pytest.param(
            Facts(end_asked="cancelled"), How.FINISHED, Asked.END, ("cancelled", "cancelled"),
            id="what is not wanted does not succeed",
        ),
        pytest.param(
            Facts(end_asked="cancelled"), How.OVERRAN, Asked.END, ("cancelled", "cancelled"), id="cancelled"
        ),
        pytest.param(
            Facts(end_asked="cancelled"), How.GONE, Asked.NOT, ("cancelled", "cancelled"),
            id="died while it was cancelled",
        ),
        pytest.param(
            Facts(end_asked="over_budget"), How.YIELDED, Asked.END, ("failed", "over_budget"),
            id="too dear",
        ),
        pytest.param(
            Facts(end_asked="over_budget"), How.FINISHED, Asked.END, ("succeeded", "finished"),
            id="paid for anyway",
        ),
        pytest.param(Facts(step=9), How.YIELDED, Asked.TIME, ("failed", "timed_out"), id="its time is over"),
        pytest.param(Facts(), How.OVERRAN, Asked.TIME, ("failed", "timed_out"), id="killed at its time"),
        pytest.param(Facts(), How.RAISED, Asked.NOT, ("failed", "failed"), id="raised at once"),
        pytest.param(Facts(), How.NO_MEMORY, Asked.NOT, ("failed", "out_of_memory"), id="too large at once"),
        pytest.param(Facts(step=5), How.REFUSED, Asked.NOT, ("failed", "failed"), id="does not load"),
        pytest.param(
            Facts(step=7, attempts=1, failed_step=7, failed_by="raised"), How.RAISED, Asked.NOT,
            ("failed", "failed"), id="raised twice at one step",
        ),
        pytest.param(
            Facts(attempts=1, failed_by="overran"), How.OVERRAN, Asked.SLICE, ("failed", "no_checkpoint"),
            id="overran twice without a checkpoint",
        ),
        pytest.param(
            Facts(step=7, attempts=3, failed_step=7, failed_by="overran"), How.OVERRAN, Asked.SLICE,
            ("failed", "overran"), id="overran until no retry was left",
        ),
        pytest.param(
            Facts(attempts=3, failed_by="gone"), How.GONE, Asked.NOT, ("failed", "killed"),
            id="died until no retry was left",
        ),
    ],
)  # fmt: skip
def test_a_run_ends(facts: Facts, how: How, asked: Asked, end: tuple[str, str]) -> None:
    assert exit_of(then(facts, how, asked)) == end


@pytest.mark.parametrize(
    ("facts", "how", "asked", "after_s", "attempts"),
    [
        pytest.param(Facts(step=3), How.YIELDED, Asked.SLICE, 0, 0, id="its slice is over"),
        pytest.param(Facts(), How.YIELDED, Asked.PREEMPTED, 0, 0, id="it made place"),
        pytest.param(Facts(), How.OVERRAN, Asked.PREEMPTED, 0, 0, id="it was made to make place"),
        pytest.param(Facts(attempts=2), How.OVERRAN, Asked.STOP, 0, 2, id="the server stopped"),
        pytest.param(Facts(), How.OVERRAN, Asked.SLICE, 0, 1, id="overran once"),
        pytest.param(Facts(), How.GONE, Asked.NOT, 0, 1, id="died once"),
        pytest.param(Facts(attempts=1), How.GONE, Asked.NOT, 1, 2, id="died twice"),
        pytest.param(Facts(attempts=2), How.GONE, Asked.NOT, 2, 3, id="died three times"),
        pytest.param(
            Facts(step=8, attempts=3, failed_step=7), How.GONE, Asked.NOT, 0, 1, id="it had moved on"
        ),
        pytest.param(
            Facts(step=8, attempts=1, failed_step=7), How.RAISED, Asked.NOT, 0, 1, id="raised later"
        ),
    ],
)
def test_a_run_goes_on(facts: Facts, how: How, asked: Asked, after_s: float, attempts: int) -> None:
    step = then(facts, how, asked)
    assert isinstance(step, Again)
    assert (step.after_s, step.facts.attempts) == (after_s, attempts)
    if attempts != facts.attempts:
        assert (step.facts.failed_step, step.facts.failed_by) == (facts.step, how.value)


def test_who_is_given_up_is_told_how_often_it_was_tried() -> None:
    step = then(Facts(attempts=3, failed_by="gone"), How.GONE)
    assert isinstance(step, End)
    assert step.reason == "it broke (tried 4 times without getting further)"


def test_whoever_never_checkpoints_is_told_what_to_do() -> None:
    step = then(Facts(attempts=1, failed_by="overran"), How.OVERRAN, Asked.SLICE)
    assert isinstance(step, End)
    assert "slice_s=10 twice without a checkpoint" in step.reason


# --- the limits of a slice


UNSAID = msgspec.structs.replace(TERMS, slice_s=0)
SHORT = msgspec.structs.replace(TERMS, timeout_s=5)


@pytest.mark.parametrize(
    ("terms", "run_s", "step", "wanted"),
    [
        pytest.param(TERMS, 0, -1, Limits(10, Asked.SLICE, 2), id="a slice like any other"),
        pytest.param(TERMS, 985, -1, Limits(10, Asked.SLICE, 2), id="the last but one"),
        pytest.param(TERMS, 992, 3, Limits(6, Asked.TIME, 2), id="the last has its grace within the time"),
        pytest.param(TERMS, 1000, 3, Limits(0, Asked.TIME, 0), id="there is no time left"),
        pytest.param(SHORT, 0, -1, Limits(4.5, Asked.TIME, 0.5), id="one short slice"),
        pytest.param(UNSAID, 0, -1, Limits(998, Asked.TIME, 2), id="nobody spoke of slices, nor checkpoints"),
        pytest.param(UNSAID, 0, 0, Limits(SLICE_S, Asked.SLICE, 2), id="nobody spoke of slices"),
    ],
)
def test_a_slice_is_asked_in_time(terms: SliceTerms, run_s: float, step: int, wanted: Limits) -> None:
    assert limits(terms, run_s=run_s, step=step) == wanted


positive = st.floats(0.01, 1e6)
some_terms = st.builds(
    SliceTerms,
    slice_s=st.just(0.0) | positive,
    grace_s=st.floats(0, 3600),
    timeout_s=positive,
    retries=st.integers(0, 10),
    retry_first_s=st.floats(0.01, 3600),
)


@given(terms=some_terms, run_s=st.floats(0, 2e6), step=st.integers(-1, 2))
def test_no_slice_passes_the_time_of_its_run(terms: SliceTerms, run_s: float, step: int) -> None:
    found = limits(terms, run_s=run_s, step=step)
    assert min(found.ask_s, found.grace_s) >= 0
    assert run_s + found.ask_s + found.grace_s <= max(run_s, terms.timeout_s) * (1 + 1e-9)
    assert found.grace_s <= terms.grace_s


@pytest.mark.parametrize(
    ("why", "step", "seconds"),
    [
        pytest.param(Asked.END, 7, BRIEF_GRACE_S_MAX, id="nobody wants it any more"),
        pytest.param(Asked.STOP, -1, BRIEF_GRACE_S_MAX, id="it will hardly write its first checkpoint now"),
        pytest.param(Asked.STOP, 7, 600, id="the server waits for its checkpoint"),
        pytest.param(Asked.PREEMPTED, -1, 600, id="a longer wait than to lose all"),
    ],
)
def test_how_long_a_slice_is_waited_for(why: Asked, step: int, seconds: float) -> None:
    assert grace_s(msgspec.structs.replace(TERMS, grace_s=600), why, step=step) == seconds


# --- laws over whole lives

slice_ends = st.builds(SliceEnd, st.sampled_from(How), st.sampled_from(Asked), st.just("it broke"))
lives = st.lists(st.tuples(slice_ends, st.integers(0, 2)), max_size=60)


@given(terms=some_terms, life=lives)
def test_a_life_ends_within_its_retries_where_it_gets_no_further(
    terms: SliceTerms, life: list[tuple[SliceEnd, int]]
) -> None:
    facts, stuck = Facts(), 0
    for end, progress in life:
        facts = msgspec.structs.replace(facts, step=facts.step + progress)
        stuck = 0 if progress else stuck
        step = next_step(facts, end, terms, jitter=0.5)
        if isinstance(step, End):
            return
        stuck += step.facts.attempts != facts.attempts
        assert stuck <= terms.retries
        assert step.facts.attempts <= terms.retries
        assert step.after_s >= 0
        facts = step.facts


@given(terms=some_terms, kills=st.integers(1, 200))
def test_what_makes_progress_survives_any_number_of_kills(terms: SliceTerms, kills: int) -> None:
    terms = msgspec.structs.replace(terms, retries=max(1, terms.retries))
    facts = Facts()
    for step in range(kills):
        after = next_step(msgspec.structs.replace(facts, step=step), SliceEnd(How.GONE), terms, jitter=1.0)
        assert isinstance(after, Again)
        assert after.after_s == 0
        facts = after.facts


@given(facts=st.builds(Facts, step=st.integers(-1, 9), attempts=st.integers(0, 3)), terms=some_terms)
def test_who_leaves_as_asked_pays_nothing(facts: Facts, terms: SliceTerms) -> None:
    for asked in (Asked.SLICE, Asked.PREEMPTED, Asked.STOP):
        assert next_step(facts, SliceEnd(How.YIELDED, asked), terms, jitter=1.0) == Again(0.0, facts)


# --- the table of states


def test_every_state_and_event_is_reached_and_final_states_are_left_by_a_retry_alone() -> None:
    assert set(TRANSITIONS) == set(RunState)
    reached = {after for events in TRANSITIONS.values() for after in events.values()}
    assert reached == set(RunState) - {RunState.INTERRUPTED}
    assert {event for events in TRANSITIONS.values() for event in events} == set(Event)
    assert {event for state in FINAL for event in TRANSITIONS[state]} == {Event.RETRY}
    assert set(RunState) - {RunState.QUEUED, RunState.RUNNING} == FINAL


def test_what_has_succeeded_is_not_run_again() -> None:
    with pytest.raises(KeyError):
        moved(RunState.SUCCEEDED, Event.RETRY)


def test_every_end_that_may_be_asked_for_is_a_word_for_an_exit() -> None:
    for word in (ExitWord.CANCELLED, ExitWord.OVER_BUDGET):
        assert exit_of(then(Facts(end_asked=word.value), How.YIELDED, Asked.END))[1] == word.value
