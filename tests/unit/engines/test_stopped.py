"""Processes that are stopped or killed by others before they have answered: who waits is served."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lambent.core.errors import LoadFailed
from lambent.core.invocation import Status
from lambent.engines.base import Worker
from lambent.engines.owed import StaysStopped, owed
from lambent.engines.proc import is_stopped
from lambent.engines.processes import Process
from tests.support.engine_stages import LocalStage, Play, Scenery, ask, eventually
from tests.support.patience import PATIENT_S

# It stops itself again each time it is told to go on, as a process does that a debugger holds.
STUBBORN = """
import os, signal
signal.signal(signal.SIGCONT, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
print("ready", flush=True)
while True:
    os.kill(os.getpid(), signal.SIGSTOP)
"""
# Its template must not be forked, so each worker loads; the first one is killed meanwhile, then `times` more.
KILLED = """
import os, signal, threading, time
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
loads = os.environ["MISBEHAVE"]
with open(loads, "a") as file:
    file.write("x")
if 1 < os.path.getsize(loads) <= 1 + {times}:
    os.kill(os.getpid(), signal.SIGKILL)
def handler(event, context):
    return event
"""


def pid_of(scenery: Scenery, role: str) -> int:
    (pid,) = (facts.pid for facts in scenery.engine.census() if facts.role == role)
    return pid


def stop(pid: int) -> None:
    """Stop it, and give the engine no turn before it has: it might tell it to go on too soon to be seen."""
    os.kill(pid, signal.SIGSTOP)
    while not is_stopped(pid):
        os.sched_yield()


def stubborn() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)


async def serves(worker: Worker) -> bool:
    answer, _ = await worker.call(ask(), b"{}")
    return answer.status is Status.OK


@pytest.mark.parametrize("role", ["template", "environment"])
def test_a_template_that_is_stopped_is_told_to_go_on_and_its_workers_live(
    real: LocalStage, role: str
) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        first = await scenery.engine.start(plan)
        stopped = pid_of(scenery, role)
        stop(stopped)
        # What is not loaded yet is forked from the environment.
        asked = scenery.plan("echo" if role == "template" else "slow")
        assert await serves(await scenery.engine.start(asked))
        assert stopped in {facts.pid for facts in scenery.engine.census()}
        assert await serves(first)

    real.play(story, load_timeout_s=PATIENT_S)


def test_a_parked_worker_that_is_stopped_is_told_to_go_on(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        await scenery.engine.prime(plan)
        await eventually(lambda: scenery.count("parked") == 1)
        stop(pid_of(scenery, "parked"))
        assert await serves(await scenery.engine.start(plan))

    real.play(story, load_timeout_s=PATIENT_S)


def test_what_stays_stopped_is_given_up(play: Play) -> None:
    async def story() -> None:
        popen = stubborn()
        assert popen.stdout is not None
        process = Process(popen.pid, watched=set())
        try:
            assert await asyncio.to_thread(popen.stdout.readline) == b"ready\n"
            with pytest.raises(StaysStopped):
                async with asyncio.timeout(PATIENT_S):
                    await owed(process, asyncio.get_running_loop().create_future())
        finally:
            process.kill()
            popen.returncode = (await process.ended()).code
            popen.stdout.close()

    play(story)


def test_a_worker_that_is_killed_while_it_starts_is_started_once_more(
    real: LocalStage, tmp_path: Path
) -> None:
    real.write("killed_once", KILLED.format(times=1))
    real.write("killed_always", KILLED.format(times=1000))

    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("killed_once", misbehave=str(tmp_path / "once"))
        assert await serves(await scenery.engine.start(plan))
        again = scenery.plan("killed_always", misbehave=str(tmp_path / "always"))
        with pytest.raises(LoadFailed, match="SIGKILL"):
            await scenery.engine.start(again)
        assert len((tmp_path / "always").read_text()) == 3  # one for the template, two for workers

    real.play(story, load_timeout_s=PATIENT_S)
