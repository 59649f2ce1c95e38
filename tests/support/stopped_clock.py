"""A clock that stands still, for tests on real sockets of what would be too old on a machine that stalls."""

from __future__ import annotations


class StoppedClock:
    """A `Clock` that always shows the same time."""

    def now_s(self) -> float:
        return 1000.0

    def unix_ms(self) -> int:
        return 1_700_000_000_000
