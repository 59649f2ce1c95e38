"""What AWS writes around each call into a function's log: START, END, REPORT."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.core.invocation import Called, Outcome
from lambent.pool.member import Lease
from lambent.wire.aws import invoking
from lambent.wire.process import RevisionPlan

# Lines of many calls are written at once: to write costs more than to make them.
FLUSH_S: Final = 0.02


class Log(Protocol):
    """The logs of deployments."""

    def say(self, plan: RevisionPlan, worker_id: str, lines: Sequence[str]) -> None:
        """Whole lines of ours among those that a worker printed. Never blocks, never raises."""

    def flush(self) -> None:
        """Write them, if what was printed since has not. Never blocks, never raises."""


class Reports:
    """Writes them for calls that AWS's clients made."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log: Final = log
        self._clock: Final = clock
        self._flushes = False

    def began(self, lease: Lease, invocation_id: str, called: Called) -> None:
        """A call goes to its worker."""
        version = called.version or lease.plan.version or str(lease.plan.number)
        self._say(lease, [invoking.start_line(invocation_id, version)])

    def ended(self, lease: Lease, invocation_id: str, outcome: Outcome) -> None:
        """It came to this. What it printed is in the log before."""
        lease.member.worker.printed()
        self._say(lease, invoking.end_lines(invocation_id, outcome, now_unix_ms=self._clock.unix_ms()))

    def ran(self, lease: Lease, invocation_id: str, called: Called, outcome: Outcome) -> None:
        """All at once: of one of many that ran together, whose output cannot be told apart."""
        self.began(lease, invocation_id, called)
        self._say(lease, invoking.end_lines(invocation_id, outcome, now_unix_ms=self._clock.unix_ms()))

    def _say(self, lease: Lease, lines: Sequence[str]) -> None:
        self._log.say(lease.plan, lease.member.worker.worker_id, lines)
        if not self._flushes:
            self._flushes = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushes = False
        self._log.flush()
