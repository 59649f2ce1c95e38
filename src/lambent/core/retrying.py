"""When to try again, and when to stop: exponential waits with a cap, spread by full jitter.

Full jitter, a wait drawn evenly between nothing and the exponential one, empties a crowd of retries fastest
(Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The random number is the
caller's.
"""

from __future__ import annotations

from enum import StrEnum
from math import log
from typing import Final

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a series of tries. Raises `ValueError` for numbers that make none.

    The longest waits are `first_s`, `first_s × factor`, … up to `cap_s`. At most `attempts_max` tries are
    made in all, none more than `age_max_s` after the beginning.
    """

    attempts_max: int
    first_s: float
    factor: float
    cap_s: float
    age_max_s: float

    def __post_init__(self) -> None:
        if self.attempts_max < 1 or not 0 < self.first_s <= self.cap_s or self.factor < 1:
            raise ValueError(f"{self} makes no series of tries")


# What an application says that could not do it now: 408 and 429 ask for a later try by their own meaning.
LATER: Final = frozenset({408, 429})
SERVER_ERROR: Final = 500


def is_failure(status: int) -> bool:
    """Whether an answer over HTTP says that it was not done and may be another time.

    Any other 4xx is the application's word on that one request, which another try would not change.
    """
    return status >= SERVER_ERROR or status in LATER


class DeadReason(StrEnum):
    """Why nothing more is tried."""

    ATTEMPTS = "no attempts left"
    AGE = "too old to be tried again"
    NOTHING_RESERVED = "no calls are reserved"


class Retry(msgspec.Struct, frozen=True):
    """Try again after this many seconds."""

    after_s: float


class Dead(msgspec.Struct, frozen=True):
    """Do not try again."""

    reason: DeadReason


def next_delay_s(policy: RetryPolicy, retry: int, *, jitter: float) -> float:
    """Seconds before retry number `retry`, counted from 0. `jitter`, 0 to 1, is the share that is waited."""
    return jitter * _longest_s(policy, retry)


def next_try(policy: RetryPolicy, attempts: int, *, age_s: float, jitter: float) -> Retry | Dead:
    """What comes after `attempts` failed tries, the first of which was due `age_s` ago."""
    if attempts >= policy.attempts_max:
        return Dead(DeadReason.ATTEMPTS)
    after_s = next_delay_s(policy, max(0, attempts - 1), jitter=jitter)
    if age_s + after_s > policy.age_max_s:
        return Dead(DeadReason.AGE)
    return Retry(after_s)


def _longest_s(policy: RetryPolicy, retry: int) -> float:
    # Compared as logarithms: the thousandth retry's power is more than a float can hold.
    if policy.factor > 1 and retry * log(policy.factor) >= log(policy.cap_s / policy.first_s):
        return policy.cap_s
    return min(policy.cap_s, policy.first_s * policy.factor**retry)
