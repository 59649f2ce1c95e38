"""What engines say of templates that were found unsafe to fork, and do where that is allowed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lambent.core.invocation import Status
from lambent.core.spec import ForkUnsafe, Program, Temperature
from lambent.wire.process import NOT_FORKED, Runtime
from tests.support.bootstraps import write_bootstrap
from tests.support.engine_stages import Scenery, Stage, ask
from tests.support.patience import PATIENT_S

LOADING = {"load", "init"}


def test_what_was_found_unsafe_is_still_told_when_it_is_cold(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("unsafe")
        found = (await scenery.engine.prime(plan)).unsafe
        await scenery.engine.chill(plan.revision, Temperature.COLD)
        assert scenery.engine.temperature(plan.revision) is Temperature.COLD
        assert scenery.engine.safety(plan.revision).unsafe == found
        assert scenery.engine.safety("never seen").unsafe == ()

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_revision_whose_owner_allows_it_is_primed_in_spite_of_what_was_found(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("unsafe", unsafe=ForkUnsafe.ALLOW)
        primed = await scenery.engine.prime(plan)
        assert (primed.temperature, primed.unsafe) == (Temperature.PRIMED, ())
        safety = scenery.engine.safety(plan.revision)
        assert safety.unsafe == ()
        assert "thread" in safety.overruled[0]
        worker = await scenery.engine.start(plan)
        answer, _ = await worker.call(ask(), b"{}")
        assert answer.status is Status.OK
        assert worker.parts_ms.keys().isdisjoint(LOADING)
        assert scenery.engine.temperature(plan.revision) is Temperature.PRIMED

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_program_of_its_own_is_started_by_each_worker_and_leaves_nothing_behind(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo", runtime=Runtime.RUNTIME_API)
        plan = msgspec.structs.replace(plan, program=Program.PROVIDED)
        if plan.code_dir:
            write_bootstrap(Path(plan.code_dir))
        primed = await scenery.engine.prime(plan)
        assert (primed.temperature, primed.unsafe) == (Temperature.WARM, (NOT_FORKED,))
        worker = await scenery.engine.start(plan)
        answer, _ = await worker.call(ask(), b"{}")
        assert answer.status is Status.OK
        assert {facts.role for facts in scenery.engine.census([plan.revision])} == {"worker"}
        worker.kill()
        await worker.exited()
        await scenery.engine.chill(plan.revision, Temperature.COLD)
        assert scenery.engine.temperature(plan.revision) is Temperature.COLD
        assert not scenery.engine.census([plan.revision])
        assert scenery.engine.safety(plan.revision).unsafe == (NOT_FORKED,)

    stage.play(story, load_timeout_s=PATIENT_S)
