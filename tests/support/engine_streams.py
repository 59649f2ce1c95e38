"""Programs that stream, sleep and run side by side: as callables for the fake, as files otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import CallFailed
from lambent.core.invocation import Status
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.wire.frames import Ask, Begin, Chunk, Credit, Form, FromCall, Told, cost_of, read_error
from lambent.wire.process import RevisionPlan
from tests.support.engine_stages import LocalStage, MemoryStage, Scenery, Stage, local_stage
from tests.support.patience import PATIENT_S

# In the middle of a call each has said "begun", and "cleaned" when it was left. A call may be cancelled as
# soon as it has said anything, so each tries from its first line.
MODULES: Final[Mapping[str, str]] = {
    "stream": "def handler(event, context):\n"
    "    try:\n"
    "        print('begun', flush=True)\n"
    "        for number in range(event['pieces']):\n"
    "            yield b'%08d' % number + bytes(event['size'] - 8)\n"
    "    finally:\n"
    "        print('cleaned', flush=True)\n",
    "breaks": "def handler(event, context):\n    yield 'one'\n    yield {'two': 2}\n"
    "    raise ValueError('no more')\n",
    "silent": "def handler(event, context):\n    yield from ()\n",
    "pick": "def handler(event, context):\n    if event['x'] == 'bad':\n        raise ValueError('bad')\n"
    "    return event\n",
    "nap": "import time\ndef handler(event, context):\n"
    "    if event.get('quick'):\n        return event\n"
    "    try:\n        print('begun', flush=True)\n        time.sleep(3600)\n"
    "    finally:\n        print('cleaned', flush=True)\n",
    "asks": "import lambent\ndef handler(event, context):\n"
    "    try:\n        made = [lambent.call(*one) for one in event['asks']]\n"
    "        print('begun', flush=True)\n"
    "        return [one.result() for one in made]\n"
    "    finally:\n        print('cleaned', flush=True)\n",
    "side": "import asyncio\nasync def handler(event, context):\n"
    "    print('begun', event['x'], flush=True)\n"
    "    if event.get('exit'):\n        import sys\n        sys.exit(3)\n"
    "    try:\n        await asyncio.sleep(event['s'])\n"
    "    except asyncio.CancelledError:\n"
    "        print('cleaned', event['x'], flush=True)\n        raise\n"
    "    return event\n",
}


class Wanted(msgspec.Struct):
    """What `asks` is asked to ask for: names with payloads."""

    asks: list[tuple[str, msgspec.Raw]]


async def stream(body: bytes, scene: Scene) -> bytes:
    event = msgspec.json.decode(body)
    scene.print(b"begun\n")
    try:
        for number in range(event["pieces"]):
            await scene.write(Form.BYTES, b"%08d" % number + bytes(event["size"] - 8))
    finally:
        scene.print(b"cleaned\n")
    return b""


async def breaks(body: bytes, scene: Scene) -> bytes:
    await scene.write(Form.TEXT, b"one")
    await scene.write(Form.JSON, b'{"two":2}')
    raise ValueError("no more")


async def silent(body: bytes, scene: Scene) -> bytes:
    scene.say(Begin(scene.call.call_id))
    return b""


def pick(body: bytes, scene: Scene) -> bytes:
    if b"bad" in body:
        raise ValueError("bad")
    return body


async def nap(body: bytes, scene: Scene) -> bytes:
    if b"quick" in body:
        return body
    try:
        scene.print(b"begun\n")
        await asyncio.Event().wait()
    finally:
        scene.print(b"cleaned\n")
    return body


async def asks(body: bytes, scene: Scene) -> bytes:
    wanted = msgspec.json.decode(body, type=Wanted).asks
    for number, (name, payload) in enumerate(wanted, start=1):
        scene.say(Ask(scene.call.call_id, number, name), bytes(payload))
    scene.print(b"begun\n")
    results: dict[int, bytes] = {}
    try:
        while len(results) < len(wanted):
            told, result = await scene.told.get()
            assert isinstance(told, Told)
            if told.status is not Status.OK:
                error = read_error(result)
                raise CallFailed(wanted[told.ask_id - 1][0], error.error_type, error.error_message)
            results[told.ask_id] = result
    finally:
        scene.print(b"cleaned\n")
    return b"[" + b",".join(results[number] for number in sorted(results)) + b"]"


async def side(body: bytes, scene: Scene) -> bytes:
    event = msgspec.json.decode(body)
    scene.print(b"begun %d\n" % event["x"])
    if event.get("exit"):
        raise Dies(event["exit"])
    try:
        await asyncio.sleep(event["s"])
    except asyncio.CancelledError:
        scene.print(b"cleaned %d\n" % event["x"])
        raise
    return body


RUNS: Final[Mapping[str, Callable[[bytes, Scene], bytes | Awaitable[bytes]]]] = {
    "stream": stream,
    "breaks": breaks,
    "silent": silent,
    "pick": pick,
    "nap": nap,
    "side": side,
    "asks": asks,
}


def programs(plan: RevisionPlan) -> Program:
    """The fake's counterpart of a module."""
    return Program(run=RUNS[plan.deployment])


def memory_stage() -> Stage:
    """The fake with these programs."""
    return MemoryStage(programs)


def process_stage(folder: Path) -> LocalStage:
    """Real processes with these programs."""
    stage = local_stage(folder)
    for name, text in MODULES.items():
        stage.write(name, text)
    return stage


def side_by_side(scenery: Scenery, program: str, count: int) -> RevisionPlan:
    """A plan whose worker runs `count` calls at once."""
    return msgspec.structs.replace(scenery.plan(program), concurrency=count)


class Hearer:
    """Hears one call, and grants credit where the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.pieces: list[tuple[Form, bytes]] = []
        self.untaken = 0  # what was not granted anew
        self.most = 0
        self.asks: list[tuple[Ask, bytes]] = []
        self._more: Final = asyncio.Event()
        self.grant: Callable[[Credit], None] | None = None

    def __call__(self, said: FromCall, body: bytes) -> None:
        match said:
            case Begin():
                self.begun += 1
            case Chunk(call_id, form):
                self.pieces.append((form, body))
                self.untaken += cost_of(body)
                self.most = max(self.most, self.untaken)
                if self.grant is not None:
                    self.untaken -= cost_of(body)
                    self.grant(Credit(call_id, cost_of(body)))
            case Ask():
                self.asks.append((said, body))
            case _:
                pass
        self._more.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is true of what was heard."""
        async with asyncio.timeout(PATIENT_S):
            while not holds():
                self._more.clear()
                await self._more.wait()
