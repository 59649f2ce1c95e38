"""What comes of the calls of revisions on trial, and of those beside which they are tried.

The request path only counts, and only for aliases that have bounds. Twice in a window both tallies forget
their older half, so that a thousand good calls of yesterday do not outvote the bad ones of now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from lambent.clock import Clock, SteadyClock
from lambent.core.canary import Action, Guard, Tally, Verdict, judge
from lambent.core.errors import CallerFault, Draining, LambentError
from lambent.core.invocation import Invocation, Outcome, Status
from lambent.core.spec import Temperature

LOOK_S: Final = 0.25
HALF_WINDOW_S: Final = 150.0  # tallies are of the last one to two of these
RETRY_S: Final = 5.0  # until a verdict that could not be carried out is pronounced again
SERVER_ERROR: Final = 500  # from this status on, an application's own answer is a failure

Key = tuple[str, str, str]  # project, deployment, alias
CarryOut = Callable[["Key", "Terms", Verdict], None]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Which revision is tried beside which, and when that ends. `began_unix_ms` is when it began."""

    revision: str
    candidate: str
    guard: Guard
    began_unix_ms: int


class Standing(msgspec.Struct, frozen=True):
    """How a trial stands: both tallies over the same time, and what was last thought of it."""

    old: Tally
    new: Tally
    verdict: Verdict


class _Trial:
    __slots__ = ("before", "now", "pause_until_s", "terms", "turned_s", "verdict")

    def __init__(self, terms: Terms, now_s: float) -> None:
        self.terms = terms
        self.now = {terms.revision: Tally(), terms.candidate: Tally()}
        self.before = dict(self.now)
        self.turned_s = now_s
        self.pause_until_s = 0.0
        self.verdict = Verdict(Action.GO_ON, "")

    def count(self, revision: str, seen: Tally, now_s: float) -> None:
        if now_s - self.turned_s >= HALF_WINDOW_S:
            idle = now_s - self.turned_s >= 2 * HALF_WINDOW_S
            self.before = dict.fromkeys(self.now, Tally()) if idle else self.now
            self.now = dict.fromkeys(self.now, Tally())
            self.turned_s = now_s
        if (tally := self.now.get(revision)) is not None:
            self.now[revision] = tally.plus(seen)

    def tally(self, revision: str) -> Tally:
        return self.now[revision].plus(self.before[revision])


class Trials:
    """Watches the trials that have bounds. What it finds is said again while the trial goes on."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = SteadyClock(clock)
        self._trials: Final[dict[Key, _Trial]] = {}
        self._carry_out: CarryOut | None = None

    def listen(self, carry_out: CarryOut) -> None:
        """Tell `carry_out` of verdicts from now on. There is one."""
        self._carry_out = carry_out

    def watch(self, key: Key, terms: Terms | None) -> None:
        """Watch this trial, or, for None, none. One that is watched on equal terms goes on."""
        trial = self._trials.get(key)
        if terms is None:
            self._trials.pop(key, None)
        elif trial is None or trial.terms != terms:
            self._trials[key] = _Trial(terms, self._clock.now_s())

    def watched(self, project: str, deployment: str) -> tuple[str, ...]:
        """The aliases of a deployment with trials."""
        return tuple(alias for one, name, alias in self._trials if (one, name) == (project, deployment))

    def standing(self, key: Key) -> Standing | None:
        """How the trial of an alias stands."""
        if (trial := self._trials.get(key)) is None:
            return None
        terms = trial.terms
        return Standing(trial.tally(terms.revision), trial.tally(terms.candidate), trial.verdict)

    def answered(self, invocation: Invocation, outcome: Outcome) -> None:
        """A call was answered. One that nobody waited for any more says nothing."""
        trial = self._of(invocation)
        if trial is None or outcome.status is Status.CANCELLED:
            return
        # Where user code has a status for what it says, that tells whose fault it was.
        head = outcome.head
        failed = outcome.status is not Status.OK if head is None else head.status >= SERVER_ERROR
        # Who waited for a wake waited for the thermostat: the old revision has been awake for long.
        timed = outcome.temperature is Temperature.HOT
        bound_ms = trial.terms.guard.max_p95_ms
        slow = timed and bound_ms is not None and outcome.timing.total_ms > bound_ms
        seen = Tally(1, int(failed), int(timed), int(slow))
        trial.count(outcome.revision, seen, self._clock.now_s())

    def refused(
        self, invocation: Invocation, revision: str, error: LambentError, *, since_s: float = 0.0
    ) -> None:
        """A call was not answered: it could not be loaded, or had no room. Faults of callers do not count.

        Since when it waited (`since_s`) matters to others who are told the same.
        """
        trial = self._of(invocation)
        if trial is not None and not isinstance(error, CallerFault | Draining):
            trial.count(revision, Tally(1, 1), self._clock.now_s())

    def _of(self, invocation: Invocation) -> _Trial | None:
        if not self._trials:
            return None
        return self._trials.get((invocation.project, invocation.deployment, invocation.alias))

    async def run(self) -> None:
        """Judge until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """One look at every trial."""
        now_s, now_unix_ms = self._clock.now_s(), self._clock.unix_ms()
        for key, trial in tuple(self._trials.items()):
            terms = trial.terms
            trial.verdict = judge(
                terms.guard,
                old=trial.tally(terms.revision),
                new=trial.tally(terms.candidate),
                age_s=(now_unix_ms - terms.began_unix_ms) / 1e3,
            )
            if trial.verdict.action is not Action.GO_ON and now_s >= trial.pause_until_s and self._carry_out:
                trial.pause_until_s = now_s + RETRY_S
                self._carry_out(key, terms, trial.verdict)
