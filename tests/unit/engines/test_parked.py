"""A worker that is forked ahead of its need: used once, its own, and gone with its template."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

import msgspec

from lambent.core.invocation import Status
from lambent.core.spec import Temperature
from lambent.engines.base import Worker
from lambent.engines.parked import PARK_AFTER_S, PARK_AGAIN_S
from lambent.wire.frames import Stop
from tests.support.engine_stages import LocalStage, Scenery, ask, eventually
from tests.support.patience import PATIENT_S

LOTTERY = """
import random, uuid
calls = 0
def handler(event, context):
    global calls
    calls += 1
    return [calls, random.random(), str(uuid.uuid4())]
"""


def pids(scenery: Scenery, role: str) -> list[int]:
    """The processes of a role."""
    return [facts.pid for facts in scenery.engine.census() if facts.role == role]


async def prime(scenery: Scenery, program: str) -> int:
    """Prime a program; the pid of the worker that is parked for it then."""
    await scenery.engine.prime(scenery.plan(program))
    await eventually(lambda: len(pids(scenery, "parked")) == 1)
    (pid,) = pids(scenery, "parked")
    return pid


async def answered(worker: Worker) -> Any:
    """What the worker says to an empty event."""
    answer, body = await worker.call(ask(), b"{}")
    assert answer.status is Status.OK
    return msgspec.json.decode(body)


async def slept(scenery: Scenery, worker: Worker) -> None:
    """Stop a worker and wait for its end."""
    worker.tell(Stop())
    await worker.exited()


def test_a_wake_takes_the_worker_that_is_parked_and_another_is_parked_when_it_has_left(
    real: LocalStage,
) -> None:
    async def story(scenery: Scenery) -> None:
        pid = await prime(scenery, "echo")
        worker = await scenery.engine.start(scenery.plan("echo"))
        assert (pids(scenery, "worker"), [*worker.parts_ms]) == ([pid], ["restore"])
        assert await answered(worker) == {}
        await slept(scenery, worker)
        await eventually(lambda: len(pids(scenery, "parked")) == 1)
        assert pids(scenery, "parked") != [pid]

    real.play(story, load_timeout_s=PATIENT_S)


def test_beside_a_worker_that_lives_none_is_parked(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        workers = [await scenery.engine.start(scenery.plan("echo")) for _ in range(2)]
        await asyncio.sleep(2 * PARK_AFTER_S)
        assert pids(scenery, "parked") == []
        await slept(scenery, workers[0])
        await asyncio.sleep(4 * PARK_AGAIN_S)
        assert pids(scenery, "parked") == []
        await slept(scenery, workers[1])
        await eventually(lambda: len(pids(scenery, "parked")) == 1)

    real.play(story, load_timeout_s=PATIENT_S)


def test_no_two_wakes_get_the_same_worker(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        await prime(scenery, "echo")
        workers = await asyncio.gather(*(scenery.engine.start(scenery.plan("echo")) for _ in range(4)))
        assert len(pids(scenery, "worker")) == len(workers)
        assert [await answered(worker) for worker in workers] == [{}] * len(workers)

    real.play(story, load_timeout_s=PATIENT_S)


def test_a_worker_that_was_parked_has_random_numbers_of_its_own_and_has_run_no_call(real: LocalStage) -> None:
    real.write("lottery", LOTTERY)

    async def story(scenery: Scenery) -> None:
        drawn = []
        for _ in range(3):
            await prime(scenery, "lottery")
            worker = await scenery.engine.start(scenery.plan("lottery"))
            drawn.append(await answered(worker))
            await slept(scenery, worker)
        assert [calls for calls, _, _ in drawn] == [1, 1, 1]
        assert len({number for _, number, _ in drawn}) == len({name for _, _, name in drawn}) == 3

    real.play(story, load_timeout_s=PATIENT_S)


def test_chilling_a_revision_ends_the_worker_that_is_parked(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        await prime(scenery, "echo")
        await scenery.engine.chill("echo", Temperature.WARM)
        assert scenery.engine.temperature("echo") is Temperature.WARM
        await eventually(lambda: pids(scenery, "parked") == [])
        await scenery.engine.prime(scenery.plan("echo"))
        await scenery.engine.chill("echo", Temperature.WARM)  # before any is parked
        await asyncio.sleep(2 * PARK_AFTER_S)
        assert (scenery.count("template"), pids(scenery, "parked")) == (0, [])

    real.play(story, load_timeout_s=PATIENT_S)


def test_a_revision_that_must_not_be_forked_has_no_worker_parked(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        await scenery.engine.prime(scenery.plan("unsafe"))
        await asyncio.sleep(2 * PARK_AFTER_S)
        assert pids(scenery, "parked") == []

    real.play(story, load_timeout_s=PATIENT_S)


def test_a_wake_survives_that_the_parked_worker_is_killed_or_has_died_with_its_template(
    real: LocalStage,
) -> None:
    async def story(scenery: Scenery) -> None:
        pid = await prime(scenery, "echo")
        os.kill(pid, signal.SIGKILL)
        worker = await scenery.engine.start(scenery.plan("echo"))
        assert await answered(worker) == {}
        await slept(scenery, worker)
        await eventually(lambda: len(pids(scenery, "parked")) == 1)
        scenery.lose_template("echo")
        await eventually(lambda: pids(scenery, "parked") == [])
        assert await answered(await scenery.engine.start(scenery.plan("echo"))) == {}

    real.play(story, load_timeout_s=PATIENT_S)


def test_a_worker_that_is_parked_leaves_when_it_is_told_to(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        def left() -> bool:
            for pid in pids(scenery, "parked"):
                with contextlib.suppress(ProcessLookupError):  # its end may be under way to the engine
                    os.kill(pid, signal.SIGTERM)  # again, as long as it is too young to listen
            return pids(scenery, "parked") == []

        await prime(scenery, "echo")
        await eventually(left)
        assert scenery.count("template") == 1

    real.play(story, load_timeout_s=PATIENT_S)
