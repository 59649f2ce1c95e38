"""Calls that arrive just as what would have served them goes away: each is answered, and runs once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from lambent.client.client import Client
from lambent.core.errors import Conflict, PlatformFault
from lambent.core.invocation import Outcome, Status
from lambent.core.spec import Temperature
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.dispatcher import STARTS_MAX
from tests.support import races
from tests.support.node import Node, node
from tests.support.server import RunningServer
from tests.support.virtual_time import run

TICK_S = 0.25
STORIES, RACES_EACH = 50, 20  # a thousand
REAL_RACES, TRACKS = 60, 6


class Story:
    """A node, and what came of the calls to it."""

    def __init__(self, n: Node, dice: random.Random) -> None:
        self.node = n
        self.dice = dice
        self.outcomes: list[Outcome] = []

    def deploy(self, number: int) -> None:
        """One of a few revisions, which may have been there before."""
        self.node.deploy(revision=f"r{number}", keep_alive_s=1, template_keep_s=3, workers_max=2)

    async def call(self, after_ticks: int) -> None:
        await asyncio.sleep(after_ticks * TICK_S)
        self.outcomes.append(await self.node.dispatcher.invoke(self.node.invocation()))

    async def take(self, after_ticks: int) -> None:
        """Take something away: the worker, the template, the environment or the whole revision."""
        await asyncio.sleep(after_ticks * TICK_S)
        pool, route = self.node.pool, self.node.routes.invocable("default", "f")
        revision = route.plan.revision
        match self.dice.randrange(5):
            case 0:
                pass  # the last worker stops by itself
            case 1:
                self.deploy(self.dice.randrange(4))
            case 2:
                for member in tuple(crew.idle if (crew := pool.crew(revision)) else ()):
                    member.worker.kill()
            case 3:
                await pool.chill(revision, self.dice.choice((Temperature.WARM, Temperature.COLD)))
            case _:
                with contextlib.suppress(Conflict):
                    await pool.empty(revision)
                    await pool.chill(revision, Temperature.COLD)

    async def race(self) -> None:
        await self.call(0)
        at = self.dice.randrange(0, 16)  # around the end of the keep-alive of worker and template
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.take(at))
            for _ in range(self.dice.randrange(1, 4)):
                tasks.create_task(self.call(max(0, at + self.dice.randrange(-1, 3))))


@pytest.mark.parametrize("seed", range(STORIES))
def test_each_arrival_is_answered_once_whatever_is_taken_away_in_its_tick(seed: int) -> None:
    async def story() -> None:
        ran: Counter[str] = Counter()
        dice = random.Random(seed)

        async def counted(body: bytes, scene: Scene) -> bytes:
            ran[scene.call.invocation_id] += 1
            await asyncio.sleep(dice.randrange(0, 3) * TICK_S)
            return body

        async with node(lambda _: Program(run=counted)) as n:
            told = Story(n, dice)
            told.deploy(0)
            for _ in range(RACES_EACH):
                await told.race()
            assert {outcome.status for outcome in told.outcomes} == {Status.OK}
            assert set(ran.values()) == {1}
            assert len(ran) == len(told.outcomes) == len(n.usage)
            assert {record.invocation for record in n.usage} == set(ran)

    run(story(), tick_s=TICK_S)


def test_workers_that_always_end_before_they_take_a_call_are_given_up() -> None:
    async def story() -> None:
        async with node(lambda _: Program(calls_max=0)) as n:
            n.deploy()
            with pytest.raises(PlatformFault, match=f"{STARTS_MAX} workers of 'f' ended"):
                await n.dispatcher.invoke(n.invocation())
            assert n.dispatcher.queued("default", "f") == 0

    run(story())


def test_races_against_a_real_server_lose_nothing_and_run_nothing_twice(
    server: RunningServer, tmp_path: Path
) -> None:
    with Client(server.url, server.about["api_key"]) as client:
        tally = races.race(client, tmp_path, races=REAL_RACES, tracks=TRACKS, seed=1)
    assert (tally.races, tally.clean) == (REAL_RACES, True), tally
    assert tally.calls == REAL_RACES * (1 + races.ARRIVALS)
