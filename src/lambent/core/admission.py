"""Whether an invocation that found no free slot waits or is shed, and what is said to one that is shed.

The idea of a bounded queue before a bounded number of slots is that of Knative's breaker (knative/serving,
pkg/queue/breaker.go); here the answer is a value, and a refusal says when trying again has a chance.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

RETRY_AFTER_S_MIN: Final = 1.0  # the header counts whole seconds
RETRY_AFTER_S_MAX: Final = 600.0
AHEAD_MAX: Final = 7
AHEAD_S_MAX: Final = 0.002  # what all calls that were sent ahead to one worker may take together
PEAK_DECAY: Final = 0.999  # a run forgets: half of a peak is left after 700 runs
RUN_S_WEIGHT: Final = 0.125  # of a new measurement, as in TCP's round-trip estimate (RFC 6298, section 2)


class Verdict(StrEnum):
    """What happens to an invocation that cannot run at once."""

    WAIT = "wait"
    SHED = "shed"


class Admission(msgspec.Struct, frozen=True):
    """A verdict. `retry_after_s` belongs to `SHED`."""

    verdict: Verdict
    retry_after_s: float = 0.0


def offer(*, queued: int, queue_depth_max: int, run_s: float, workers_max: int) -> Admission:
    """The verdict for one more invocation, when `queued` of its deployment already wait.

    `run_s` is the mean time that one takes, 0 while none has ended; `workers_max` is how many may run at
    once.
    """
    if queued < queue_depth_max:
        return Admission(Verdict.WAIT)
    return Admission(Verdict.SHED, retry_after_s(queued=queued, run_s=run_s, workers_max=workers_max))


def retry_after_s(*, queued: int, run_s: float, workers_max: int) -> float:
    """Seconds until those who wait now have been served, if all workers run; trying earlier only crowds.

    From 1 to 600: below that a header cannot say it, above it the estimate is worth nothing.
    """
    drained_s = queued * run_s / max(1, workers_max)
    return min(RETRY_AFTER_S_MAX, max(RETRY_AFTER_S_MIN, drained_s))


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
