"""The workers of one revision, and what is remembered of their wakes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from lambent.core.autoscaling import Memory, ScalingPolicy
from lambent.core.errors import LambentError
from lambent.pool.member import Member
from lambent.pool.sizes import environment_of
from lambent.wire.api import WakeView
from lambent.wire.process import RevisionPlan

WAKES_KEPT_MAX: Final = 50


class Crew:
    """Mutable: the pool alone writes it.

    `members` serve or will serve again, `leaving` only finish. `idle` is a stack, so that what is surplus
    stays at its bottom. `cut`: it got fewer workers than it asked for. `let_go`: its idle workers were
    stopped for their memory; `rests`: by hand, and nothing comes back before it is invoked. `pressed`:
    somebody waits beside its workers, and the autoscaler is told. `scaling` is what its last decision left
    to the next, `workers_may` how many workers it may come to have by it.
    `wanted` is what that asked for and `least` what it has in any case; `share` is its part where there is
    not enough memory for all. `awake_s` is when it last got a
    worker after it had none.
    """

    __slots__ = (
        "awake_s",
        "cut",
        "emptied",
        "empty_since_s",
        "environment",
        "failures",
        "idle",
        "last_error",
        "least",
        "leaving",
        "let_go",
        "members",
        "plan",
        "policy",
        "pressed",
        "rests",
        "retired",
        "scaling",
        "share",
        "starting",
        "wake_not_before_s",
        "wakes",
        "wanted",
        "workers_may",
    )  # fmt: skip

    def __init__(self, plan: RevisionPlan, policy: ScalingPolicy, now_s: float) -> None:
        self.plan = plan
        self.environment = environment_of(plan)
        self.policy = policy
        self.members: Final[set[Member]] = set()
        self.leaving: Final[set[Member]] = set()
        self.idle: Final[list[Member]] = []
        self.starting = 0
        self.retired = False
        self.cut = False
        self.let_go = False
        self.rests = False
        self.pressed = False
        self.scaling = Memory()
        self.workers_may = policy.workers_max
        self.wanted = self.least = 0
        self.share: int | None = None
        self.empty_since_s = self.awake_s = now_s
        self.emptied: Final = asyncio.Event()
        self.emptied.set()
        self.failures = 0
        self.wake_not_before_s = 0.0
        self.last_error = ""
        self.wakes: Final[deque[WakeView]] = deque(maxlen=WAKES_KEPT_MAX)

    @property
    def empty(self) -> bool:
        """Neither a worker nor one on its way."""
        return not (self.members or self.leaving or self.starting)

    def check_emptied(self) -> None:
        """Tell who waits for that if no worker is left."""
        if self.empty:
            self.emptied.set()

    def withdraw(self, member: Member) -> None:
        """It takes no more calls."""
        self.members.discard(member)
        self.leaving.add(member)
        if member in self.idle:
            self.idle.remove(member)

    def woke(self, wake: WakeView) -> None:
        """A wake succeeded."""
        self.wakes.append(wake)
        self.failures = 0
        self.last_error = ""
        self.wake_not_before_s = 0.0

    def failed(self, error: LambentError, *, not_before_s: float) -> None:
        """A wake failed. The autoscaler tries no other before `not_before_s`; an invocation still may."""
        self.failures += 1
        self.last_error = error.message
        self.wake_not_before_s = not_before_s
