"""Forced races from zero workers to one: calls that arrive just as what would have served them goes away.

Each race lets a deployment come to rest with one idle worker or none, has something taken away from it, and
sends two calls at about that moment. The law: every call is answered, and user code ran once for each.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from lambent.client.client import Client
from lambent.client.errors import ApiError
from lambent.core.errors import LambentError
from lambent.core.spec import Temperature

KEEP_ALIVE_S: Final = 0.2
TICK_S: Final = 0.25  # the autoscaler's: a worker stops at the first one after its keep-alive
ARRIVALS: Final = 2
JITTER_S: Final = 0.03  # a wake from a template takes some milliseconds, a stop and a chill as much
CALL_S: Final = 120.0
CONFLICT: Final = "conflict"
REVISIONS: Final = 1_000_000  # so many programs differ by a number

# It writes down each invocation that it runs, whole or not at all.
PROGRAM: Final = """
import os
REVISION = {revision}
def handler(event, context):
    line = context.aws_request_id.encode() + b"\\n"
    out = os.open({ran!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(out, line)
    os.close(out)
    return context.aws_request_id
"""


class Race(StrEnum):
    """What is taken away."""

    STOPS = "the last worker stops"
    EVICTED = "the template is evicted"
    REPLACED = "a deploy replaces the revision"


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What came of races: the faults of calls, and how many of them ran twice or never."""

    races: int
    calls: int
    faults: tuple[str, ...]
    twice: int
    never: int

    @property
    def clean(self) -> bool:
        """Whether each call was answered and ran once."""
        return not (self.faults or self.twice or self.never)


class Track:
    """One deployment that is raced against, one race after another."""

    def __init__(self, client: Client, folder: Path, name: str, *, seed: int) -> None:
        self._client: Final = client
        self._name: Final = name
        self._dice: Final = random.Random(seed)
        self._ran: Final = folder / f"{name}.ran"
        self._code: Final = folder / f"{name}.py"
        self._answered: Final[list[str]] = []
        self._faults: Final[list[str]] = []
        self._races = 0
        self._take: Final[Mapping[Race, Callable[[], None]]] = {
            Race.STOPS: lambda: None,
            Race.EVICTED: self._evict,
            Race.REPLACED: self._deploy,
        }
        self._deploy()

    def run(self, races: Sequence[Race]) -> Tally:
        """These races, one after another."""
        for race in races:
            self._race(race)
        ran = Counter(self._ran.read_text().split())
        return Tally(
            races=self._races,
            calls=len(self._answered) + len(self._faults),
            faults=tuple(self._faults),
            twice=sum(times > 1 for times in ran.values()),
            never=sum(ran[one] == 0 for one in self._answered),
        )

    def _race(self, race: Race) -> None:
        self._races += 1
        self._call()  # there is a worker now
        # It stops by itself so long after that; what is taken by hand is taken at any time before.
        rest_s = KEEP_ALIVE_S + TICK_S if race is Race.STOPS else KEEP_ALIVE_S
        wait, at_s = threading.Event(), time.monotonic() + self._dice.random() * rest_s
        with ThreadPoolExecutor(ARRIVALS) as arriving:
            for _ in range(ARRIVALS):
                arriving.submit(self._call, at_s + (self._dice.random() - 0.5) * JITTER_S)
            wait.wait(max(0.0, at_s - time.monotonic()))
            self._take[race]()

    def _call(self, at_s: float = 0.0) -> None:
        threading.Event().wait(max(0.0, at_s - time.monotonic()))
        try:
            self._answered.append(self._client.invoke(self._name, {}, timeout_s=CALL_S))
        except LambentError as error:
            self._faults.append(f"{type(error).__name__}: {error.message}")

    def _evict(self) -> None:
        to = self._dice.choice((Temperature.WARM, Temperature.COLD))
        try:
            self._client.chill(self._name, to)
        except ApiError as error:  # a call came first, and it is in use
            if error.code != CONFLICT:
                self._faults.append(f"chill: {error.message}")

    def _deploy(self) -> None:
        revision = self._dice.randrange(REVISIONS)
        self._code.write_text(PROGRAM.format(revision=revision, ran=str(self._ran)))
        settings = {"keep_alive_s": KEEP_ALIVE_S}
        self._client.deploy(f"{self._code}:handler", name=self._name, settings=settings)


def race(client: Client, folder: Path, *, races: int, tracks: int, seed: int) -> Tally:
    """So many races of every kind, on so many deployments side by side."""
    kinds = list(Race)
    lots = [[kinds[number % len(kinds)] for number in range(at, races, tracks)] for at in range(tracks)]
    started = [Track(client, folder, f"race-{at}", seed=seed + at) for at in range(tracks)]
    with ThreadPoolExecutor(tracks) as running:
        tallies = list(running.map(lambda track, lot: track.run(lot), started, lots))
    return Tally(
        races=sum(tally.races for tally in tallies),
        calls=sum(tally.calls for tally in tallies),
        faults=tuple(fault for tally in tallies for fault in tally.faults),
        twice=sum(tally.twice for tally in tallies),
        never=sum(tally.never for tally in tallies),
    )
