"""What the fake engine offers beyond the contract: exact times, and programs that do as they are told."""

from __future__ import annotations

import asyncio

import pytest

from lambent.core.errors import LoadFailed
from lambent.engines.base import WorkerGone
from lambent.engines.memory import Latencies, MemoryEngine
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.wire.frames import Call, Progress, Stop
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import VirtualClock, run

PLAN = RevisionPlan(revision="r", deployment="d", project="p", number=1, runtime=Runtime.HANDLER)
LATENCIES = Latencies(exec_s=1, import_s=2, load_s=4, fork_s=8, restore_s=16, exit_s=32)


def ask(number: int = 1) -> Call:
    return Call(number, f"invocation-{number}", 1000.0)


def test_each_step_takes_the_time_that_it_was_given() -> None:
    async def story() -> None:
        clock = VirtualClock()
        engine = MemoryEngine(clock=clock, latencies=LATENCIES)
        worker = await engine.start(PLAN)
        assert clock.now_s() == 1 + 2 + 8 + 4 + 8 + 16
        assert worker.parts_ms == {"exec": 1e3, "import": 2e3, "load": 4e3, "fork": 16e3, "restore": 16e3}
        before_s = clock.now_s()
        await engine.start(PLAN)
        assert clock.now_s() - before_s == 8 + 16
        worker.tell(Stop())
        await worker.exited()
        assert clock.now_s() - before_s == 8 + 16 + 32

    run(story())


def test_a_call_takes_what_its_program_takes_and_says_so() -> None:
    async def story() -> None:
        async def think(body: bytes, scene: Scene) -> bytes:
            await asyncio.sleep(0.25)
            return body + scene.call.invocation_id.encode()

        engine = MemoryEngine(lambda _: Program(run=think), clock=VirtualClock())
        worker = await engine.start(PLAN)
        answer, body = await worker.call(ask(), b"of ")
        assert (answer.run_us, body) == (250_000, b"of invocation-1")

    run(story())


def test_calls_of_one_worker_run_one_after_another() -> None:
    async def story() -> None:
        async def think(body: bytes, _: Scene) -> bytes:
            await asyncio.sleep(1)
            return body

        clock = VirtualClock()
        engine = MemoryEngine(lambda _: Program(run=think), clock=clock)
        worker = await engine.start(PLAN)
        before_s = clock.now_s()
        answers = await asyncio.gather(*(worker.call(ask(number), b"%d" % number) for number in range(3)))
        assert [(answer.call_id, body) for answer, body in answers] == [(0, b"0"), (1, b"1"), (2, b"2")]
        assert clock.now_s() - before_s == pytest.approx(3)

    run(story())


def test_a_program_can_report_print_retire_and_die_with_a_code() -> None:
    async def story() -> None:
        def act(body: bytes, scene: Scene) -> bytes:
            if body == b"die":
                raise Dies(3)
            scene.say(Progress(scene.call.call_id), b"half way")
            scene.print(b"x" * 5000)
            return body

        news: list[bytes] = []
        engine = MemoryEngine(lambda _: Program(run=act, calls_max=2), clock=VirtualClock())
        worker = await engine.start(PLAN)
        first, _ = await worker.call(ask(1), b"", lambda _, said: news.append(said))
        assert not first.retiring
        assert (news, worker.printed()) == ([b"half way"], b"x" * 4096)
        assert (await worker.call(ask(2), b""))[0].retiring
        assert (await worker.exited()).code == 0
        dying = await engine.start(PLAN)
        with pytest.raises(WorkerGone) as gone:
            await dying.call(ask(), b"die")
        assert gone.value.exit.code == 3

    run(story())


def test_a_load_may_fail_once_and_succeed_later() -> None:
    async def story() -> None:
        attempts = 0

        def load() -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise OSError("the disk is away")

        engine = MemoryEngine(lambda _: Program(load=load), clock=VirtualClock())
        with pytest.raises(LoadFailed, match="the disk is away") as failure:
            await engine.start(PLAN)
        assert failure.value.kind == "OSError"
        await engine.start(PLAN)
        assert attempts == 2

    run(story())


def test_a_worker_that_is_killed_before_it_took_its_first_step_has_ended() -> None:
    async def story() -> None:
        engine = MemoryEngine(clock=VirtualClock())
        worker = await engine.start(PLAN)
        worker.kill()
        assert (await worker.exited()).code == -9
        await engine.close()

    run(story())
