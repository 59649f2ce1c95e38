"""Whether an invocation that found no free slot waits or is shed, and what is said to one that is shed.

The idea of a bounded queue before a bounded number of slots is that of Knative's breaker (knative/serving,
pkg/queue/breaker.go); here the answer is a value, and a refusal says whose maximum it met and when trying
again has a chance.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

RETRY_AFTER_S_MIN: Final = 1.0  # the header counts whole seconds
RETRY_AFTER_S_MAX: Final = 600.0
AHEAD_MAX: Final = 7
AHEAD_S_MAX: Final = 0.002  # what all calls that were sent ahead to one worker may take together
OVERDUE_S: Final = 0.05  # a run that takes longer is none of the short ones, whatever they took before it
PEAK_DECAY: Final = 0.999  # a run forgets: half of a peak is left after 700 runs
REFUSALS_PER_S: Final = 500.0  # of one project: said without haste they take 5 % of the event loop
REFUSALS_BURST: Final = 100.0
REFUSAL_S_MAX: Final = 2.0
RUN_S_WEIGHT: Final = 0.125  # of a new measurement, as in TCP's round-trip estimate (RFC 6298, section 2)


class Verdict(StrEnum):
    """What happens to an invocation that cannot run at once."""

    WAIT = "wait"
    SHED = "shed"


class Bound(StrEnum):
    """Whose maximum it was that an invocation met."""

    DEPLOYMENT = "deployment"
    PROJECT = "project"
    SERVER = "server"


class Admission(msgspec.Struct, frozen=True):
    """A verdict. `bound` belongs to `SHED`."""

    verdict: Verdict
    bound: Bound | None = None


class Depth(msgspec.Struct, frozen=True):
    """How many wait in a queue, and how many may."""

    queued: int
    queued_max: int


def offer(deployment: Depth, project: Depth) -> Admission:
    """The verdict for one more invocation, which would wait in both queues."""
    if deployment.queued >= deployment.queued_max:
        return Admission(Verdict.SHED, Bound.DEPLOYMENT)
    if project.queued >= project.queued_max:
        return Admission(Verdict.SHED, Bound.PROJECT)
    return Admission(Verdict.WAIT)


def offer_bytes(size_bytes: int, *, held_bytes: int, all_bytes: int, bytes_max: int) -> Admission:
    """The verdict for a body of `size_bytes`, when its project holds `held_bytes` and all do `all_bytes`.

    A project may hold as much as is free: alone half of all, beside n others of its kind one part in n + 2.
    So however many are greedy, there is room for who was not, and nothing is set aside for who never comes.
    Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
    IEEE/ACM Transactions on Networking 6 (1998), with a factor of one.
    """
    free_bytes = bytes_max - all_bytes
    if held_bytes + size_bytes <= free_bytes:
        return Admission(Verdict.WAIT)
    return Admission(Verdict.SHED, Bound.PROJECT if held_bytes else Bound.SERVER)


def served_per_s(*, run_s: float, workers: int, concurrency: int) -> float:
    """How many invocations end in a second while all wait for a slot; 0 while no run time is known."""
    return workers * concurrency / run_s if run_s > 0 else 0.0


def retry_after_s(*, queued: float, per_s: float) -> float:
    """Seconds until what is there now has been served at `per_s`; trying earlier only crowds.

    Of invocations or of bytes. From 1 to 600: below that a header cannot say it, above it the estimate is
    worth nothing. 1 where nothing is known.
    """
    if per_s <= 0:
        return RETRY_AFTER_S_MIN
    return min(RETRY_AFTER_S_MAX, max(RETRY_AFTER_S_MIN, queued / per_s))


def refusal_due_s(next_s: float, now_s: float) -> float:
    """When (monotonic) one more refusal of a project may be said; `next_s` is the last answer, 0 at first.

    A client that asks again as soon as it is refused takes the time of those who are served: a refusal costs
    half of an answer. `REFUSALS_BURST` are said at once, the rest at `REFUSALS_PER_S`, none later than
    `REFUSAL_S_MAX`, which is what a thousand clients who ask without end make of it. Source: the virtual
    scheduling algorithm of ITU-T I.371, annex A.
    """
    due_s = max(next_s, now_s - REFUSALS_BURST / REFUSALS_PER_S) + 1 / REFUSALS_PER_S
    return min(due_s, now_s + REFUSAL_S_MAX)


def peak_run_s(peak_s: float, run_s: float) -> float:
    """The longest run of late, after one more: a long one counts at once and is forgotten slowly."""
    return max(run_s, peak_s * PEAK_DECAY)


def calls_ahead(peak_s: float) -> int:
    """How many calls may be sent to a busy worker ahead of their turn; 0 while nothing has been measured.

    A worker that finds its next call waiting is spared the hand-off, which costs more than a short call. What
    was sent cannot be taken back, so only so much is sent as can hardly make anybody wait for a slow worker.
    """
    return min(AHEAD_MAX, int(AHEAD_S_MAX / peak_s)) if peak_s > 0 else 0


def smoothed_run_s(mean_s: float, run_s: float) -> float:
    """The mean run time after one more measurement. 0 means that there was none: the first counts in full."""
    return run_s if mean_s == 0 else mean_s + (run_s - mean_s) * RUN_S_WEIGHT
