"""Stages for the engine's contract: one set of programs, as callables for the fake and as files otherwise."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import uvloop

from lambent.clock import SystemClock
from lambent.core.spec import ForkUnsafe
from lambent.engines.base import Engine
from lambent.engines.local import LocalEngine
from lambent.engines.memory import MemoryEngine
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.wire.frames import BODY_BYTES_MAX, Call
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import VirtualClock, run

STORY_MAX_S: Final = 2 * PATIENT_S

# One module a program, as each is loaded by itself. A program that is in the middle of a call has said
# "begun".
MODULES: Final[Mapping[str, str]] = {
    "echo": "def handler(event, context):\n    return event\n",
    "fail": "def handler(event, context):\n    raise ValueError('no such digit')\n",
    "die": "import os, signal\ndef handler(event, context):\n    os.kill(os.getpid(), signal.SIGKILL)\n",
    "say": "def handler(event, context):\n    print('said', event['x'], flush=True)\n    return event\n",
    "slow": "import time\ndef handler(event, context):\n"
    "    print('begun', flush=True)\n    time.sleep(0.05)\n    return event\n",
    "hang": "import time\ndef handler(event, context):\n"
    "    print('begun', flush=True)\n    time.sleep(3600)\n",
    "load_fails": "raise ValueError('no weights')\n",
    "load_dies": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "load_hangs": "import time\ntime.sleep(3600)\n",
    "unsafe": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    "def handler(event, context):\n    return event\n",
}


class Heard:
    """A log sink that can be waited on."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._more = asyncio.Event()

    def write(self, plan: RevisionPlan, worker_id: str, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._more.set()

    @property
    def text(self) -> str:
        """All that was printed."""
        return b"".join(self._chunks).decode()

    async def until(self, text: str) -> None:
        """Wait until `text` has been printed by somebody."""
        async with asyncio.timeout(PATIENT_S):
            while text not in self.text:
                self._more.clear()
                await self._more.wait()


class Play(Protocol):
    """Runs a coroutine on the server's kind of loop."""

    def __call__(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None: ...


class Stage(Protocol):
    """Where a story about an engine is played."""

    def play(
        self, story: Callable[[Scenery], Coroutine[Any, Any, None]], *, load_timeout_s: float
    ) -> None: ...


class Scenery(msgspec.Struct, frozen=True):
    """What a story gets. `lose_template` ends the template of a revision as a crash would."""

    engine: Engine
    heard: Heard
    lose_template: Callable[[str], None]
    code_dir: str = ""
    env: dict[str, str] = {}

    def plan(
        self,
        program: str,
        *,
        revision: str = "",
        runtime: Runtime = Runtime.HANDLER,
        misbehave: str = "",
        unsafe: ForkUnsafe = ForkUnsafe.REFUSE,
    ) -> RevisionPlan:
        """A plan that runs `program`."""
        return RevisionPlan(
            revision=revision or program,
            deployment=program,
            project="default",
            number=1,
            runtime=runtime,
            entrypoint=f"{program}:handler",
            code_dir=self.code_dir,
            env={"MISBEHAVE": misbehave} if misbehave else {},
            unsafe_allowed=unsafe is ForkUnsafe.ALLOW,
        )

    def count(self, role: str) -> int:
        """How many processes of a role there are."""
        return sum(facts.role == role for facts in self.engine.census())


class MemoryStage:
    """The fake, in virtual time."""

    def __init__(self, programs: Callable[[RevisionPlan], Program] | None = None) -> None:
        self._programs: Final = programs or program_of

    def play(self, story: Callable[[Scenery], Coroutine[Any, Any, None]], *, load_timeout_s: float) -> None:
        async def whole() -> None:
            heard = Heard()
            engine = MemoryEngine(
                self._programs, clock=VirtualClock(), log_sink=heard, load_timeout_s=load_timeout_s
            )
            await tell(story, Scenery(engine, heard, engine.lose_template))

        run(whole())


class LocalStage:
    """Processes, on uvloop as in the server or on plain asyncio."""

    def __init__(
        self, folder: Path, interpreter: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        self._interpreter: Final = interpreter
        self._new_loop: Final = new_loop
        self._code_dir: Final = folder / "code"
        self._code_dir.mkdir()
        for name, text in MODULES.items():
            self.write(name, text)

    def write(self, program: str, text: str) -> None:
        """Put one more program on the stage."""
        (self._code_dir / f"{program}.py").write_text(text)

    def play(
        self,
        story: Callable[[Scenery], Coroutine[Any, Any, None]],
        *,
        load_timeout_s: float,
        body_bytes_max: int = BODY_BYTES_MAX,
        environment_keep_s: float = 60.0,
        probe_timeout_s: float = PATIENT_S,
    ) -> None:
        async def whole() -> None:
            async with asyncio.timeout(STORY_MAX_S):
                await self.told(
                    story,
                    load_timeout_s=load_timeout_s,
                    body_bytes_max=body_bytes_max,
                    environment_keep_s=environment_keep_s,
                    probe_timeout_s=probe_timeout_s,
                )

        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(whole())

    async def told(
        self,
        story: Callable[[Scenery], Coroutine[Any, Any, None]],
        *,
        load_timeout_s: float,
        body_bytes_max: int = BODY_BYTES_MAX,
        environment_keep_s: float = 60.0,
        probe_timeout_s: float = PATIENT_S,
    ) -> None:
        """Play the story with an engine of its own in the loop that runs."""
        heard = Heard()
        engine = LocalEngine(
            clock=SystemClock(),
            log_sink=heard,
            environ=os.environ,
            interpreter=self._interpreter,
            load_timeout_s=load_timeout_s,
            probe_timeout_s=probe_timeout_s,
            close_grace_s=2.0,
            body_bytes_max=body_bytes_max,
            environment_keep_s=environment_keep_s,
        )
        await tell(
            story, Scenery(engine, heard, lambda revision: kill(engine, revision), str(self._code_dir))
        )


def kill(engine: Engine, revision: str) -> None:
    """Kill the template of a revision."""
    (pid,) = (
        facts.pid for facts in engine.census() if (facts.role, facts.revision) == ("template", revision)
    )
    os.kill(pid, signal.SIGKILL)


def scripted_peer(folder: Path) -> str:
    """An interpreter that plays the process side by `tests/support/scripted_peer.py`."""
    script = folder / "scripted-python"
    peer = Path(__file__).with_name("scripted_peer.py")
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {peer} "$@"\n')
    script.chmod(0o755)
    return str(script)


def local_stage(folder: Path, *, interpreter: str = sys.executable) -> LocalStage:
    """Processes of the real process side, on uvloop."""
    return LocalStage(folder, interpreter, uvloop.new_event_loop)


async def tell(story: Callable[[Scenery], Coroutine[Any, Any, None]], scenery: Scenery) -> None:
    """Play the story and clear the stage."""
    try:
        await story(scenery)
    finally:
        await scenery.engine.close()


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something is true that no event tells of."""
    async with asyncio.timeout(PATIENT_S):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await asyncio.sleep(0.005)


def ask(number: int = 1) -> Call:
    """A call."""
    return Call(number, f"invocation-{number}", 60_000.0)


def program_of(plan: RevisionPlan) -> Program:
    """The fake's counterpart of a module."""

    async def slow(body: bytes, scene: Scene) -> bytes:
        scene.print(b"begun\n")
        await asyncio.sleep(0.05)
        return body

    async def hang(body: bytes, scene: Scene) -> bytes:
        scene.print(b"begun\n")
        await asyncio.Event().wait()
        return body

    def say(body: bytes, scene: Scene) -> bytes:
        scene.print(b"said %d\n" % msgspec.json.decode(body)["x"])
        return body

    def fail(body: bytes, scene: Scene) -> bytes:
        raise ValueError("no such digit")

    def die(body: bytes, scene: Scene) -> bytes:
        raise Dies(-signal.SIGKILL)

    def load_fails() -> None:
        raise ValueError("no weights")

    def load_dies() -> None:
        raise Dies(-signal.SIGKILL)

    async def load_hangs() -> None:
        await asyncio.Event().wait()

    return {
        "echo": Program(),
        "fail": Program(run=fail),
        "die": Program(run=die),
        "say": Program(run=say),
        "slow": Program(run=slow),
        "hang": Program(run=hang),
        "load_fails": Program(load=load_fails),
        "load_dies": Program(load=load_dies),
        "load_hangs": Program(load=load_hangs),
        "unsafe": Program(unsafe=("1 more thread runs",)),
    }[plan.deployment]


def python(code: str, *, start_new_session: bool = False) -> subprocess.Popen[bytes]:
    """A child of the tests themselves."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=start_new_session
    )
