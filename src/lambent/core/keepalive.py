"""Which revision is kept at which temperature: what a byte of memory saves decides.

Every step up, such as from warm to primed, has a worth: the expected milliseconds of waking that it saves in
a second, per byte that it holds. A plan takes the steps in the order of their worth until the budget is full,
and the worth of the best step left out is the price of memory at that moment. Per byte, the expected wait
saved over the expected idle time is the same figure, since both shrink alike with the look-ahead; with a
forecast that knew only how often and not when, the order is that of greedy-dual-size-frequency (FaasCache,
Fuerst and Sharma, ASPLOS'21).

Eviction is lazy: what is resident stays until something worth more needs its room. Only a step that is not
resident must have a reason to come: a call that is probable enough within the look-ahead.

Other policies run through the same plan: a `rank` stands in for the worth of a revision's steps, and with
`lazy` off what has none is let go though nobody needs its room (`core/policies/prospects.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from math import exp, inf
from typing import Final

import msgspec

from lambent.core.spec import Temperature

LOOK_AGAIN_S_MIN: Final = 0.25
LOOK_AGAIN_S_MAX: Final = 60.0
T = Temperature
ORDER: Final[Mapping[Temperature, int]] = {T.COLD: 0, T.WARM: 1, T.PRIMED: 2, T.HOT: 3}


class Reason(StrEnum):
    """Why a revision has its temperature."""

    PIN = "pin"  # its owner asked for it
    IN_USE = "in_use"  # something runs in it
    FREE = "free"  # it is there, and nobody needs the room
    WORTH = "worth"  # it saves more per byte than what was left out
    PREWAKE = "prewake"  # a call is near
    PRICE = "price"  # others save more with its bytes
    UNWANTED = "unwanted"  # it is not there, and no call is near
    WINDOW = "window"  # a policy of times keeps it now
    LAPSED = "lapsed"  # and now it does not
    UNCALLED = "uncalled"  # it went, and this policy brings nothing back before it is called
    CROWDED = "crowded"  # it would, but there is no room beside what was called later
    SETTLED = "settled"  # it cannot be forked: there is nothing between warm and hot


class KeepPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The node's rule. `look_ahead_s` beyond its own wake is how early a revision is woken.

    What is resident counts `stickiness` times its worth, so that two equals do not take turns. Without
    `lazy`, what is worth nothing goes at once.
    """

    budget_bytes: int
    lazy: bool = True
    prewake_probability: float = 0.05
    look_ahead_s: float = 60.0
    stickiness: float = 1.25


class Wakes(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds from each temperature to a worker that answers."""

    cold_ms: float
    warm_ms: float
    primed_ms: float


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A revision now. `rate` is arrivals per second, the highest until a wake begun now would be done.

    `primed_bytes` is what its template holds beyond its environment's, `hot_bytes` what a worker adds.
    `changes_s` is when the rate changes next, by the clock of `now_s`. `pin` is what its owner asked for and
    `in_use` what running work needs: neither is ever undercut. `primeable` is false where forking is unsafe.
    `rank` stands in for the worth of each of its steps, and for its part in its environment's.
    """

    revision: str
    environment: str
    temperature: Temperature
    rate: float
    wakes: Wakes
    primed_bytes: int
    hot_bytes: int
    changes_s: float = inf
    pin: Temperature = Temperature.COLD
    in_use: Temperature = Temperature.COLD
    primeable: bool = True
    rank: float | None = None


class Assignment(msgspec.Struct, frozen=True):
    """The temperature that a revision should have, why, and what its last step is worth (ms/s per GiB)."""

    temperature: Temperature
    reason: Reason
    worth: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Temperatures by revision. `price` is in milliseconds saved per second and GiB: 0 while memory is free.

    `over_bytes` is by how much pins and running work alone exceed the budget; then nothing else is kept.
    """

    assignments: Mapping[str, Assignment]
    environments: frozenset[str]
    price: float
    planned_bytes: int
    over_bytes: int
    look_again_s: float


GIB: Final = 2**30


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step up, of an environment (`revision` is then empty) or of a revision."""

    environment: str
    revision: str
    to: Temperature
    size_bytes: int
    worth: float
    resident: int  # 1 where it is already there


def plan(
    facts: Sequence[Facts], policy: KeepPolicy, environments: Mapping[str, int], *, now_s: float
) -> Plan:
    """The temperatures for this moment. `environments` has the bytes of each environment's template.

    Deterministic: equal worth goes by name. The result never exceeds the budget but by pins and running work.
    """
    draft = _Draft(facts, policy, environments)
    for step in sorted(_steps(facts, environments), key=draft.rank):
        draft.offer(step)
    changes_s = min((fact.changes_s for fact in facts), default=inf) - now_s
    return draft.finished(min(LOOK_AGAIN_S_MAX, max(LOOK_AGAIN_S_MIN, changes_s)))


def floor(fact: Facts) -> Temperature:
    """The temperature that a revision must have at least."""
    return max(fact.pin, fact.in_use, key=ORDER.__getitem__)


def _steps(facts: Sequence[Facts], environments: Mapping[str, int]) -> Iterable[_Step]:
    saved = dict.fromkeys(environments, 0.0)
    ranks = dict.fromkeys(environments, 0.0)
    resident = dict.fromkeys(environments, 0)
    for fact in facts:
        if fact.rank is None:
            saved[fact.environment] += fact.rate * (fact.wakes.cold_ms - fact.wakes.warm_ms)
        else:
            ranks[fact.environment] = max(ranks[fact.environment], fact.rank)
        resident[fact.environment] |= ORDER[fact.temperature] >= ORDER[T.WARM]
        yield from _own_steps(fact)
    for name, size_bytes in environments.items():
        yield _Step(
            environment=name,
            revision="",
            to=T.WARM,
            size_bytes=size_bytes,
            worth=max(ranks[name], saved[name] / max(1, size_bytes)),
            resident=resident[name],
        )


def _own_steps(fact: Facts) -> Iterable[_Step]:
    wakes, primed_bytes, hot_bytes = fact.wakes, max(1, fact.primed_bytes), max(1, fact.hot_bytes)
    if fact.rank is not None:
        if fact.primeable:
            yield _step(fact, T.PRIMED, primed_bytes, fact.rank)
        yield _step(fact, T.HOT, hot_bytes, fact.rank)
        return
    primed = fact.rate * (wakes.warm_ms - wakes.primed_ms) / primed_bytes
    hot = fact.rate * wakes.primed_ms / hot_bytes
    if not fact.primeable:
        yield _step(fact, T.HOT, hot_bytes, fact.rate * wakes.warm_ms / hot_bytes)
        return
    # A worker stands on its template: it cannot be worth more than the two of them together.
    both = fact.rate * wakes.warm_ms / (primed_bytes + hot_bytes)
    yield _step(fact, T.PRIMED, primed_bytes, max(primed, both))
    yield _step(fact, T.HOT, hot_bytes, min(hot, both))


def _step(fact: Facts, to: Temperature, size_bytes: int, worth: float) -> _Step:
    return _Step(
        environment=fact.environment,
        revision=fact.revision,
        to=to,
        size_bytes=size_bytes,
        worth=worth,
        resident=int(ORDER[fact.temperature] >= ORDER[to]),
    )


class _Draft:
    """A plan in the making."""

    def __init__(self, facts: Sequence[Facts], policy: KeepPolicy, environments: Mapping[str, int]) -> None:
        self._policy, self._environments = policy, environments
        self._facts = {fact.revision: fact for fact in facts}
        self._warm: set[str] = set()
        self._reached: dict[str, Assignment] = {}
        self._refused: dict[str, float] = {}
        self._used_bytes = 0
        self._price = 0.0
        for fact in facts:
            self._hold(fact)
        self._over_bytes = max(0, self._used_bytes - policy.budget_bytes)

    def rank(self, step: _Step) -> tuple[float, int, str]:
        """The order in which steps are offered: dearest first, an environment before its revisions."""
        sticky = self._policy.stickiness if step.resident else 1.0
        return -step.worth * sticky, ORDER[step.to], step.revision or step.environment

    def offer(self, step: _Step) -> None:
        """Take the step if it is wanted and there is room for it and for what it stands on."""
        if not self._wanted(step):
            return
        needed_bytes = step.size_bytes if step.revision else 0
        if step.environment not in self._warm:
            needed_bytes += self._environments[step.environment]
        if self._used_bytes + needed_bytes > self._policy.budget_bytes:
            self._price = max(self._price, step.worth)
            if step.revision:
                self._refused.setdefault(step.revision, step.worth)
            return
        self._used_bytes += needed_bytes
        self._warm.add(step.environment)
        if step.revision:
            self._reached[step.revision] = Assignment(step.to, self._reason(step), step.worth * GIB)

    def finished(self, look_again_s: float) -> Plan:
        """What was taken; whatever was not offered a step rests on its environment."""
        return Plan(
            assignments={name: self._final(fact) for name, fact in self._facts.items()},
            environments=frozenset(self._warm),
            price=self._price * GIB,
            planned_bytes=self._used_bytes,
            over_bytes=self._over_bytes,
            look_again_s=look_again_s,
        )

    def _hold(self, fact: Facts) -> None:
        """What pins and running work need is there, whatever it costs."""
        least = floor(fact)
        if ORDER[least] == 0:
            return
        if fact.environment not in self._warm:
            self._warm.add(fact.environment)
            self._used_bytes += self._environments[fact.environment]
        if not fact.primeable and least is T.PRIMED:
            least = T.WARM
        if fact.primeable and ORDER[least] >= ORDER[T.PRIMED]:
            self._used_bytes += max(1, fact.primed_bytes)
        if least is T.HOT:
            self._used_bytes += max(1, fact.hot_bytes)
        reason = Reason.IN_USE if ORDER[fact.in_use] >= ORDER[fact.pin] else Reason.PIN
        self._reached[fact.revision] = Assignment(least, reason, 0.0)

    def _wanted(self, step: _Step) -> bool:
        if not step.revision:
            return step.environment not in self._warm and (step.worth > 0 or self._stays(step))
        fact = self._facts[step.revision]
        reached = self._reached.get(step.revision)
        height = ORDER[reached.temperature] if reached else 0
        stands_on = ORDER[T.PRIMED] if step.to is T.HOT and fact.primeable else 0
        if not stands_on <= height < ORDER[step.to]:
            return False
        return self._stays(step) or self._probability(fact) >= self._policy.prewake_probability

    def _stays(self, step: _Step) -> bool:
        return bool(step.resident) and (self._policy.lazy or step.worth > 0)

    def _probability(self, fact: Facts) -> float:
        return 1.0 - exp(-fact.rate * self._policy.look_ahead_s)

    def _reason(self, step: _Step) -> Reason:
        if not step.resident:
            return Reason.PREWAKE
        if not self._policy.lazy:
            return Reason.WINDOW
        return Reason.WORTH if self._price > 0 else Reason.FREE

    def _final(self, fact: Facts) -> Assignment:
        reached = self._reached.get(fact.revision)
        refused = self._refused.get(fact.revision, 0.0) * GIB
        if reached is not None:
            # A reason given while memory seemed free is corrected once it turned out that it is not.
            if reached.reason is Reason.FREE and self._price > 0:
                return Assignment(reached.temperature, Reason.WORTH, reached.worth)
            return reached
        rest = T.WARM if fact.environment in self._warm else T.COLD
        if refused or fact.revision in self._refused:
            return Assignment(rest, Reason.PRICE if self._policy.lazy else Reason.CROWDED, refused)
        if not (self._policy.lazy or fact.rank):
            return Assignment(rest, Reason.LAPSED, 0.0)
        if self._policy.prewake_probability > 1.0:
            return Assignment(rest, Reason.UNCALLED, 0.0)
        return Assignment(rest, Reason.UNWANTED if fact.primeable else Reason.SETTLED, 0.0)
