"""How much goes on at a deployment: what the request path writes and the autoscaler reads."""

from __future__ import annotations

from lambent.core.admission import calls_ahead, peak_run_s, smoothed_run_s
from lambent.core.window import Level


class Traffic:
    """Invocations in flight and waiting, as a level over time. A deploy does not reset it."""

    __slots__ = ("ahead", "arrivals", "level", "peak_s", "present", "quiet_since_s", "run_s")

    def __init__(self, now_s: float) -> None:
        self.level = Level(now_s)
        self.arrivals = 0  # ever: the thermostat learns from the differences
        self.present = 0
        self.quiet_since_s = now_s
        self.peak_s = 0.0  # the longest run of late
        self.ahead = 0  # how many calls a busy worker may be sent ahead of their turn
        self.run_s = 0.0  # the mean that one invocation takes, for an honest Retry-After

    def arrive(self, now_s: float) -> None:
        """An invocation was accepted."""
        self.arrivals += 1
        self.present += 1
        self.quiet_since_s = now_s
        self.level.set(self.present, now_s)

    def leave(self, now_s: float) -> None:
        """An invocation ended, in whatever way."""
        self.present -= 1
        self.quiet_since_s = now_s
        self.level.set(self.present, now_s)

    def took(self, run_s: float) -> None:
        """One run was measured."""
        self.run_s = smoothed_run_s(self.run_s, run_s)
        self.peak_s = peak_run_s(self.peak_s, run_s)
        self.ahead = calls_ahead(self.peak_s)
