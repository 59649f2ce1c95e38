"""What becomes of a run when one of its slices has ended: it goes on, or it ends. Pure.

A slice ends in one of the ways of `How`. Being asked to leave costs a run nothing: a yield, a preemption and
a server that stops use up no retry. A failure does, and the count starts anew whenever the last checkpoint
has moved on since the failure before: a run survives any number of kills while it makes progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.retrying import RetryPolicy, next_delay_s

NO_CHECKPOINT: Final = -1  # the step of a run before its first
SLICE_S: Final = 600.0  # of a job that does not say how long its slices are
BRIEF_GRACE_S_MAX: Final = 5.0  # of a slice whose checkpoint nobody waits for
LAST_SHARE: Final = 0.1  # of a run's time, at most, to write its last checkpoint in
BACKOFF_FACTOR: Final = 2.0
BACKOFF_S_MAX: Final = 300.0


class RunState(StrEnum):
    """Where a run is. Those after `RUNNING` are final; only older servers left runs `INTERRUPTED`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Event(StrEnum):
    """What happens to a run."""

    TURN = "its turn comes"
    SLICE_OVER = "a slice is over and it goes on"
    SUCCEED = "it has done its work"
    FAIL = "it cannot go on"
    CANCEL = "somebody does not want it any more"
    RETRY = "somebody wants it once more"


TRANSITIONS: Final[Mapping[RunState, Mapping[Event, RunState]]] = {
    RunState.QUEUED: {
        Event.TURN: RunState.RUNNING,
        Event.FAIL: RunState.FAILED,
        Event.CANCEL: RunState.CANCELLED,
    },
    RunState.RUNNING: {
        Event.SLICE_OVER: RunState.QUEUED,
        Event.SUCCEED: RunState.SUCCEEDED,
        Event.FAIL: RunState.FAILED,
        Event.CANCEL: RunState.CANCELLED,
    },
    RunState.SUCCEEDED: {},
    RunState.FAILED: {Event.RETRY: RunState.QUEUED},
    RunState.CANCELLED: {Event.RETRY: RunState.QUEUED},
    RunState.INTERRUPTED: {Event.RETRY: RunState.QUEUED},
}
FINAL: Final = frozenset(state for state, events in TRANSITIONS.items() if Event.CANCEL not in events)


class ExitWord(StrEnum):
    """One word for how a run ended."""

    FINISHED = "finished"
    FAILED = "failed"  # its code raised, did not load, or left nothing
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OVERRAN = "overran"  # it did not leave when its slice was over, again and again
    NO_CHECKPOINT = "no_checkpoint"  # its slices are too short for code that never checkpoints
    KILLED = "killed"  # its process died, again and again
    OUT_OF_MEMORY = "out_of_memory"
    OVER_BUDGET = "over_budget"
    DEPENDENCY_FAILED = "dependency_failed"
    REMOVED = "removed"  # its job is no more


class Asked(StrEnum):
    """Why a slice was asked to leave. `NOT`: it was not."""

    NOT = ""
    SLICE = "slice"  # its time is over
    PREEMPTED = "preempted"  # something of higher priority needs its place
    STOP = "stop"  # the server stops
    TIME = "time"  # the run's time is over
    BUDGET = "budget"  # the run has cost what it may
    END = "end"  # nobody wants the run any more


class How(StrEnum):
    """How a slice ended."""

    FINISHED = "finished"
    YIELDED = "yielded"  # it committed its state and left, as it was asked
    OVERRAN = "overran"  # it was asked, and was killed when its grace was over
    GONE = "gone"  # its process died, by itself or by somebody's hand
    RAISED = "raised"  # user code raised
    NO_MEMORY = "no_memory"  # user code raised MemoryError
    REFUSED = "refused"  # it cannot run at all: its code does not load, its result is no use
    REMOVED = "removed"  # its job is no more


class SliceEnd(msgspec.Struct, frozen=True):
    """A slice that is over. `error` is a sentence where it failed."""

    how: How
    asked: Asked = Asked.NOT
    error: str = ""


class SliceTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's owner says of its runs and their slices. A `slice_s` of 0 leaves it to us."""

    slice_s: float
    grace_s: float
    timeout_s: float
    retries: int
    retry_first_s: float


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands after a slice; the words of `storage.base.Run`."""

    step: int = NO_CHECKPOINT
    attempts: int = 0
    failed_step: int = NO_CHECKPOINT
    failed_by: str = ""
    end_asked: str = ""


class Again(msgspec.Struct, frozen=True):
    """It goes on, not before `after_s`. The facts are to be remembered."""

    after_s: float
    facts: Facts


class End(msgspec.Struct, frozen=True):
    """It is over."""

    state: RunState
    exit: ExitWord
    reason: str = ""


class Limits(msgspec.Struct, frozen=True):
    """Of one slice: after how many seconds it is asked to leave, why, and how many more it is given."""

    ask_s: float
    why: Asked
    grace_s: float


EXITS: Final[Mapping[How, ExitWord]] = {
    How.OVERRAN: ExitWord.OVERRAN,
    How.GONE: ExitWord.KILLED,
    How.RAISED: ExitWord.FAILED,
    How.NO_MEMORY: ExitWord.OUT_OF_MEMORY,
    How.REFUSED: ExitWord.FAILED,
    How.REMOVED: ExitWord.REMOVED,
}


def moved(state: RunState, event: Event) -> RunState:
    """The state after an event. One that the table does not list is a bug and raises `KeyError`."""
    return TRANSITIONS[state][event]


def limits(terms: SliceTerms, *, run_s: float, step: int) -> Limits:
    """The limits of a slice of a run that had been running for `run_s` and has come to the checkpoint `step`.

    `timeout_s` is never passed: the last slice is asked early enough to have its grace within it, or the last
    tenth of the time where that is less. Where nobody said how long slices are, none is asked before there
    is a checkpoint to go on from: code that knows nothing of them would lose its work for nothing.
    """
    left_s = max(0.0, terms.timeout_s - run_s)
    last_grace_s = min(terms.grace_s, terms.timeout_s * LAST_SHARE, left_s)
    slice_s = terms.slice_s or (left_s if step == NO_CHECKPOINT else SLICE_S)
    if left_s - last_grace_s <= slice_s:
        return Limits(left_s - last_grace_s, Asked.TIME, last_grace_s)
    return Limits(slice_s, Asked.SLICE, min(terms.grace_s, left_s - slice_s))


def grace_s(terms: SliceTerms, why: Asked, *, step: int) -> float:
    """How long a slice has to leave once it is asked for one of the reasons that come from outside.

    A server that stops does not wait long for code that has never written a checkpoint.
    """
    is_brief = why is Asked.END or (why is Asked.STOP and step == NO_CHECKPOINT)
    return min(terms.grace_s, BRIEF_GRACE_S_MAX) if is_brief else terms.grace_s


def next_step(facts: Facts, end: SliceEnd, terms: SliceTerms, *, jitter: float) -> Again | End:
    """What comes after a slice. `jitter`, 0 to 1, is the share of the longest wait that is waited."""
    if facts.end_asked and (end.how is not How.FINISHED or facts.end_asked == ExitWord.CANCELLED):
        return ended_as(facts.end_asked)
    if end.how is How.FINISHED:
        return End(RunState.SUCCEEDED, ExitWord.FINISHED)
    left_as_asked = end.how in (How.YIELDED, How.OVERRAN)
    if end.asked is Asked.TIME and left_as_asked:
        said = f"the job ran over its timeout_s={terms.timeout_s:g}"
        return End(RunState.FAILED, ExitWord.TIMED_OUT, said)
    if end.how is How.YIELDED or (end.how is How.OVERRAN and end.asked is not Asked.SLICE):
        return Again(0.0, facts)
    return _after_failure(facts, end, terms, jitter=jitter)


def ended_as(asked: str) -> End:
    """The end of a run that was asked to come to it: cancelled, or over its budget."""
    if asked == ExitWord.OVER_BUDGET:
        said = "it has cost what it may; `lambent retry RUN --max-cost USD` lets it go on from its checkpoint"
        return End(RunState.FAILED, ExitWord.OVER_BUDGET, said)
    return End(RunState.CANCELLED, ExitWord.CANCELLED, "it was cancelled")


def _after_failure(facts: Facts, end: SliceEnd, terms: SliceTerms, *, jitter: float) -> Again | End:
    has_moved = facts.step > facts.failed_step
    attempts = 1 if has_moved else facts.attempts + 1
    again = not has_moved and facts.failed_by == end.how
    if end.how is How.OVERRAN and facts.step == NO_CHECKPOINT and again:
        return End(RunState.FAILED, ExitWord.NO_CHECKPOINT, _no_checkpoint(terms))
    is_hopeless = end.how in (How.REFUSED, How.REMOVED) or (
        # What raises before it has come anywhere raises again, and who wrote it waits to hear of it.
        end.how in (How.RAISED, How.NO_MEMORY) and (facts.step == NO_CHECKPOINT or again)
    )
    if is_hopeless or attempts > terms.retries:
        return End(RunState.FAILED, EXITS[end.how], _given_up(end, attempts))
    after = msgspec.structs.replace(facts, attempts=attempts, failed_step=facts.step, failed_by=end.how.value)
    return Again(_wait_s(terms, attempts, jitter=jitter), after)


def _wait_s(terms: SliceTerms, attempts: int, *, jitter: float) -> float:
    """Nothing after the first failure at a step: where a run makes progress a kill is cheap."""
    if attempts == 1:
        return 0.0
    policy = RetryPolicy(
        attempts_max=terms.retries + 1,
        first_s=min(terms.retry_first_s, BACKOFF_S_MAX),
        factor=BACKOFF_FACTOR,
        cap_s=BACKOFF_S_MAX,
        age_max_s=float("inf"),
    )
    return next_delay_s(policy, attempts - 2, jitter=jitter)


def _no_checkpoint(terms: SliceTerms) -> str:
    return (
        f"the job ran for slice_s={terms.slice_s:g} twice without a checkpoint, so it would begin anew for "
        "ever: call run.checkpoint(state, step=...) in its loop, or give it a longer slice_s"
    )


def _given_up(end: SliceEnd, attempts: int) -> str:
    return end.error if attempts == 1 else f"{end.error} (tried {attempts} times without getting further)"
