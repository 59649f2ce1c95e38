"""What policies have learned, as values to be kept: in no clock's time, and checked where they are read.

Times are seconds of idle time, so that a memory means the same under another clock; what was stored by
something broken, or by somebody's hand, is refused when it is decoded.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Amount = Annotated[float, msgspec.Meta(ge=0.0, le=1e18)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class GapMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram of gaps: weights by fine and by coarse bin of a grid, in gaps of today."""

    fine: dict[Count, Amount]
    coarse: dict[Count, Amount]
    total: Amount


class ForecastMemory(msgspec.Struct, frozen=True, kw_only=True, tag="forecast"):
    """One revision's forecast, when it had been idle for `idle_s`."""

    idle_s: Amount
    number: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    recent: Amount
    trusts: tuple[Amount, ...]
    gaps: GapMemory


class WindowMemory(msgspec.Struct, frozen=True, kw_only=True, tag="window"):
    """One revision under a policy of times: how often it was idle for so many minutes, and for longer."""

    idle_s: Amount
    minutes: dict[Count, Count] = {}
    outside: Count = 0


class RankMemory(msgspec.Struct, frozen=True, kw_only=True, tag="rank"):
    """One revision under greedy-dual: its calls since it came, and its priority."""

    idle_s: Amount
    calls: Count
    priority: Amount


class CrowdMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What revisions in general do, by coarse bin and recent class."""

    arrivals: tuple[tuple[Amount, ...], ...]
    exposed_s: tuple[tuple[Amount, ...], ...]


Memory = ForecastMemory | WindowMemory | RankMemory
