"""Workers and templates run user code: whatever they send, the server goes on and tells the truth."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from lambent.core.errors import InvalidSpec, LoadFailed, PlatformFault
from lambent.core.invocation import Status
from lambent.core.spec import Temperature
from lambent.engines.base import WorkerGone
from lambent.engines.logs import LogPipe
from lambent.engines.processes import Process
from lambent.engines.template import Template, TemplateGone
from lambent.wire.process import ChildRole, Ready, RevisionPlan, Runtime
from tests.support.engine_stages import LocalStage, Play, Scenery, ask, eventually, python
from tests.support.patience import PATIENT_S

PLAN = RevisionPlan(revision="r", deployment="d", project="p", number=1, runtime=Runtime.HANDLER)


@pytest.mark.parametrize("misbehave", ["worker sends garbage", "worker answers what was not asked"])
def test_a_worker_that_breaks_the_protocol_is_ended(scripted: LocalStage, misbehave: str) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("echo", misbehave=misbehave))
        with pytest.raises(WorkerGone) as gone:
            await worker.call(ask(), b"{}")
        assert gone.value.exit.code == -9

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_an_answer_over_the_limit_ends_the_worker(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("echo"))
        answer, body = await worker.call(ask(1), b'"%s"' % (b"x" * 50_000))
        assert (answer.status, len(body)) == (Status.OK, 50_002)
        with pytest.raises(WorkerGone):
            await worker.call(ask(2), b'"%s"' % (b"x" * 200_000))

    scripted.play(story, load_timeout_s=PATIENT_S, body_bytes_max=100_000)


def test_a_worker_that_closes_its_stream_and_stays_is_ended(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("closes"))
        with pytest.raises(WorkerGone) as gone:
            await worker.call(ask(), b"{}")
        assert gone.value.exit.code == -9

    real.write(
        "closes",
        "import os, time\ndef handler(event, context):\n    os.closerange(3, 1024)\n    time.sleep(3600)\n",
    )
    real.play(story, load_timeout_s=PATIENT_S)


def test_a_worker_that_dies_before_it_is_ready_shows_what_it_printed(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo", misbehave="worker dies before hello")
        with pytest.raises(LoadFailed, match="exit code 3") as failure:
            await scenery.engine.start(plan)
        assert failure.value.trace == ("last words",)
        assert scenery.engine.temperature("echo") is Temperature.PRIMED

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_a_worker_that_never_becomes_ready_is_ended_at_the_limit(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo", misbehave="worker never says hello")
        with pytest.raises(LoadFailed, match="not ready after 1 s"):
            await scenery.engine.start(plan)
        await eventually(lambda: scenery.count("worker") == 0)

    scripted.play(story, load_timeout_s=1.0)


def test_a_template_that_sends_garbage_is_a_failed_load(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        with pytest.raises(LoadFailed, match="SIGKILL"):
            await scenery.engine.prime(scenery.plan("echo", misbehave="template sends garbage"))
        assert scenery.count("template") == 0

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_a_template_cannot_have_other_processes_killed_by_calling_them_its_children(
    scripted: LocalStage,
) -> None:
    async def story(scenery: Scenery) -> None:
        other = await scenery.engine.start(scenery.plan("slow"))
        plan = scenery.plan("echo", misbehave="template lies about the pid of its worker")
        with pytest.raises(PlatformFault):
            await scenery.engine.start(plan)
        assert (await other.call(ask(), b"{}"))[0].status is Status.OK

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_templates_that_keep_dying_when_they_are_asked_to_fork_are_not_asked_for_ever(
    scripted: LocalStage,
) -> None:
    async def story(scenery: Scenery) -> None:
        for role in ("worker", "template"):
            plan = scenery.plan("echo", misbehave=f"template dies when asked for a {role}")
            with pytest.raises(PlatformFault, match="2 times"):
                await scenery.engine.start(plan)
            await eventually(lambda: scenery.count("worker") == 0)

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_a_fork_that_the_kernel_refuses_is_nobodys_fault_but_ours(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo", misbehave="kernel refuses to fork a worker")
        with pytest.raises(PlatformFault, match="Cannot allocate memory") as failure:
            await scenery.engine.start(plan)
        assert failure.value.retryable
        assert failure.value.retry_after_s

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_an_end_that_a_template_does_not_report_is_known_by_itself(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(
            scenery.plan("echo", misbehave="template reports no end of a worker")
        )
        worker.kill()
        assert (await worker.exited()).code is None

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_a_plan_that_does_not_fit_into_a_packet_is_refused_with_its_size(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        with pytest.raises(InvalidSpec, match="do not fit"):
            await scenery.engine.prime(scenery.plan("echo", misbehave="x" * 200_000))
        assert scenery.engine.temperature("echo") is Temperature.COLD

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_a_plan_that_just_fits_into_a_packet_arrives_whole(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("echo", misbehave="x" * 160_000))
        assert (await worker.call(ask(), b"{}"))[0].status is Status.OK

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_a_call_with_the_id_of_one_under_way_is_refused(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("slow"))
        first = asyncio.ensure_future(worker.call(ask(1), b"{}"))
        await scenery.heard.until("begun")
        with pytest.raises(ValueError, match="call 1"):
            await worker.call(ask(1), b"{}")
        assert (await first)[0].status is Status.OK

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_a_template_that_does_not_answer_a_fork_is_ended(play: Play) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        popen = python("import time; time.sleep(3600)")
        watched: set[int] = set()
        process = Process(popen.pid, watched=watched)
        log = LogPipe(on_chunk=lambda _: None)
        template = Template(
            "mute", process, ours, log, watched=watched, on_gone=lambda: None, fork_timeout_s=0.1
        )
        theirs.send(msgspec.msgpack.encode(Ready(popen.pid, {})))
        await template.loaded(PATIENT_S)
        with theirs, pytest.raises(TemplateGone):
            await template.fork("child", ChildRole.WORKER, PLAN, ())
        assert not template.usable  # from now on, and not from when its end is seen: others may ask meanwhile
        assert (await process.ended()).code == -9
        popen.returncode = -9
        popen.communicate()

    play(story)


def test_news_of_a_call_is_passed_on_while_it_runs(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        news: list[bytes] = []
        plan = scenery.plan("echo", runtime=Runtime.JOB, misbehave="worker sends progress")
        worker = await scenery.engine.start(plan)
        answer, _ = await worker.call(ask(), b"{}", lambda _, said: news.append(said))
        assert (answer.status, news) == (Status.OK, [b'{"step":1}'])

    scripted.play(story, load_timeout_s=PATIENT_S)


def test_descriptors_are_all_given_back(scripted: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        async def everything() -> None:
            for misbehave in ("", "worker dies before hello", "template dies when asked for a worker"):
                plan = scenery.plan("echo", misbehave=misbehave, revision=f"r {misbehave}")
                try:
                    worker = await scenery.engine.start(plan)
                    await worker.call(ask(), b"{}")
                    worker.kill()
                    await worker.exited()
                except (LoadFailed, PlatformFault):
                    pass
                await eventually(lambda: scenery.count("worker") == 0)
                await scenery.engine.chill(plan.revision, Temperature.COLD)
            await eventually(lambda: scenery.engine.census() == [])

        await everything()
        before = descriptors_open()
        await everything()
        await eventually(lambda: descriptors_open() <= before)

    scripted.play(story, load_timeout_s=PATIENT_S)


def descriptors_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
