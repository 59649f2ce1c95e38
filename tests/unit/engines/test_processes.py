"""No process of user code outlives its worker, and nobody else's process is touched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lambent.engines.base import Exit, WorkerGone
from lambent.engines.proc import (
    children_of,
    descendants_of,
    is_zombie,
    memory_of,
    parent_of,
    session_of,
)
from lambent.engines.processes import Process, become_subreaper
from lambent.engines.strays import Strays
from tests.support.engine_stages import LocalStage, Play, Scenery, ask, eventually, python
from tests.support.patience import PATIENT_S
from tests.support.server import is_running

# Each leaves a process behind, writes its pid to the file that the event names, and goes on as its name says.
LEAVE = """
import os, sys, subprocess, time
def handler(event, context):
    sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
    {leave}
    with open(event["file"], "w") as file:
        file.write(str(pid))
    os.rename(event["file"], event["file"] + ".whole")
    {go_on}
"""
WAYS = {
    "a child": "pid = subprocess.Popen(sleep).pid",
    "a child in a session of its own": "pid = subprocess.Popen(sleep, start_new_session=True).pid",
    "an orphan in a session of its own": """
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = subprocess.Popen(sleep, start_new_session=True).pid
        os.write(writing, str(pid).encode())
        os._exit(0)
    pid = int(os.read(reading, 100))
    """,
    "a fork that holds everything open": """
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(3600)
    """,
}
ENDS = {"dies": "os._exit(5)", "is killed": "time.sleep(3600)"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_what_a_worker_leaves_behind_ends_with_it(
    real: LocalStage, tmp_path: Path, way: str, end: str
) -> None:
    file = tmp_path / "pid"
    whole = tmp_path / "pid.whole"

    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("leaver"))
        calling = asyncio.ensure_future(worker.call(ask(), b'{"file":"%s"}' % bytes(file)))
        await eventually(whole.exists)
        left = int(whole.read_text())
        if end == "is killed":
            assert is_running(left)
            worker.kill()
        with pytest.raises(WorkerGone) as gone:
            await calling
        assert gone.value.exit.code == (5 if end == "dies" else -9)
        await eventually(lambda: not is_running(left))

    real.write("leaver", LEAVE.format(leave=WAYS[way].strip(), go_on=ENDS[end]))
    real.play(story, load_timeout_s=PATIENT_S)


def test_children_that_other_code_has_started_are_neither_killed_nor_reaped(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        others = [python("input()"), python("input()", start_new_session=True)]
        ended = python("raise SystemExit(7)")
        for _ in range(2):
            worker = await scenery.engine.start(scenery.plan("echo"))
            worker.kill()
            await worker.exited()
        await scenery.engine.close()
        assert [other.poll() for other in others] == [None, None]
        for other in others:
            other.communicate(b"\n")
        ended.communicate()
        assert [other.returncode for other in (*others, ended)] == [0, 0, 7]

    real.play(story, load_timeout_s=PATIENT_S)


def test_orphans_that_end_are_reaped_while_their_worker_lives(play: Play, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    tell = f"os.write(os.open({str(pids)!r}, os.O_WRONLY | os.O_APPEND), b'%d ' % os.getpid())"
    orphan = f"import os\nif os.fork() == 0:\n    os.setsid()\n    os.fork()\n    {tell}\n"

    def living() -> set[int]:
        return {int(pid) for pid in pids.read_text().split()} & set(children_of(os.getpid()))

    async def story() -> None:
        become_subreaper()
        ended = python("")
        python(orphan).communicate()
        await eventually(lambda: len(living()) == 2)
        await eventually(lambda: is_zombie(ended.pid))
        watched = {-1}  # a worker whose session is nobody's: in a container even 0 may be ours
        Strays("NAME=of another engine", watched=watched, patrol_s=0.05).patrol()
        await eventually(lambda: living() == set())
        assert is_zombie(ended.pid)
        ended.communicate()
        watched.clear()

    play(story)


def test_two_engines_in_one_process_leave_each_other_alone(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        async def other(others: Scenery) -> None:
            worker = await scenery.engine.start(scenery.plan("echo"))
            theirs = await others.engine.start(others.plan("echo"))
            worker.kill()
            await worker.exited()
            assert (await theirs.call(ask(), b"{}"))[1] == b"{}"

        await real.told(other, load_timeout_s=PATIENT_S)

    real.play(story, load_timeout_s=PATIENT_S)


def test_closing_leaves_no_process_behind(real: LocalStage) -> None:
    others = descendants_of(os.getpid())
    seen: set[int] = set()

    async def story(scenery: Scenery) -> None:
        for program in ("echo", "slow", "unsafe"):
            await scenery.engine.start(scenery.plan(program))
        seen.update(set(descendants_of(os.getpid())) - set(others))
        assert len(seen) >= 6
        await scenery.engine.close()
        assert not any(map(is_running, seen))

    real.play(story, load_timeout_s=PATIENT_S)
    assert seen.isdisjoint(children_of(os.getpid())), "a zombie is left"


SERVER = """
import asyncio, os, sys, uvloop
from lambent.clock import SystemClock
from lambent.engines.local import LocalEngine
from lambent.wire.process import RevisionPlan, Runtime

class Silent:
    def write(self, plan, worker_id, chunk): pass

async def serve():
    engine = LocalEngine(clock=SystemClock(), log_sink=Silent(), environ=os.environ)
    plan = RevisionPlan(revision="r", deployment="d", project="p", number=1, runtime=Runtime.HANDLER,
                        entrypoint="echo:handler", code_dir=sys.argv[1])
    await engine.start(plan)
    print(*(facts.pid for facts in engine.census()), flush=True)
    await asyncio.Event().wait()

uvloop.run(serve())
"""


def test_all_processes_die_with_a_server_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text("def handler(event, context):\n    return event\n")
    with subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pids = [int(pid) for pid in server.stdout.readline().split()]
        assert len(pids) >= 3  # and one that was forked ahead, if there was time
        assert all(map(is_running, pids))
        server.kill()
        server.wait()
        asyncio.run(eventually(lambda: not any(map(is_running, pids))))


def test_the_status_of_a_child_of_the_server_is_its_own(play: Play) -> None:
    async def story() -> None:
        watched: set[int] = set()
        popen = python("raise SystemExit(9)")
        process = Process(popen.pid, watched=watched)
        assert watched == {popen.pid}
        how = await process.ended()
        popen.returncode = how.code
        popen.communicate()
        assert (how.code, watched, process.alive) == (9, set(), False)
        assert how.rss_bytes_max > 0
        process.kill()

    play(story)


def test_a_process_that_is_reported_gone_before_it_is_watched_is_gone(play: Play) -> None:
    async def story() -> None:
        popen = python("")
        popen.communicate()
        told: list[str] = []
        process = Process(popen.pid, watched=set())
        process.watch(lambda: told.append("gone"))
        process.report(Exit(code=4, cpu_us=1, rss_bytes_max=2))
        assert (await process.ended()).code == 4
        await asyncio.sleep(0)
        assert told == ["gone"]

    play(story)


def test_what_is_killed_with_a_process_counts_as_used_by_it() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(3600)"
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"

    command = [sys.executable, "-c", parent, burn]

    async def story(child: subprocess.Popen[bytes]) -> Exit:
        process = Process(child.pid, watched=set())
        assert child.stdout is not None
        await asyncio.to_thread(child.stdout.readline)
        process.kill()
        return await asyncio.wait_for(process.ended(), PATIENT_S)

    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        end = asyncio.run(story(child))
        child.returncode = -9  # it has been reaped
    assert (end.code, end.cpu_us >= 300_000) == (-9, True)


def test_what_proc_says_of_this_process() -> None:
    pid = os.getpid()
    with python("input()") as child:
        assert child.pid in children_of(pid)
        assert parent_of(child.pid) == pid
        assert session_of(child.pid) == os.getsid(0)
        child.kill()
    memory = memory_of(pid)
    assert 0 < memory.private_bytes <= memory.pss_bytes


def test_what_proc_says_of_nobody() -> None:
    nobody = 2**22 + 1  # above the kernel's highest pid
    assert children_of(nobody) == []
    assert parent_of(nobody) is session_of(nobody) is None
    assert memory_of(nobody).pss_bytes == 0
