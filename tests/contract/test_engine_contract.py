"""The contract of an engine, which the fake on virtual time keeps as the real processes do."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from lambent.core.errors import Draining, LoadFailed
from lambent.core.invocation import Status
from lambent.core.spec import Temperature
from lambent.engines.base import WorkerGone
from lambent.wire.frames import Stop, read_error
from lambent.wire.process import Runtime
from tests.support.engine_stages import (
    Scenery,
    Stage,
    ask,
    eventually,
)
from tests.support.patience import PATIENT_S

LOADING = {"load", "init"}  # a model is loaded, a handler's module is initialised


def test_a_worker_answers_and_says_what_its_wake_was_made_of(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        first = await scenery.engine.start(scenery.plan("echo"))
        second = await scenery.engine.start(scenery.plan("echo"))
        answer, body = await first.call(ask(7), b'{"x":1}')
        assert (answer.call_id, answer.status, msgspec.json.decode(body)) == (7, Status.OK, {"x": 1})
        assert first.parts_ms.keys() >= {"exec", "import", "fork"}
        assert first.parts_ms.keys() & LOADING
        assert second.parts_ms.keys() <= {"fork", "restore"}  # no fork where one was made ahead
        assert sum(second.parts_ms.values()) > 0
        assert first.worker_id != second.worker_id

    stage.play(story, load_timeout_s=PATIENT_S)


def test_workers_that_start_together_share_one_wake(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        workers = await asyncio.gather(*(scenery.engine.start(scenery.plan("echo")) for _ in range(5)))
        assert len({worker.worker_id for worker in workers}) == 5
        assert [scenery.count(role) for role in ("environment", "template", "worker")] == [1, 1, 5]

    stage.play(story, load_timeout_s=PATIENT_S)


def test_priming_again_costs_nothing(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        first, _, _ = await asyncio.gather(*(scenery.engine.prime(plan) for _ in range(3)))
        again = await scenery.engine.prime(plan)
        assert first.temperature is again.temperature is Temperature.PRIMED
        assert sum(first.parts_ms.values()) > 0
        assert again.parts_ms == {}
        assert scenery.count("template") == 1

    stage.play(story, load_timeout_s=PATIENT_S)


def test_revisions_with_the_same_imports_share_an_environment(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        await asyncio.gather(*(scenery.engine.prime(scenery.plan(name)) for name in ("echo", "fail", "slow")))
        assert (scenery.count("environment"), scenery.count("template")) == (1, 3)

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_census_says_whose_packages_an_environment_has(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = msgspec.structs.replace(scenery.plan("echo"), imports=("textwrap", "json", "json"))
        await scenery.engine.prime(plan)
        told = {facts.role: facts.imports for facts in scenery.engine.census()}
        assert told["environment"] == ("json", "textwrap")
        assert told["template"] == ()

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_census_of_some_revisions_looks_at_their_processes_alone(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("echo"))
        await scenery.engine.prime(scenery.plan("slow"))
        own = scenery.engine.census({"echo", "nothing"})
        assert {facts.revision for facts in own} == {"echo"}
        assert {"template", "worker"} <= {facts.role for facts in own}
        assert scenery.engine.census(()) == []
        worker.kill()

    stage.play(story, load_timeout_s=PATIENT_S)


@pytest.mark.parametrize(
    ("program", "kind", "message"),
    [
        ("load_fails", "ValueError", "no weights"),
        ("load_dies", "Runtime.ExitError", "SIGKILL"),
    ],
)
def test_code_that_cannot_be_loaded_is_the_users_error(
    stage: Stage, program: str, kind: str, message: str
) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan(program)
        for attempt in (scenery.engine.prime, scenery.engine.start):
            with pytest.raises(LoadFailed, match=message) as failure:
                await attempt(plan)
            assert failure.value.kind == kind
        assert scenery.engine.temperature(plan.revision) is Temperature.COLD
        await eventually(lambda: scenery.count("template") + scenery.count("worker") == 0)

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_load_that_hangs_is_ended_at_its_limit(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        with pytest.raises(LoadFailed, match=r"2 s") as failure:
            await scenery.engine.start(scenery.plan("load_hangs"))
        assert failure.value.kind == "Sandbox.Timedout"
        await eventually(lambda: scenery.count("template") + scenery.count("worker") == 0)

    stage.play(story, load_timeout_s=2.0)


def test_a_revision_that_must_not_be_forked_stays_warm_and_its_workers_load_by_themselves(
    stage: Stage,
) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("unsafe")
        primed = await scenery.engine.prime(plan)
        assert primed.temperature is Temperature.WARM
        assert "thread" in primed.unsafe[0]
        worker = await scenery.engine.start(plan)
        answer, _ = await worker.call(ask(), b"{}")
        assert answer.status is Status.OK
        assert (await scenery.engine.prime(plan)).unsafe == primed.unsafe
        assert scenery.engine.temperature(plan.revision) is Temperature.WARM
        await eventually(lambda: scenery.count("template") == 0)

    stage.play(story, load_timeout_s=PATIENT_S)


def test_what_the_users_code_raises_is_an_answer(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("fail"))
        for number in (1, 2):
            answer, body = await worker.call(ask(number), b"{}")
            error = read_error(body)
            assert (answer.status, error.error_type, error.error_message) == (
                Status.FAILED,
                "ValueError",
                "no such digit",
            )

    stage.play(story, load_timeout_s=PATIENT_S)


def test_killing_a_worker_in_the_middle_of_a_call_ends_the_call(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("hang"))
        calling = asyncio.ensure_future(worker.call(ask(), b"{}"))
        await scenery.heard.until("begun")
        worker.kill()
        with pytest.raises(WorkerGone) as gone:
            await calling
        assert gone.value.exit.code == -9
        assert [how.code for how in await asyncio.gather(worker.exited(), worker.exited())] == [-9, -9]
        assert b"begun" in worker.printed()
        worker.kill()
        assert scenery.count("worker") == 0

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_worker_that_dies_takes_its_call_and_nothing_else(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("die")
        worker, other = await asyncio.gather(scenery.engine.start(plan), scenery.engine.start(plan))
        with pytest.raises(WorkerGone) as gone:
            await worker.call(ask(), b"{}")
        assert gone.value.exit.code == -9
        with pytest.raises(WorkerGone):
            await worker.call(ask(2), b"{}")
        assert scenery.count("worker") == 1
        other.tell(Stop())
        assert (await other.exited()).code == 0

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_worker_that_is_told_to_stop_finishes_its_call_first(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("slow"))
        calling = asyncio.ensure_future(worker.call(ask(), b'{"x":3}'))
        await scenery.heard.until("begun")
        worker.tell(Stop())
        answer, body = await calling
        assert (answer.status, msgspec.json.decode(body)) == (Status.OK, {"x": 3})
        assert (await worker.exited()).code == 0
        with pytest.raises(WorkerGone):
            await worker.call(ask(2), b"{}")

    stage.play(story, load_timeout_s=PATIENT_S)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
def test_a_start_that_is_cancelled_leaves_no_worker(stage: Stage, turns: int) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        await scenery.engine.prime(plan)
        starting = asyncio.create_task(scenery.engine.start(plan))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        if not starting.cancelled():  # it was quicker
            starting.result().kill()
        await eventually(lambda: scenery.count("worker") == 0)
        worker = await scenery.engine.start(plan)
        assert (await worker.call(ask(), b"{}"))[0].status is Status.OK

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_prime_goes_on_when_one_of_those_who_wait_for_it_leaves(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        leaver = asyncio.create_task(scenery.engine.prime(plan))
        stayer = asyncio.create_task(scenery.engine.start(plan))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.wait([leaver])
        assert leaver.cancelled()
        worker = await stayer
        assert (await worker.call(ask(), b"{}"))[0].status is Status.OK

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_call_that_is_cancelled_leaves_the_worker_to_the_next_one(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("slow"))
        leaver = asyncio.ensure_future(worker.call(ask(1), b'{"x":1}'))
        await scenery.heard.until("begun")
        leaver.cancel()
        answer, body = await worker.call(ask(2), b'{"x":2}')
        assert leaver.cancelled()
        assert (answer.call_id, msgspec.json.decode(body)) == (2, {"x": 2})

    stage.play(story, load_timeout_s=PATIENT_S)


def test_temperatures_rise_and_fall_as_they_are_told(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan, other = scenery.plan("echo"), scenery.plan("slow")
        seen = [scenery.engine.temperature("echo")]
        await asyncio.gather(scenery.engine.prime(plan), scenery.engine.prime(other))
        seen.append(scenery.engine.temperature("echo"))
        await scenery.engine.chill("echo", Temperature.WARM)
        seen.append(scenery.engine.temperature("echo"))
        assert (scenery.count("environment"), scenery.count("template")) == (1, 1)
        primed = await scenery.engine.prime(plan)
        assert primed.parts_ms.keys() & LOADING
        assert "import" not in primed.parts_ms
        await scenery.engine.chill("echo", Temperature.COLD)
        seen.append(scenery.engine.temperature("echo"))
        assert (scenery.count("environment"), scenery.count("template")) == (1, 1)
        await scenery.engine.chill("slow", Temperature.COLD)
        assert scenery.engine.census() == []
        assert seen == [Temperature.COLD, Temperature.PRIMED, Temperature.WARM, Temperature.COLD]

    stage.play(story, load_timeout_s=PATIENT_S)


@pytest.mark.parametrize("program", ["echo", "unsafe"])
def test_nothing_is_chilled_under_a_living_worker(stage: Stage, program: str) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan(program))
        before = scenery.engine.temperature(program)
        await scenery.engine.chill(program, Temperature.COLD)
        assert scenery.engine.temperature(program) is before
        assert (await worker.call(ask(), b"{}"))[0].status is Status.OK
        worker.tell(Stop())
        await worker.exited()
        await scenery.engine.chill(program, Temperature.COLD)
        assert scenery.engine.temperature(program) is Temperature.COLD

    stage.play(story, load_timeout_s=PATIENT_S)


def test_nothing_is_chilled_under_a_start(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        await scenery.engine.prime(plan)
        starting = asyncio.create_task(scenery.engine.start(plan))
        await asyncio.sleep(0)
        await scenery.engine.chill("echo", Temperature.COLD)
        assert scenery.engine.temperature("echo") is Temperature.PRIMED
        await starting

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_template_that_dies_takes_its_workers_and_is_made_anew(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("hang")
        worker = await scenery.engine.start(plan)
        calling = asyncio.ensure_future(worker.call(ask(), b"{}"))
        await scenery.heard.until("begun")
        scenery.lose_template("hang")
        with pytest.raises(WorkerGone) as gone:
            await calling
        assert gone.value.exit.code == -9
        await eventually(lambda: scenery.engine.temperature("hang") is Temperature.WARM)
        again = await scenery.engine.start(plan)
        assert again.worker_id != worker.worker_id

    stage.play(story, load_timeout_s=PATIENT_S)


def test_one_shot_work_needs_no_template_and_ends_with_its_answer(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo", runtime=Runtime.DESCRIBE)
        worker = await scenery.engine.start(plan)
        answer, _ = await worker.call(ask(), b'{"target":"echo.py:handler"}')
        assert (answer.status, answer.retiring) == (Status.OK, True)
        assert (await worker.exited()).code == 0
        assert (scenery.count("template"), scenery.engine.temperature("echo")) == (0, Temperature.COLD)

    stage.play(story, load_timeout_s=PATIENT_S)


def test_what_a_call_prints_goes_to_the_log_and_can_be_asked_for(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("say"))
        for number in (1, 2):
            await worker.call(ask(number), b'{"x":%d}' % number)
            assert worker.printed() == b"said %d\n" % number
        await scenery.heard.until("said 1\nsaid 2\n")

    stage.play(story, load_timeout_s=PATIENT_S)


def test_an_engine_that_closes_ends_everything_and_starts_nothing(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("hang")
        worker = await scenery.engine.start(plan)
        calling = asyncio.ensure_future(worker.call(ask(), b"{}"))
        await scenery.heard.until("begun")
        starting = asyncio.create_task(scenery.engine.start(scenery.plan("load_hangs")))
        await asyncio.sleep(0)
        await scenery.engine.close()
        assert scenery.engine.census() == []
        with pytest.raises(WorkerGone):
            await calling
        with pytest.raises(Draining):
            await starting
        for attempt in (scenery.engine.prime, scenery.engine.start):
            with pytest.raises(Draining):
                await attempt(plan)

    stage.play(story, load_timeout_s=PATIENT_S)
