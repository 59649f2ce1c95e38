"""Whether a revision on trial goes back, goes on or takes over, decided from what came of its calls.

Both bounds are about shares of calls: of those that failed, and, since a 95th percentile lies above a bound
exactly where more than 5 % of calls took longer, of those that were slow. So one test serves both. It must be
looked at after every call without being fooled by looking often: it is a mixture of likelihood ratios (A.
Wald, Sequential Analysis, 1947; H. Robbins, Ann. Math. Stat. 41, 1970), which is an e-process. By Ville's
inequality it exceeds 1 / `WRONG_MAX` with a probability of at most `WRONG_MAX`, ever, while the true share is
within its bound.

What the old revision does over the same time is the other half of the question: where it is as bad, something
else is broken, and going back would mend nothing.
"""

from __future__ import annotations

from enum import StrEnum
from math import exp, inf, log, sqrt
from typing import Final

import msgspec

WRONG_MAX: Final = 0.001  # of going back although the bound is kept, in one window
SLOW_SHARE_MAX: Final = 0.05  # above it, the 95th percentile is over its bound
# Shares that are tried as the true one: so far from the bound towards 1.
ALTERNATIVES: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95)
SHARE_TOLD_MAX: Final = 0.999  # nothing can be told to be above a share like this
COMPARED_MIN: Final = 20  # calls of the old revision below which it says nothing
EDGE_Z: Final = 1.96  # of Wilson's interval: 97.5 % sure on one side
PROMOTE_CALLS_MIN: Final = 20  # calls that a revision must have answered before it takes over by itself

RATE_MIN, RATE_MAX = 0.001, 1.0  # of a bound on errors; at 1 nothing crosses it
P95_MS_MIN, P95_MS_MAX = 0.1, 3_600_000.0
PROMOTE_S_MIN, PROMOTE_S_MAX = 1.0, 30 * 86_400.0


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a trial; None where there is none.

    `max_error_rate` is a share of calls, 0.001 to 1. `max_p95_ms` is of the time from acceptance to answer.
    `promote_after_s` is how long it must be well before it takes over by itself.
    """

    max_error_rate: float | None = None
    max_p95_ms: float | None = None
    promote_after_s: float | None = None


class Tally(msgspec.Struct, frozen=True):
    """What came of a revision's calls. `slow` of the `timed` ones took longer than the guard allows."""

    calls: int = 0
    failed: int = 0
    timed: int = 0
    slow: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.calls + other.calls,
            self.failed + other.failed,
            self.timed + other.timed,
            self.slow + other.slow,
        )


class Action(StrEnum):
    """What is to be done with a candidate."""

    GO_ON = "go_on"
    ROLL_BACK = "roll_back"
    PROMOTE = "promote"


class Verdict(msgspec.Struct, frozen=True):
    """An action and why, for people."""

    action: Action
    reason: str


def judge(guard: Guard, *, old: Tally, new: Tally, age_s: float) -> Verdict:
    """What becomes of a candidate, `age_s` after its trial began. Both tallies are of the same time."""
    if guard.max_error_rate is not None and _crossed(
        new.failed, new.calls, guard.max_error_rate, _excuse(old.failed, old.calls)
    ):
        return Verdict(
            Action.ROLL_BACK,
            f"{new.failed} of {new.calls} calls failed, and at most {_percent(guard.max_error_rate)} may; "
            f"of the old revision's, {old.failed} of {old.calls}",
        )
    if guard.max_p95_ms is not None and _crossed(
        new.slow, new.timed, SLOW_SHARE_MAX, _excuse(old.slow, old.timed)
    ):
        return Verdict(
            Action.ROLL_BACK,
            f"{new.slow} of {new.timed} calls took longer than {guard.max_p95_ms:g} ms, and at most "
            f"{_percent(SLOW_SHARE_MAX)} may; of the old revision's, {old.slow} of {old.timed}",
        )
    if guard.promote_after_s is None:
        return Verdict(Action.GO_ON, "")
    return _promotion(guard, guard.promote_after_s, old, new, age_s)


def evidence(hits: int, calls: int, share_max: float) -> float:
    """The logarithm of how much likelier `hits` of `calls` are above a share than at it."""
    if share_max > SHARE_TOLD_MAX or not calls:
        return -inf
    logs = [
        hits * log(share / share_max) + (calls - hits) * log((1 - share) / (1 - share_max))
        for share in (share_max + (1 - share_max) * step for step in ALTERNATIVES)
    ]
    top = max(logs)
    return top + log(sum(exp(one - top) for one in logs) / len(logs))


def upper_edge(hits: int, calls: int) -> float:
    """The highest share that `hits` of `calls` speak for (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    z2 = EDGE_Z * EDGE_Z
    middle = (hits + z2 / 2) / (calls + z2)
    half = EDGE_Z / (calls + z2) * sqrt(hits * (calls - hits) / calls + z2 / 4)
    return min(1.0, middle + half)


def _promotion(guard: Guard, after_s: float, old: Tally, new: Tally, age_s: float) -> Verdict:
    if age_s < after_s:
        return Verdict(Action.GO_ON, f"it takes over in {after_s - age_s:.0f} s if it stays well")
    if new.calls < PROMOTE_CALLS_MIN:
        return Verdict(
            Action.GO_ON, f"it takes over after {PROMOTE_CALLS_MIN} calls; so far it had {new.calls}"
        )
    if guard.max_error_rate is not None and new.failed > new.calls * max(
        guard.max_error_rate, _excuse(old.failed, old.calls)
    ):
        return Verdict(
            Action.GO_ON, f"too many of its calls failed to take over: {new.failed} of {new.calls}"
        )
    if guard.max_p95_ms is not None and new.slow > new.timed * max(
        SLOW_SHARE_MAX, _excuse(old.slow, old.timed)
    ):
        return Verdict(
            Action.GO_ON, f"too many of its calls were slow to take over: {new.slow} of {new.timed}"
        )
    return Verdict(Action.PROMOTE, f"it was well for {age_s:.0f} s and {new.calls} calls")


def _crossed(hits: int, calls: int, share_max: float, excuse: float) -> bool:
    return evidence(hits, calls, max(share_max, excuse)) >= -log(WRONG_MAX)


def _excuse(hits: int, calls: int) -> float:
    """The share that the old revision may well have, too; 0 where it has had too few calls to tell."""
    return upper_edge(hits, calls) if hits and calls >= COMPARED_MIN else 0.0


def _percent(share: float) -> str:
    return f"{share * 100:g} %"
