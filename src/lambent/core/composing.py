"""How deep functions may call functions, and how many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.core.errors import CallerFault

DEPTH_MAX: Final = 16
ASKS_MAX: Final = 100  # that one call may have under way; those beyond wait in its own worker
ASKED_BYTES_MAX: Final = 64 * 1024 * 1024  # of their bodies, unless one alone is larger


def check_depth(chain: Sequence[str], deployment: str, *, slots_max: int, depth_max: int = DEPTH_MAX) -> None:
    """Raise `CallerFault` where the last of `chain` must not call `deployment`.

    The first of the chain was called from outside, and each waits for the next and holds its slot meanwhile:
    where `deployment` has all of its `slots_max` slots in the chain, the call would wait for itself.
    """
    path = " → ".join((*chain[-3:], deployment))
    if len(chain) >= depth_max:
        raise CallerFault(f"functions may call each other {depth_max} deep, and this is deeper: … {path}")
    if chain.count(deployment) >= slots_max:
        raise CallerFault(
            f"{path} would wait for itself: {deployment!r} is in this chain of calls as often as it may run "
            f"at once (workers_max × concurrency = {slots_max})"
        )
