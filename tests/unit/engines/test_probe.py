"""A fork that cannot serve is found when the revision is loaded, and not by whoever calls it."""

from __future__ import annotations

import pytest

from lambent.core.errors import LoadFailed
from lambent.core.invocation import Status
from lambent.core.spec import ForkUnsafe, Temperature
from tests.support.engine_stages import LocalStage, Scenery, ask, eventually
from tests.support.patience import PATIENT_S

# Nothing speaks against a fork of this process but the fork itself, which waits for a lock that nobody holds
# any more.
HOLDS_A_LOCK = """
import os, threading
lock = threading.Lock()
lock.acquire()
os.register_at_fork(after_in_child=lock.acquire)
def handler(event, context):
    return event
"""
HOOK_FAILS = """
import sys, types
def restore():
    raise RuntimeError("no route to the vault")
hooks = types.ModuleType("snapshot_restore_py")
hooks.get_before_snapshot = lambda: []
hooks.get_after_restore = lambda: [(restore, (), {})]
sys.modules["snapshot_restore_py"] = hooks
def handler(event, context):
    return event
"""


@pytest.mark.parametrize(
    ("misbehave", "timeout_s", "said"),
    [
        ("probe hangs", 1.0, "a fork of it hung: it did not finish a rehearsal within 1 s"),
        ("probe dies", PATIENT_S, "a fork of it ended with exit code 3; it last said: last words"),
    ],
)
def test_what_cannot_be_forked_stays_warm_with_the_reason_and_is_served(
    scripted: LocalStage, misbehave: str, timeout_s: float, said: str
) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo", misbehave=misbehave)
        primed = await scenery.engine.prime(plan)
        assert (primed.temperature, primed.unsafe) == (Temperature.WARM, (said,))
        assert scenery.engine.safety("echo").unsafe == (said,)
        await eventually(lambda: scenery.count("template") == 0)
        worker = await scenery.engine.start(plan)
        answer, _ = await worker.call(ask(), b"{}")
        assert answer.status is Status.OK

    scripted.play(story, load_timeout_s=PATIENT_S, probe_timeout_s=timeout_s)


def test_what_is_allowed_must_still_be_seen_to_serve(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        primed = await scenery.engine.prime(scenery.plan("both", unsafe=ForkUnsafe.ALLOW))
        assert primed.temperature is Temperature.WARM
        shown, found = primed.unsafe
        assert shown.startswith("a fork of it hung")
        assert found.startswith("a thread is running")
        assert scenery.engine.safety("both").overruled == ()

    starts_a_thread = "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    real.write("both", HOLDS_A_LOCK + starts_a_thread)
    real.play(story, load_timeout_s=PATIENT_S, probe_timeout_s=2.0)


def test_a_lock_that_was_held_at_the_fork_is_found(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        primed = await scenery.engine.prime(scenery.plan("holds"))
        assert primed.temperature is Temperature.WARM
        assert primed.unsafe[0].startswith("a fork of it hung")

    real.write("holds", HOLDS_A_LOCK)
    real.play(story, load_timeout_s=PATIENT_S, probe_timeout_s=2.0)


def test_a_template_that_hangs_before_its_fork_is_found(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        primed = await scenery.engine.prime(scenery.plan("stuck"))
        assert primed.temperature is Temperature.WARM
        assert primed.unsafe[0].startswith("it hung when it was told to fork")
        await eventually(lambda: scenery.count("template") == 0)
        worker = await scenery.engine.start(scenery.plan("stuck"))
        answer, _ = await worker.call(ask(), b"{}")
        assert answer.status is Status.OK

    real.write("stuck", HOLDS_A_LOCK.replace("after_in_child", "before"))
    real.play(story, load_timeout_s=PATIENT_S, probe_timeout_s=2.0)


def test_what_would_fail_in_every_worker_fails_the_load(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        with pytest.raises(LoadFailed, match="no route to the vault"):
            await scenery.engine.prime(scenery.plan("vault"))
        assert scenery.engine.temperature("vault") is not Temperature.PRIMED
        await eventually(lambda: scenery.count("template") == 0)

    real.write("vault", HOOK_FAILS)
    real.play(story, load_timeout_s=PATIENT_S)


def test_a_revision_is_probed_once_and_not_at_each_wake(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        assert "probe" in (await scenery.engine.prime(plan)).parts_ms
        await scenery.engine.chill("echo", Temperature.COLD)
        assert "probe" not in (await scenery.engine.prime(plan)).parts_ms
        assert scenery.count("worker") == 0

    real.play(story, load_timeout_s=PATIENT_S)
