"""How much goes on at a deployment: what the request path writes and the autoscaler reads."""

from __future__ import annotations

from typing import Final

from lambent.core.admission import calls_ahead, peak_run_s, smoothed_run_s
from lambent.core.window import Level

WORK_S: Final = 1.0  # the shortest time over which work is counted
RUNS_MIN: Final = 10  # of one slot in that time: with fewer, where the last one ends is too much of the count
CPU_DECAY: Final = 0.999  # a run forgets: half of the highest share of CPU is left after 700 runs
WAITS: Final = 0.1  # of that share in a run, times all who are present: so little is no want of cores
WAITS_DECAY: Final = 0.5


class Traffic:
    """Invocations in flight and waiting, as a level over time. A deploy does not reset it."""

    __slots__ = (
        "_cpu_s", "_since_s", "_worked_s", "ahead", "arrivals", "cpu_share", "level", "most", "moved_s",
        "peak_s", "present", "quiet_since_s", "run_s", "work",
    )  # fmt: skip

    def __init__(self, now_s: float) -> None:
        self.level = Level(now_s)
        self.arrivals = 0  # ever: the thermostat learns from the differences
        self.present = 0
        self.most = 0  # the highest `present` since the autoscaler has looked
        self.moved_s = now_s  # when the last invocation ended, or the first of a new stretch arrived
        self.quiet_since_s = now_s
        self.peak_s = 0.0  # the longest run of late
        self.ahead = 0  # how many calls a busy worker may be sent ahead of their turn
        self.run_s = 0.0  # the mean that one invocation takes, for an honest Retry-After
        self.cpu_share = 0.0  # the CPU time in a second of a run; 0 where it was not told
        self._cpu_s = 0.0
        self.work = 0.0  # seconds of runs that end in a second; 0 where runs are too long to tell
        self._worked_s, self._since_s = 0.0, now_s

    def arrive(self, now_s: float) -> None:
        """An invocation was accepted."""
        if not self.present:
            self.moved_s = now_s
        self.arrivals += 1
        self.present += 1
        if self.present > self.most:
            self.most = self.present
        self.quiet_since_s = now_s
        self.level.set(self.present, now_s)

    def leave(self, now_s: float) -> None:
        """An invocation ended, in whatever way."""
        self.present -= 1
        self.quiet_since_s = self.moved_s = now_s
        self.level.set(self.present, now_s)

    def took(self, run_s: float, cpu_s: float | None = None, *, own_s: float = 0.0) -> None:
        """One run was measured, and the CPU time of its worker in it where that is known.

        `own_s` is what other processes have not taken from it, 0 where that is not known. What they took says
        nothing about the next.
        """
        self.run_s = smoothed_run_s(self.run_s, run_s)
        self.peak_s = peak_run_s(self.peak_s, own_s or run_s)
        self.ahead = calls_ahead(self.peak_s)
        self._worked_s += run_s
        if cpu_s is not None and self.run_s > 0:
            self._cpu_s = smoothed_run_s(self._cpu_s, cpu_s)
            # Runs that take turns on a core seem to need little of it: the highest share counts. What would
            # be little even if all who are present shared one core waits for something else.
            waits = cpu_s * max(1, self.present) < WAITS * self.cpu_share * run_s
            self.cpu_share *= WAITS_DECAY if waits else CPU_DECAY
            self.cpu_share = max(self._cpu_s / self.run_s, self.cpu_share)

    def looked(self, now_s: float, *, serving: bool) -> None:
        """The autoscaler has looked. Without a worker nothing can move."""
        self.most = self.present
        if not serving:
            self.moved_s = now_s
        if (span_s := now_s - self._since_s) >= WORK_S:
            self.work = self._worked_s / span_s if self.run_s * RUNS_MIN <= span_s else 0.0
            self._worked_s, self._since_s = 0.0, now_s

    def expected_run_s(self, now_s: float) -> float:
        """The mean run, or, where nothing has ended for longer than that, so much."""
        stuck_s = now_s - self.moved_s if self.present else 0.0
        return max(self.run_s, stuck_s) if self.run_s else 0.0
