"""Which faults come when: drawn from a seed, in whole ticks, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from tests.support.chaos.program import CHURN, NAMES

TICK_S: Final = 0.25
DEPLOY_EVERY_TICKS: Final = 4
FAULT_EVERY_TICKS: Final = 3
CALM_TICKS: Final = 8  # at the beginning: everything has been awake once
LAST_TICKS: Final = 4  # at the end, where nothing new begins
# After a kill, and after a full disk has room again, the server lives for so long at least. What was metered
# meanwhile is on the disk by then.
LIFE_TICKS_MIN: Final = 16


class Kind(StrEnum):
    """What is done."""

    KILL_WORKER = "kill a worker"
    KILL_PARKED = "kill a parked worker"
    KILL_TEMPLATE = "kill a revision template"
    KILL_ENVIRONMENT = "kill an environment template"
    KILL_SERVER = "kill the server"
    STOP_WORKER = "stop a worker for a while"
    STOP_FOR_GOOD = "stop a worker for good"
    STOP_TEMPLATE = "stop a template for a while"
    FILL_DISK = "fill the disk for a while"
    DEPLOY = "deploy"
    ROLL_BACK = "roll back"
    REPLACE = "remove and deploy"


WEIGHTS: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        Kind.KILL_WORKER: 8,
        Kind.KILL_PARKED: 2,
        Kind.KILL_TEMPLATE: 4,
        Kind.KILL_ENVIRONMENT: 2,
        Kind.KILL_SERVER: 4,
        Kind.STOP_WORKER: 4,
        Kind.STOP_FOR_GOOD: 1,
        Kind.STOP_TEMPLATE: 2,
        Kind.FILL_DISK: 2,
    }
)
LASTS: Final = (Kind.STOP_WORKER, Kind.STOP_TEMPLATE, Kind.FILL_DISK)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do at a tick. `pick`, from 0 to 1, chooses among what there is when it comes to it.

    `ticks` is how long it lasts, `deployment` which one it concerns, where it concerns one.
    """

    tick: int
    kind: Kind
    pick: float = 0.0
    ticks: int = 0
    deployment: str = ""

    def __str__(self) -> str:
        rest = (f"{self.ticks} ticks" if self.ticks else "", self.deployment)
        return " ".join((f"{self.tick:5d}", self.kind.value, *filter(None, rest)))


def draw(seed: int, seconds: float) -> Sequence[Fault]:
    """The faults of a run, in order. The same seed and length give the same ones."""
    dice = random.Random(seed)
    ticks = int(seconds / TICK_S)
    found = [*_deploys(dice, ticks), *_faults(dice, ticks)]
    return sorted(found, key=lambda fault: fault.tick)


def _deploys(dice: random.Random, ticks: int) -> Iterator[Fault]:
    for tick in range(CALM_TICKS, ticks - LAST_TICKS, DEPLOY_EVERY_TICKS):
        kind = dice.choices((Kind.DEPLOY, Kind.ROLL_BACK, Kind.REPLACE), (6, 2, 2))[0]
        name = CHURN if kind is Kind.REPLACE else dice.choice(NAMES)
        yield Fault(tick=tick, kind=kind, deployment=name)


def _faults(dice: random.Random, ticks: int) -> Iterator[Fault]:
    server_lives_until, full_until = CALM_TICKS + 4, 0
    for tick in range(CALM_TICKS, ticks - LAST_TICKS, FAULT_EVERY_TICKS):
        kind = dice.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        lasts = dice.randrange(4, 20) if kind in LASTS else 0
        pick = dice.random()
        if kind is Kind.KILL_SERVER:
            if tick < server_lives_until:
                continue
            server_lives_until = tick + LIFE_TICKS_MIN
        if kind is Kind.FILL_DISK:
            if tick < full_until:
                continue
            full_until = tick + lasts + LIFE_TICKS_MIN
        yield Fault(tick=tick, kind=kind, pick=pick, ticks=lasts)
