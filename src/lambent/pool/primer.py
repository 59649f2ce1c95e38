"""Loads one revision at a time in the background, and leaves alone for a while what does not stay loaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError
from lambent.core.retrying import RetryPolicy, next_delay_s
from lambent.core.spec import Temperature
from lambent.engines.base import Primed
from lambent.pool.pool import Pool
from lambent.wire.process import RevisionPlan

# Longer than any load worth having in the background. The engine ends the load itself by its own limit.
PRIME_TIMEOUT_S: Final = 120.0
AGAIN: Final = RetryPolicy(
    attempts_max=1_000_000, first_s=5.0, factor=2.0, cap_s=900.0, age_max_s=float("inf")
)

log = logging.getLogger(__name__)


class _Tries(msgspec.Struct, frozen=True):
    count: int
    not_before_s: float


class Primer:
    """`priming` is the revision that is being loaded, or empty."""

    def __init__(self, pool: Pool, clock: Clock, on_primed: Callable[[RevisionPlan, Primed], None]) -> None:
        self._pool: Final = pool
        self._clock: Final = clock
        self._on_primed: Final = on_primed
        self._tries: dict[str, _Tries] = {}
        self.priming = ""

    def may(self, revision: str, now_s: float) -> bool:
        """Whether it may be loaded now. One that was, and is not any more, waits longer each time."""
        tries = self._tries.get(revision)
        return not self.priming and (tries is None or now_s >= tries.not_before_s)

    def settled(self, revision: str) -> None:
        """It was used, or cooled down on purpose: what went before is no sign of a fault."""
        self._tries.pop(revision, None)

    def forget(self, revisions: frozenset[str]) -> None:
        """Remember these alone."""
        self._tries = {name: tries for name, tries in self._tries.items() if name in revisions}

    def start(self, plan: RevisionPlan, tasks: asyncio.TaskGroup) -> None:
        """Load it."""
        self.priming = plan.revision
        tasks.create_task(self._prime(plan), name=f"prime {plan.deployment}")

    async def _prime(self, plan: RevisionPlan) -> None:
        try:
            async with asyncio.timeout(PRIME_TIMEOUT_S):
                self._on_primed(plan, await self._pool.engine.prime(plan))
        except (LambentError, TimeoutError) as error:
            log.warning("prime_failed", extra={"deployment": plan.deployment, "reason": str(error)})
        except Exception:
            log.exception("prime_crashed", extra={"deployment": plan.deployment})
        finally:
            self.priming = ""
            self._tried(plan.revision)
        if self._pool.crew(plan.revision) is None:  # removed meanwhile: nobody else will let it go
            await self._pool.chill(plan.revision, Temperature.COLD)

    def _tried(self, revision: str) -> None:
        before = self._tries.get(revision)
        count = before.count + 1 if before else 1
        wait_s = next_delay_s(AGAIN, count - 1, jitter=1.0)
        self._tries[revision] = _Tries(count, self._clock.now_s() + wait_s)
