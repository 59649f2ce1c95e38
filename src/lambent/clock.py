"""The only reader of time.

Durations and deadlines compare `now_s`; `unix_ms` is for what people see and what is stored. Whoever
needs either takes a `Clock` in its constructor, so that a test or the simulator can replace it.
"""

import time
from typing import Final, Protocol

# CPUCLOCK_SCHED: with a pid it makes the id of that process's clock, as clock_getcpuclockid(3) does.
CPU_CLOCK: Final = 2


class Clock(Protocol):
    """Where the program learns what time it is."""

    def now_s(self) -> float:
        """Monotonic seconds since an arbitrary origin; never goes back."""
        ...

    def unix_ms(self) -> int:
        """Wall time in whole milliseconds since 1970-01-01 UTC; may jump when the machine's clock is set."""
        ...


class SystemClock:
    """The machine's own clocks."""

    now_s = staticmethod(time.monotonic)  # read a dozen times a call: no frame of ours around it

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000

    unix_ns = staticmethod(time.time_ns)  # for spans, which other programs on this machine time as well


class SteadyClock:
    """Another clock, whose wall time is read once and counted on from there.

    For whoever stores when something is due and compares that with the present: a jump of the machine's clock
    then makes nothing due early, late or too old. As people read it, it is off by what has been jumped since.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._origin_ms = clock.unix_ms() - round(clock.now_s() * 1e3)

    def now_s(self) -> float:
        return self._clock.now_s()

    def unix_ms(self) -> int:
        return self._origin_ms + round(self._clock.now_s() * 1e3)


def cpu_ns_of(pid: int) -> int:
    """CPU time of a process, all its threads, without its children; 0 where it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | CPU_CLOCK)
    except OSError:
        return 0
