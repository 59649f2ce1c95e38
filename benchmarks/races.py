"""Forced races from zero to one: each call must be answered, well, with what it asked, and run once.

Three kinds: a call arrives while the last worker stops, while its template is evicted, while a deploy puts
another revision in its place. The function writes down each call that it runs: what ran twice is seen.
"""

from __future__ import annotations

import http
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import progress
from benchmarks.figures import Aim, Line, Measured, Sample, Sense, Unit
from benchmarks.http1 import ask
from benchmarks.server import Lambent, lambent

SEED: Final = 1
STOPS, EVICTIONS, DEPLOYS = 400, 300, 60
CALLS_A_DEPLOY: Final = 5
SIDES: Final = 4  # races of one kind that run side by side, each on a deployment of its own
KEEP_ALIVE_S: Final = 0.05
# From an answer until its worker has stopped: the keep-alive, a tick of the autoscaler, the worker's end.
STOPS_WITHIN_S: Final = 0.4
EVICTED_WITHIN_S: Final = 0.02
DEPLOYED_WITHIN_S: Final = 0.6
CODE: Final = """
NUMBER = {number}

def handler(event, context):
    with open(event["seen"], "a") as seen:
        seen.write(event["token"] + "\\n")
    return event["token"]
"""


class Asked(msgspec.Struct, frozen=True):
    """A call that was raced, and what is wrong with its answer; nothing, if that is empty."""

    token: str
    wrong: str
    temperature: str


class Arena:
    """A server and a folder in which its functions write down what they run."""

    def __init__(self, server: Lambent, folder: Path) -> None:
        self._server: Final = server
        self._folder: Final = folder
        self._seen: Final = folder / "seen"
        self._seen.touch()

    def deploy(self, name: str, number: int) -> None:
        """A new revision of one function."""
        code = self._folder / f"{name}-{number}.py"
        code.write_text(CODE.format(number=number))
        settings = {"keep_alive_s": KEEP_ALIVE_S, "workers_max": 1}
        with self._server.client() as client:
            client.deploy(f"{code}:handler", name=name, settings=settings)

    def chill(self, name: str) -> None:
        """Let it cool down; that a call is on its way is no fault."""
        ask(self._server.target(f"/api/v1/deployments/{name}/chill", b'{"to": "warm"}'))

    def rest(self, name: str) -> None:
        """Wait until it has no worker."""
        while self._server.view(name)["workers"]:
            time.sleep(STOPS_WITHIN_S / 10)

    def call(self, name: str, token: str) -> Asked:
        """One call on a new connection."""
        body = json.dumps({"token": token, "seen": str(self._seen)}).encode()
        try:
            reply = ask(self._server.target(f"/invoke/{name}", body))
        except OSError as error:
            return Asked(token, str(error), "")
        temperature = reply.headers.get("lambent-temperature", "")
        if reply.status != http.HTTPStatus.OK or json.loads(reply.body) != token:
            return Asked(token, f"{reply.status}: {reply.body[:200]!r}", temperature)
        return Asked(token, "", temperature)

    def runs(self) -> Counter[str]:
        """How often each call was run."""
        return Counter(self._seen.read_text().split())


def lines(topic: str, folder: Path) -> Iterator[Measured]:
    """A row for each kind."""
    with lambent(folder / "state") as server:
        for what, race, count in (
            ("the last worker stops", _stops, STOPS),
            ("the template is evicted", _evictions, EVICTIONS),
            ("a deploy replaces the revision", _deploys, DEPLOYS * CALLS_A_DEPLOY),
        ):
            progress.say(f"{topic}: {count} arrivals while {what}")
            inside = folder / race.__name__
            inside.mkdir()
            yield row(topic, what, _sides(Arena(server, inside), race), Arena(server, inside).runs())


def _sides(arena: Arena, race: Callable[[Arena, str, random.Random], Sequence[Asked]]) -> Sequence[Asked]:
    names = [f"{race.__name__.strip('_')}-{side}" for side in range(SIDES)]
    with ThreadPoolExecutor(SIDES) as sides:
        running = [sides.submit(race, arena, name, random.Random(f"{SEED} {name}")) for name in names]
        return [one for side in running for one in side.result()]


def _stops(arena: Arena, name: str, dice: random.Random) -> Sequence[Asked]:
    """Each call comes at a chance moment between an answer and the end of the worker that gave it."""
    arena.deploy(name, 1)
    asked = []
    for number in range(STOPS // SIDES):
        asked.append(arena.call(name, f"{name}-{number}"))
        time.sleep(dice.uniform(0, STOPS_WITHIN_S))
    return asked


def _evictions(arena: Arena, name: str, dice: random.Random) -> Sequence[Asked]:
    """Each call comes at a chance moment after its template was told to go."""
    arena.deploy(name, 1)
    asked = []
    for number in range(EVICTIONS // SIDES):
        evicts = threading.Thread(target=arena.chill, args=(name,))
        evicts.start()
        time.sleep(dice.uniform(0, EVICTED_WITHIN_S))
        asked.append(arena.call(name, f"{name}-{number}"))
        evicts.join()
    return asked


def _deploys(arena: Arena, name: str, dice: random.Random) -> Sequence[Asked]:
    """Calls come, at chance moments of a deploy, to a deployment without workers."""
    arena.deploy(name, 0)
    asked: list[Asked] = []
    for number in range(1, DEPLOYS // SIDES + 1):
        arena.rest(name)
        deploys = threading.Thread(target=arena.deploy, args=(name, number))
        deploys.start()
        waits_s = sorted(dice.uniform(0, DEPLOYED_WITHIN_S) for _ in range(CALLS_A_DEPLOY))
        began_s = time.monotonic()
        for index, wait_s in enumerate(waits_s):
            time.sleep(max(0.0, began_s + wait_s - time.monotonic()))
            asked.append(arena.call(name, f"{name}-{number}-{index}"))
        deploys.join()
    return asked


def row(topic: str, what: str, asked: Sequence[Asked], runs: Counter[str]) -> Line:
    """How many of the calls went wrong: not answered, with something else, or run other than once."""
    wrong = [one.wrong for one in asked if one.wrong]
    wrong += [f"{one.token} ran {runs[one.token]} times" for one in asked if runs[one.token] != 1]
    found = Counter(one.temperature for one in asked if not one.wrong)
    note = "; ".join(wrong[:3]) or "found " + ", ".join(f"{name} {count}" for name, count in found.items())
    return Line(
        topic=topic,
        what=f"{len(asked)} arrivals while {what}, errors",
        measured=Sample((float(len(wrong)),), Unit.COUNT),
        aim=Aim(Sense.AT_MOST, 0),
        note=note,
    )
