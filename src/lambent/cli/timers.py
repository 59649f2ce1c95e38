"""What invokes a deployment by the clock, as `lambent show` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lambent.cli.output import when

if TYPE_CHECKING:
    from lambent.wire.timers import TimerView

TIMER_COLUMNS: Final = ("TIMER", "WHEN", "ZONE", "NEXT", "LAST")


def timer_line(one: TimerView) -> list[str]:
    """One row."""
    ahead = when(one.next_unix_ms) if one.next_unix_ms else "never"
    last = when(one.last_unix_ms) if one.last_unix_ms else ""
    return [one.name or "(own)", one.expression, one.zone, ahead if one.enabled else "off", last]
