"""What invokes deployments by the clock, in the API."""

from __future__ import annotations

import msgspec

from lambent.core.timers import Timer


class TimerView(msgspec.Struct, frozen=True, kw_only=True):
    """What invokes a deployment by the clock, its next tick and the last that it was invoked for."""

    name: str
    expression: str
    zone: str
    alias: str
    enabled: bool
    next_unix_ms: int | None
    last_unix_ms: int | None


class TimersReply(msgspec.Struct, frozen=True):
    """All that invokes a deployment by the clock."""

    timers: tuple[TimerView, ...]


class TimersRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is to invoke a deployment by the clock."""

    timers: tuple[Timer, ...]
