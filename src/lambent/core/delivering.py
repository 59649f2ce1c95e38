"""What becomes of a message to somebody else's server after each try: taken, given up, or sent again later.

The waits are about what the specification of Standard Webhooks recommends: seconds at first, days in all.
"""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.core.retrying import Dead, Retry, RetryPolicy, next_try

RETRY: Final = RetryPolicy(attempts_max=16, first_s=1.0, factor=3.0, cap_s=6 * 3600.0, age_max_s=3 * 86_400.0)
GONE: Final = 410  # the receiver says that it will never want any


class Taken(msgspec.Struct, frozen=True):
    """The receiver has it."""


class GivenUp(msgspec.Struct, frozen=True):
    """It is not sent again."""

    reason: str


def after_answer(
    status: int, *, retry_after_s: float, attempts: int, age_s: float, jitter: float
) -> Taken | Retry | GivenUp:
    """What comes after `attempts` tries, the last of which was answered with `status`, or 0 for no answer.

    Any 2xx is a yes; 410 is a no for good. `retry_after_s` is the time that the receiver named, else 0;
    `jitter`, 0 to 1, the share of a wait that is waited.
    """
    if 200 <= status < 300:
        return Taken()
    if status == GONE:
        return GivenUp("it wants none")
    verdict = next_try(RETRY, attempts, age_s=age_s, jitter=jitter)
    if isinstance(verdict, Dead):
        return GivenUp(verdict.reason)
    return Retry(min(max(verdict.after_s, retry_after_s), RETRY.cap_s))
