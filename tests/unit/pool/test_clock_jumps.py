"""The machine's clock is set while a node serves: nobody notices, and what is billed is what was run."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from lambent.core.invocation import Outcome, Status
from lambent.core.spec import MIB, Temperature
from lambent.engines.memory_worker import Program, Scene
from lambent.pool.notebook import Notebook
from tests.support.node import Node, node
from tests.support.virtual_time import UNIX_MS_AT_START, run

ENVIRONMENT, TEMPLATE, WORKER = 20 * MIB, 4 * MIB, 2 * MIB  # of the engine without processes
HOUR_S = 3600.0
Seen = tuple[list[tuple[Temperature, float, int]], list[int], list[int]]


def takes(seconds: float) -> Program:
    async def answer(body: bytes, _: Scene) -> bytes:
        await asyncio.sleep(seconds)
        return body

    return Program(run=answer)


def served(jumps_s: list[float], folder: Path) -> Seen:
    """Ten minutes of calls to more than fits, while the clock is set by each of `jumps_s` in turn."""
    dice = random.Random(7)

    async def watch(n: Node, workers: list[int]) -> None:
        while True:
            await asyncio.sleep(1.0)
            workers.append(sum(n.workers(f"{name}-1") for name in "abc"))

    async def jump(n: Node) -> None:
        for number, by_s in enumerate(jumps_s):
            await asyncio.sleep(60.0)
            n.clock.set_wall(by_s)
            Notebook(folder / f"{number}.jsonl", n.thermostat, n.clock).save()

    async def one(n: Node, at_s: float) -> Outcome:
        name = dice.choice("aaabbc")
        await asyncio.sleep(at_s)
        return await n.dispatcher.invoke(n.invocation(name))

    async def story() -> Seen:
        budget_bytes = ENVIRONMENT + 2 * TEMPLATE + 3 * WORKER
        async with node(lambda _: takes(0.5), budget_bytes=budget_bytes) as n:
            workers: list[int] = []
            for name in "abc":
                n.deploy(name, keep_alive_s=5, workers_max=2)
            others = [asyncio.create_task(watch(n, workers)), asyncio.create_task(jump(n))]
            calls = [asyncio.create_task(one(n, dice.uniform(0, 600))) for _ in range(150)]
            outcomes = await asyncio.gather(*calls)
            for other in others:
                other.cancel()
            assert {outcome.status for outcome in outcomes} == {Status.OK}
            told = [(one.temperature, one.timing.total_ms, one.billed_ms) for one in outcomes]
            return told, workers, [record.billed_ms for record in n.usage]

    return run(story())


@pytest.mark.parametrize(
    "jumps_s",
    [
        pytest.param([3 * HOUR_S], id="three hours forward"),
        pytest.param([-3 * HOUR_S], id="three hours back"),
        pytest.param([48 * HOUR_S, -96 * HOUR_S, 24 * HOUR_S], id="days, to and fro"),
        pytest.param([-UNIX_MS_AT_START / 1e3 - 100 * HOUR_S], id="before 1970"),
    ],
)
def test_a_clock_that_is_set_disturbs_no_temperature_no_worker_and_no_bill(
    jumps_s: list[float], tmp_path: Path
) -> None:
    calm = served([], tmp_path)
    assert served(jumps_s, tmp_path) == calm
    assert set(calm[2]) == {500}


def test_a_call_during_which_the_clock_is_set_is_billed_for_what_it_ran() -> None:
    async def story() -> None:
        async with node(lambda _: takes(10)) as n:
            n.deploy("f")
            call = asyncio.create_task(n.dispatcher.invoke(n.invocation("f")))
            await asyncio.sleep(5)
            n.clock.set_wall(-5 * HOUR_S)
            outcome = await call
            assert (outcome.billed_ms, round(outcome.timing.run_ms)) == (10_000, 10_000)
            assert [(one.billed_ms, one.run_us) for one in n.usage] == [(10_000, 10_000_000)]

    run(story())
